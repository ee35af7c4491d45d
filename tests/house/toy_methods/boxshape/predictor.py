"""Landmarks of any face box."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lineament.capabilities import Landmarks
from lineament.faces.schemes import scheme


class ShapePredictor:
    """Places the learnt shape in face boxes."""

    def __init__(self, network: nn.Module, layout: str) -> None:
        self.network, self.scheme = network, scheme(layout)

    @torch.no_grad()
    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        """Landmarks of the faces in ``boxes`` ``[N, 4]``; the image is not looked at."""
        points = self.network(boxes.float())
        return Landmarks(points, torch.full(points.shape[:2], 0.5))

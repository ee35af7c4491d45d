"""A shape in shares of a face box."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BoxShape(nn.Module):
    """One learnt point per landmark, ``[K, 2]``; the face box reaches from 0 to 1."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.full((count, 2), 0.5))

    def forward(self, boxes: Tensor) -> Tensor:
        """Place the shape in boxes ``[N, 4]``: ``[N, K, 2]`` pixels."""
        corner, extent = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        return corner + self.points * extent

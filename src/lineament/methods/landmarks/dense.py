"""A run whose scheme lies on a head: its points say which place of the head each pixel of a face shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.capabilities import Descriptors
from lineament.faces.resample import crop_image
from lineament.faces.schemes import LandmarkScheme
from lineament.heads.surface import HeadSurface, embed
from lineament.methods.landmarks.crop import AROUND, square_of_box
from lineament.methods.landmarks.predictor import LandmarkPredictor

# Pixels of the network's image to a descriptor.
STRIDE = 2


class DensePredictor(LandmarkPredictor):
    """Landmarks, and descriptors of every place of a face, for any face box in any photo.

    Args:
        networks: As for :class:`~lineament.methods.landmarks.predictor.LandmarkPredictor`.
        scheme: With ``surface``.
        size: Side of the network's images.
        device: Where the copy of the networks is put.
        dtype: None or float32.
        flip: Average with the answer for the mirrored image.
        second_look: Look twice at faces for their landmarks; descriptors are those of one look.
    """

    holds = "landmarks and dense descriptors"
    hints: ClassVar[Mapping[str, str]] = {"DepthPredictor": LandmarkPredictor.hints["DepthPredictor"]}

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        scheme: LandmarkScheme,
        size: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        flip: bool = False,
        second_look: bool = False,
    ) -> None:
        super().__init__(networks, scheme, size, device, dtype, flip=flip, second_look=second_look)
        self.surface = HeadSurface(scheme)

    def describe(self, image: Tensor, boxes: Tensor) -> Descriptors:
        """Describe the faces in ``boxes`` ``[N, 4]`` of an image ``[3, H, W]``."""
        squares = [square_of_box(box, self.size) for box in boxes]
        crops = [crop_image(image, square, self.size, "edge") for square in squares]
        views = torch.stack(crops) if crops else image.new_zeros(0, 3, self.size, self.size)
        places = [square.matrix.double() for square in squares]
        return Descriptors(
            self.describe_views(views),
            torch.stack(places) if places else torch.zeros(0, 2, 3, dtype=torch.float64),
            self.size,
            STRIDE,
            self.size / AROUND,
            smooth=True,
        )

    @torch.no_grad()
    def describe_views(self, views: Tensor) -> Tensor:
        """Describe squares ``[B, 3, s, s]`` in 0..1 around faces: ``[B, C, h, w]``, unit vectors."""
        side = self.size // STRIDE
        if not len(views):
            return torch.zeros(0, len(embed(torch.zeros(2))), side, side)
        seen = views.shape[-1]
        if seen != self.size:
            views = F.interpolate(views, (self.size, self.size), mode="bilinear", antialias=True)
        points, std, _ = self.read_many(views)
        # Cells step through the pixels of the views that were given, from the middle of the first.
        cells = ((points.double() * seen - 0.5) * side / seen).numpy()
        stds = (std.double() * side).numpy()
        placed = [self.surface.view(face, each, side) for face, each in zip(cells, stds, strict=True)]
        return embed(torch.from_numpy(np.stack(placed))).permute(0, 3, 1, 2).contiguous()

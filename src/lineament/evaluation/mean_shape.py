"""The line to beat: the mean labelled shape, placed in the face box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lineament.capabilities import Landmarks
from lineament.data.face_box import jittered_box
from lineament.data.order import sample_generator
from lineament.data.sample import FaceSample
from lineament.errors import DataError
from lineament.faces import boxes as box_tools
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points


class MeanShape:
    """The line to beat: the mean labelled shape, placed in the face box.

    Args:
        samples: Labelled faces.
        which: Scheme of the answer.
        box_jitter: Jitter of the boxes, as the model under comparison was fitted with.
    """

    def __init__(
        self, samples: Sequence[FaceSample], which: str | LandmarkScheme, box_jitter: float = 0.0
    ) -> None:
        self.scheme = as_scheme(which)
        shapes = []
        for index, sample in enumerate(samples):
            box = jittered_box(sample, sample_generator(0, 0, index), box_jitter)
            shapes.append(in_square(true_points(sample, self.scheme), box_tools.square(box)))
        if not shapes:
            raise DataError("a mean shape needs at least one labelled face.")
        self.shape = torch.stack(shapes).nanmean(0)

    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        """Place the mean shape in ``boxes`` ``[N, 4]``; the image is not looked at."""
        squares = [box_tools.square(box_tools.check_box(box)) for box in boxes]
        points = [square[:2] + self.shape * box_tools.size(square) for square in squares]
        placed = torch.stack(points) if points else self.shape.new_zeros(0, *self.shape.shape)
        return Landmarks(placed.float(), torch.zeros(placed.shape[:2]))


def others_mean(shapes: Tensor) -> Tensor:
    """For each shape ``[N, K, 2]`` the mean of the others; NaN where no other one knows a point."""
    known = torch.isfinite(shapes)
    values, counts = torch.where(known, shapes, 0), known.to(shapes.dtype)
    return (values.sum(0) - values) / (counts.sum(0) - counts)


def in_square(points: Tensor, square: Tensor) -> Tensor:
    """Points ``[K, 2]`` in shares of a square ``[4]``, from its corner."""
    return (points.double() - square[:2]) / box_tools.size(square)


def true_points(sample: FaceSample, which: LandmarkScheme) -> Tensor:
    """The landmarks of a sample in another scheme, ``[K, 2]``.

    Raises:
        DataError: If the sample has none.
        UsageError: If they cannot be converted.
    """
    if sample.landmarks is None or sample.scheme is None:
        raise DataError(f"{sample.id} has no landmarks to compare with.")
    return convert_points(sample.landmarks.float(), sample.scheme, which)

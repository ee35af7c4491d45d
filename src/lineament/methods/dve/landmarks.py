"""Predicting landmarks in the pixels of a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lineament.data.order import sample_generator
from lineament.data.sample import FaceSample
from lineament.errors import DataError
from lineament.faces import boxes
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points, scheme
from lineament.methods.dve.frame import Frame, cut, jittered_box
from lineament.methods.dve.model import describe
from lineament.methods.dve.regressor import to_pixels
from lineament.methods.dve.shape import ShapeRegressor, spread_of

# Boxes around the given one whose predictions are averaged: shifts in box sides, and a factor on the side.
BOX_VIEWS = (
    (0.0, 0.0, 1.0),
    (-0.05, 0.0, 1.04),
    (0.05, 0.0, 1.04),
    (0.0, -0.05, 0.96),
    (0.0, 0.05, 0.96),
)


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one face.

    Attributes:
        points: ``[K, 2]`` xy in pixels of the photograph.
        spread: ``[K]`` mean distance of the views' predictions from their mean, in shares of the box side: large where
            the model is unsure.
    """

    points: Tensor
    spread: Tensor


class PredictorConfig(Protocol):
    """What a predictor needs to know of the recipe that fitted its networks."""

    @property
    def frame(self) -> Frame:
        """The view of the network."""

    @property
    def scheme(self) -> str:
        """Name of the landmark scheme."""

    @property
    def views(self) -> int:
        """Boxes whose predictions are averaged."""

    @property
    def mirrored_look(self) -> bool:
        """Average with the prediction for the mirrored picture."""

    @property
    def second_look(self) -> bool:
        """Look again at the box that the first prediction suggests."""


class LandmarkPredictor:
    """Landmarks for any face box in any photograph; answers in the photograph's own pixels."""

    def __init__(self, config: PredictorConfig, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.frame = config.frame
        self.scheme: LandmarkScheme = scheme(config.scheme)
        self.descriptor = networks["descriptor"].eval()
        self.regressor = networks["regressor"].eval()

    @torch.no_grad()
    def __call__(self, image: Tensor, box: Tensor) -> Landmarks:
        """Find the landmarks of one face.

        Args:
            image: ``[3, H, W]`` RGB in 0..1.
            box: ``[4]`` face box in pixels.
        """
        box = boxes.check_box(box)
        best = self._look(image, box)
        if self.config.second_look and isinstance(self.regressor, ShapeRegressor):
            again = self._look(image, self._usual_box(best.points, box))
            # A first look that went astray proposes a box in which the views disagree even more.
            if float(again.spread.mean()) < float(best.spread.mean()):
                best = again
        return best

    def _look(self, image: Tensor, box: Tensor) -> Landmarks:
        """Mean prediction of several boxes around the given one."""
        moved = [self._moved(box, *view) for view in BOX_VIEWS[: max(1, self.config.views)]]
        found = self._predict(image, moved)
        mean = found.mean(0)
        side = float(boxes.size(box).max())
        return Landmarks(mean, (found - mean).norm(dim=-1).mean(0) / side)

    def _predict(self, image: Tensor, around: list[Tensor]) -> Tensor:
        """Landmarks ``[N, K, 2]`` in photo pixels from N boxes."""
        device = next(self.descriptor.parameters()).device
        transforms = [self.frame.view_of(box) for box in around]
        pictures = torch.stack([cut(image, transform, self.frame.seen) for transform in transforms])
        unit = self.regressor(describe(self.descriptor, pictures.to(device)))[0].cpu()
        # Where nobody knows which points swap, a mirrored picture tells nothing.
        if self.config.mirrored_look and self.scheme.mirror_known:
            other = self.regressor(describe(self.descriptor, pictures.flip(-1).to(device)))[0].cpu()
            unit = (unit + other[:, list(self.scheme.mirror)] * unit.new_tensor([-1, 1])) / 2
        pixels = to_pixels(unit, self.frame.seen, self.frame.seen)
        found = [
            transform.inverse().apply(points) for transform, points in zip(transforms, pixels, strict=True)
        ]
        return torch.stack(found)

    def _usual_box(self, points: Tensor, box: Tensor) -> Tensor:
        """The box that would put the points where the labelled shapes lay in their views.

        It stays within half a side and a factor 1.5 of the given box: a prediction that far off is not to be trusted.
        """
        assert isinstance(self.regressor, ShapeRegressor)
        middle, spread = self.regressor.usual_place()
        given = float(boxes.size(box).max())
        shape = points.double()
        half = float(spread_of(shape)) / spread
        side = min(max(2 * half / self.frame.view, given / 1.5), given * 1.5)
        centre = shape.mean(0) - middle.cpu() * half
        centre = centre - torch.tensor([0.0, self.frame.shift * side])
        start = boxes.centre(box)
        centre = start + (centre - start).clamp(-given / 2, given / 2)
        return boxes.from_centre(centre, torch.full((2,), side, dtype=torch.float64))

    @staticmethod
    def _moved(box: Tensor, right: float, down: float, factor: float) -> Tensor:
        extent = boxes.size(box)
        shift = extent.max() * box.new_tensor([right, down])
        return boxes.from_centre(boxes.centre(box) + shift, extent * factor)


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
            shapes.append(_in_box(true_points(sample, self.scheme), boxes.square(box)))
        if not shapes:
            raise DataError("a mean shape needs at least one labelled face.")
        self.shape = torch.stack(shapes).nanmean(0)

    def __call__(self, image: Tensor, box: Tensor) -> Landmarks:
        """Place the mean shape; the picture is not looked at."""
        square = boxes.square(boxes.check_box(box))
        points = square[:2] + self.shape * boxes.size(square)
        return Landmarks(points.float(), torch.zeros(len(points)))


def _in_box(points: Tensor, square: Tensor) -> Tensor:
    return (points.double() - square[:2]) / boxes.size(square)


def true_points(sample: FaceSample, which: LandmarkScheme) -> Tensor:
    """The landmarks of a sample in another scheme, ``[K, 2]``.

    Raises:
        DataError: If the sample has none.
        UsageError: If they cannot be converted.
    """
    if sample.landmarks is None or sample.scheme is None:
        raise DataError(f"{sample.id} has no landmarks to compare with.")
    return convert_points(sample.landmarks.float(), sample.scheme, which)

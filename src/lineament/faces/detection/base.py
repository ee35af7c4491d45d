"""What a detection is, and the registry of detectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lineament.errors import DataError, unknown_name
from lineament.faces.boxes import box_from_five_points, check_box
from lineament.geometry.affine2d import Affine2D


@dataclass(frozen=True)
class Detection:
    """One face in one image.

    Attributes:
        box: ``[4]`` float32, ``x0, y0, x1, y1`` in pixels of the image, may reach outside it.
        score: Confidence in 0..1; 1 where the detector gives none or the face was given by hand.
        points: ``[5, 2]`` float32 xy in pixels, scheme "5": left eye, right eye, nose, left and right mouth corner,
            where left is the left of the image for an upright face. None where the detector gives none.
        turn: Degrees by which the image must be turned counter-clockwise for the face to be upright: 0, 90, 180 or
            270. Box and points are in pixels of the image as it is.
    """

    box: Tensor  # [4]
    score: float = 1.0
    points: Tensor | None = None  # [5, 2]
    turn: int = 0

    def seen_through(self, transform: Affine2D, turn: int = 0) -> Detection:
        """Return the face in the pixels that ``transform`` leads to, with another ``turn``."""
        points = None if self.points is None else transform.apply(self.points)
        return Detection(transform.apply_box(self.box), self.score, points, turn)

    @staticmethod
    def given(box: Tensor | None = None, points: Tensor | None = None) -> Detection:
        """Accept a face that is known already, instead of detecting it.

        Args:
            box: ``[4]``; where None, the box a detector would give for ``points``.
            points: ``[5, 2]`` in the order of scheme "5".

        Raises:
            DataError: If neither is given, or one is malformed.
        """
        if points is not None:
            points = torch.as_tensor(points, dtype=torch.float32)
            around = box_from_five_points(points)
        elif box is None:
            raise DataError("a given face needs a box or five points.")
        box = around if box is None else box
        return Detection(check_box(box).float(), 1.0, points)


@dataclass(frozen=True)
class Traits:
    """What is known of a detector's answers; the values are those of MTCNN.

    Attributes:
        least_score: Faces with a lower score are left out unless they are asked for.
        sure_score: A face with a lower score is looked at again in the other turns.
        longest: So is one whose eyes are further from the mouth, in widths of the mouth: some detectors put the points
            of an upright face, a little too long, on one that stands on its head.
        turned_score: Least score of a face that only a turned look shows: four looks see four times as many faces where
            there are none.
        head_start: What the look at the image as it is has ahead of the others, in logit: few photos are turned.
        length_cost: Units of logit that a long face loses per unit of the logarithm of its length.
        margin: What is mirrored beyond each border, as a share of the image's shorter side: half a face and its
            mirror image look like a face.
    """

    least_score: float = 0.7
    sure_score: float = 0.98
    longest: float = 1.15
    turned_score: float = 0.9
    head_start: float = 1.0
    length_cost: float = 5.0
    margin: float = 0.25


def traits_of(detector: Detector) -> Traits:
    """What is known of a detector's answers; the usual values where it does not say."""
    traits = getattr(detector, "traits", None)
    return traits if isinstance(traits, Traits) else Traits()


class Detector(Protocol):
    """Finds the faces of a batch of images of one size.

    An attribute ``traits`` (:class:`Traits`) tells what its scores mean; without it the usual values hold.
    """

    def __call__(self, images: Tensor, *, min_face: float | None, min_score: float) -> list[list[Detection]]:
        """Detect.

        Args:
            images: ``[N, 3, H, W]`` RGB in 0..1.
            min_face: Smallest face looked for, side of its box in pixels; None lets the detector choose.
            min_score: Faces below are left out.

        Returns:
            One list per image, best score first.
        """
        ...


@runtime_checkable
class ScaledDetector(Detector, Protocol):
    """A detector that sees faces of some sizes only: images are shrunk for it, the smallest look first."""

    def scales(self, height: int, width: int, min_face: float | None) -> list[float]:
        """Sizes of the looks at a image, as shares of its own size, at most 1, growing."""
        ...

    def is_enough(self, faces: Sequence[Detection], scale: float, min_face: float | None) -> bool:
        """Whether ``faces``, all that looks up to ``scale`` showed, make larger looks needless."""
        ...


_DETECTORS: dict[str, Callable[[], Detector]] = {}


def register_detector(name: str) -> Callable[[Callable[[], Detector]], Callable[[], Detector]]:
    """Register a function that makes a detector under ``name`` (decorator)."""

    def register(factory: Callable[[], Detector]) -> Callable[[], Detector]:
        _DETECTORS[name] = factory
        return factory

    return register


def detectors() -> list[str]:
    """Names of all detectors."""
    return sorted(_DETECTORS)


def make_detector(name: str) -> Detector:
    """Make the detector ``name``; raises ``UsageError`` naming the nearest one where there is none."""
    if name not in _DETECTORS:
        raise unknown_name("detector", name, _DETECTORS)
    return _DETECTORS[name]()


def least_score(name: str) -> float:
    """The score below which the detector ``name`` leaves faces out unless they are asked for."""
    return traits_of(make_detector(name)).least_score


def main_face(detections: Sequence[Detection]) -> Detection | None:
    """Return the face a portrait is of: the one with the largest area times score; None where there is none."""
    if not detections:
        return None

    def weight(detection: Detection) -> float:
        x0, y0, x1, y1 = detection.box.tolist()
        return detection.score * (x1 - x0) * (y1 - y0)

    return max(detections, key=weight)

"""What a detection is, the registry of detectors, and the one function that runs any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces.boxes import box_from_five_points, check_box


@dataclass(frozen=True)
class Detection:
    """One face in one picture.

    Attributes:
        box: ``[4]`` float32, ``x0, y0, x1, y1`` in pixels of the picture, may reach outside it.
        score: Confidence in 0..1; 1 where the detector gives none or the face was given by hand.
        points: ``[5, 2]`` float32 xy in pixels, scheme "5": left eye, right eye, nose, left and right mouth corner,
            where left is the left of the image for an upright face. None where the detector gives none.
    """

    box: Tensor  # [4]
    score: float = 1.0
    points: Tensor | None = None  # [5, 2]

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


class Detector(Protocol):
    """Finds the faces of a batch of pictures of one size."""

    def __call__(self, images: Tensor, *, min_face: float | None, min_score: float) -> list[list[Detection]]:
        """Detect.

        Args:
            images: ``[N, 3, H, W]`` RGB in 0..1.
            min_face: Smallest face looked for, side of its box in pixels; None lets the detector choose.
            min_score: Faces below are left out.

        Returns:
            One list per picture, best score first.
        """
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


def detect_faces(
    images: Tensor | Sequence[Tensor],
    detector: str | Detector = "mtcnn",
    *,
    min_face: float | None = None,
    min_score: float = 0.7,
    batch_size: int = 16,
) -> list[list[Detection]]:
    """Find the faces of one or many pictures.

    Pictures of one size are worked on together; sizes may be mixed and of any value. A picture too small to hold a
    face gives an empty list.

    Args:
        images: ``[3, H, W]``, ``[N, 3, H, W]``, or a sequence of ``[3, H, W]``; RGB float in 0..1.
        detector: Name (see :func:`detectors`) or a detector.
        min_face: Smallest face looked for, side of its box in pixels. None: 20, or a twentieth of the picture's shorter
            side where that is more, which bounds the work on large photographs.
        min_score: Faces with a lower score are left out (0..1).
        batch_size: How many pictures of one size are worked on at once.

    Returns:
        One list per picture, also for a single one; best score first.

    Raises:
        DataError: On pictures of the wrong shape or type.
        UsageError: On an unknown detector, or a smallest face that is not a positive length.
    """
    if min_face is not None and not 0.0 < min_face < float("inf"):
        raise UsageError(f"the smallest face is a positive number of pixels, not {min_face}.")
    run = make_detector(detector) if isinstance(detector, str) else detector
    pictures = _as_list(images)
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        by_size.setdefault((*picture.shape, hash(picture.device)), []).append(index)
    found: list[list[Detection]] = [[] for _ in pictures]
    with torch.inference_mode():
        for indices in by_size.values():
            for start in range(0, len(indices), batch_size):
                chunk = indices[start : start + batch_size]
                batch = torch.stack([pictures[index].to(torch.float32) for index in chunk])  # [N, 3, H, W]
                for index, faces in zip(
                    chunk, run(batch, min_face=min_face, min_score=min_score), strict=True
                ):
                    found[index] = faces
    return found


def main_face(detections: Sequence[Detection]) -> Detection | None:
    """Return the face a portrait is of: the one with the largest area times score; None where there is none."""
    if not detections:
        return None

    def weight(detection: Detection) -> float:
        x0, y0, x1, y1 = detection.box.tolist()
        return detection.score * (x1 - x0) * (y1 - y0)

    return max(detections, key=weight)


def _as_list(images: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(images, Tensor) and images.ndim == 3:
        images = [images]
    pictures = list(images)
    for picture in pictures:
        if (
            picture.ndim != 3
            or picture.shape[0] != 3
            or not picture.is_floating_point()
            or 0 in picture.shape
        ):
            raise DataError(
                f"pictures are RGB float [3, H, W] in 0..1, not {picture.dtype} of shape {tuple(picture.shape)}."
            )
    return pictures

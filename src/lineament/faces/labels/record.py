"""What a label file holds, and the checks that all formats share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points

# Where a file says how large its images are, this key of ``meta`` keeps it: image -> [width, height].
SIZES = "sizes"


@dataclass(frozen=True)
class FaceLabel:
    """One face of one image.

    Attributes:
        image: Name of the image, relative to the label file where it is a path; empty in a PTS file.
        landmarks: ``[K, 2]`` float32 xy in pixels, NaN where a point is missing; None where there are none.
        box: ``[4]`` float32 x0 y0 x1 y1 in pixels, or None.
        score: Confidence in 0..1, or None.
        confidence: ``[K]`` of each landmark in 0..1, or None; JSON and CSV keep four decimals of it.
        visible: ``[K]`` bool: False where a point is hidden but placed, and where it is missing; None where the file
            does not say what is hidden.
        turn: Degrees by which the image must be turned counter-clockwise for the face to be upright, 0, 90, 180 or
            270, or None where nobody looked; only our own JSON keeps it.
    """

    image: str
    landmarks: Tensor | None = None
    box: Tensor | None = None
    score: float | None = None
    confidence: Tensor | None = None
    visible: Tensor | None = None
    turn: int | None = None

    @property
    def placed(self) -> Tensor:
        """``[K]`` bool: which landmarks have a place; empty where there are none."""
        if self.landmarks is None:
            return torch.zeros(0, dtype=torch.bool)
        return torch.isfinite(self.landmarks).all(-1)


@dataclass(frozen=True)
class LabelFile:
    """The faces of a label file.

    Attributes:
        scheme: Scheme of all landmarks in it; None where no face has any.
        faces: In the order of the file.
        meta: Anything else the file says (its ``meta`` in JSON; the sizes of the images, where a format has them).
    """

    scheme: LandmarkScheme | None
    faces: list[FaceLabel]
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadRequest:
    """What a reader of one format is asked for.

    Attributes:
        path: The file.
        scheme: The scheme the landmarks must have; None takes the file's.
        first_pixel: What the file calls the middle of the first pixel.
    """

    path: Path
    scheme: LandmarkScheme | None
    first_pixel: float


def number(value: object, what: str) -> float:
    """Parse one coordinate; None, empty and nan mean missing.

    Raises:
        DataError: On infinities, words, and numbers outside any image.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError(f"{what} is {value!r}, not a number.")
    try:
        found = float(value)
    except ValueError as error:
        raise DataError(f"{what} is {value!r}, not a number.") from error
    except OverflowError:
        found = math.inf
    if math.isinf(found) or abs(found) > 1e7:
        raise DataError(f"{what} is {str(value)[:40]!r}, outside any image.")
    return found


def points_tensor(rows: Sequence[Sequence[float]], first_pixel: float = 0.0) -> Tensor:
    """Rows of xy -> ``[K, 2]`` float32 that count from 0; a point without one of its coordinates is missing."""
    points = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2) - first_pixel
    whole = torch.isfinite(points).all(-1, keepdim=True)
    return torch.where(whole, points, torch.nan).float()


def face_box(values: Sequence[object], what: str, shift: float = 0.0) -> Tensor | None:
    """x0, y0, x1, y1 -> ``[4]`` float32 less ``shift``; None where all are missing.

    Raises:
        DataError: If some are missing, or the box has no area.
    """
    numbers = [number(value, f"box of {what}") for value in values]
    if all(math.isnan(value) for value in numbers):
        return None
    if len(numbers) != 4 or any(math.isnan(value) for value in numbers):
        raise DataError(f"box of {what} must hold x0, y0, x1, y1, not {list(values)}.")
    if numbers[2] <= numbers[0] or numbers[3] <= numbers[1]:
        raise DataError(f"box of {what} has no area: {numbers}.")
    return (torch.tensor(numbers, dtype=torch.float64) - shift).float()


def face_score(value: object, what: str) -> float | None:
    """Parse a score; None where there is none."""
    score = number(value, f"score of {what}")
    return None if math.isnan(score) else score


def agree(found: LandmarkScheme, wanted: LandmarkScheme | None) -> LandmarkScheme:
    """The scheme wanted, if its points are those found; raises ``DataError`` if not."""
    if wanted is not None and found.names != wanted.names:
        raise DataError(
            f"the landmarks follow scheme {found.name}, but {wanted.name} is wanted: convert them first."
        )
    return wanted or found


def visible_of(states: Sequence[bool | None]) -> Tensor | None:
    """``[K]`` bool from true, false (hidden) or None (missing); None where no point is hidden."""
    if not any(state is False for state in states):
        return None
    return torch.tensor([state is True for state in states])


def tight_box(landmarks: Tensor) -> Tensor | None:
    """``[4]`` around the landmarks that have a place; None where they span no area."""
    placed = landmarks[torch.isfinite(landmarks).all(-1)]
    if len(placed) < 2:
        return None
    box = torch.cat([placed.amin(0), placed.amax(0)])
    return box if bool((box[2:] > box[:2]).all()) else None


def require_all(face: FaceLabel, layout: LandmarkScheme | None) -> None:
    """Raise ``DataError`` naming the first landmark of a face that is missing."""
    if face.landmarks is None or layout is None:
        return
    missing = torch.nonzero(~face.placed).flatten().tolist()
    if missing:
        where = f" of {face.image}" if face.image else ""
        raise DataError(f"point {layout.names[missing[0]]!r}{where} is missing or not a number: label it.")


def normal(face: FaceLabel) -> FaceLabel:
    """The face with NaN in both coordinates of each missing point, not visible there; without points: None."""
    if face.landmarks is None:
        return face
    placed = face.placed
    if not bool(placed.any()):
        return replace(face, landmarks=None, visible=None, confidence=None)
    landmarks = torch.where(placed[:, None], face.landmarks, torch.nan)
    return replace(face, landmarks=landmarks, visible=None if face.visible is None else face.visible & placed)


def in_scheme(labels: LabelFile, which: str | LandmarkScheme) -> LabelFile:
    """Landmarks in another scheme: points without names get its names, others are converted where a rule does it.

    Raises:
        UsageError: If no rule leads to the scheme.
    """
    layout = as_scheme(which)
    if labels.scheme is None or labels.scheme == layout:
        return labels
    faces = []
    for face in labels.faces:
        if face.landmarks is not None:
            moved = convert_points(face.landmarks, labels.scheme, layout)
            # What belongs to single points follows only where every point stays what it is.
            same = moved is face.landmarks
            face = replace(
                face,
                landmarks=moved,
                confidence=face.confidence if same else None,
                visible=face.visible if same else None,
            )
        faces.append(face)
    return LabelFile(layout, faces, labels.meta)


def faces_of(labels: LabelFile, photo: Path, source: Path) -> list[FaceLabel]:
    """The faces with landmarks of one photo in a label file.

    A label names its image by a path whose last parts are those of the photo: ``1.jpg`` and ``q/1.jpg`` are
    ``photos/q/1.jpg``, ``p/1.jpg`` is not. A face without a name, as in a PTS file, is of any photo; an absolute
    path from elsewhere is compared by the name of the file.

    Args:
        labels: The content of the file.
        photo: The photo.
        source: The label file, for messages.

    Raises:
        DataError: If the file holds no landmarks, or none of this photo.
    """
    marked = [face for face in labels.faces if face.landmarks is not None]
    if not marked or labels.scheme is None:
        raise DataError(f"{source} holds no keypoints.")
    found = [face for face in marked if _is_of(face.image, photo)]
    if not found:
        others = list(dict.fromkeys(face.image for face in marked))
        more = f" and {len(others) - 1} other images" if len(others) > 1 else ""
        raise DataError(f"{source} holds the keypoints of {others[0]}{more}, but none of {photo.name}.")
    return found


def _is_of(image: str, photo: Path) -> bool:
    named = PurePosixPath(PureWindowsPath(image).as_posix())
    if not image:
        return True
    whole = photo.resolve().parts
    if named.is_absolute() or PureWindowsPath(image).is_absolute():
        return named.name == photo.name
    parts = tuple(part for part in named.parts if part not in (".", ".."))
    return whole[-len(parts) :] == parts

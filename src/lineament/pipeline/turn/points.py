"""Where the 68 keypoints of a face come from: a file, a landmark model, or a head put on a detector's five points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lineament.errors import DataError, NoFaceError, UsageError
from lineament.faces.detection import DEFAULT_DETECTOR, Detection, detect_faces, main_face
from lineament.faces.labels import FaceLabel, LabelFile, faces_of, read_keypoints
from lineament.faces.labels.record import tight_box
from lineament.faces.normalisers import inter_ocular
from lineament.faces.schemes import convert_points
from lineament.geometry.least_squares import levenberg_marquardt
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.model import HeadModel
from lineament.inference import Model

# Radians of pitch and yaw that are taken for one standard deviation where five points hardly tell.
EXPECTED_YAW, EXPECTED_PITCH = 0.5, 0.12
# Smaller faces show nothing when turned.
SMALLEST = 12.0


@dataclass(frozen=True)
class FacePoints:
    """Keypoints of one face.

    Attributes:
        points: ``[68, 2]`` float32 xy in pixels.
        origin: Words that say where they come from.
        face: The face that the detector found; None where the points were given.
        std: ``[68]`` standard deviation of their coordinates that the model predicts, pixels; None where none is known.
    """

    points: Tensor
    origin: str
    face: Detection | None = None
    std: Tensor | None = None


def points_from_file(path: Path, photo: Path, size: tuple[int, int]) -> FacePoints:
    """Read the keypoints of an image from a label file of any tool.

    Args:
        path: The file; of several faces the largest of the image is taken.
        photo: The image; a file that names other images only is refused.
        size: Width and height of the image.

    Raises:
        DataError: If it cannot be read, holds no face of the image, lacks points, or they lie outside.
    """
    # A folder's images share one file, of which each takes a line.
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    labels = _read_labels(path, changed)
    face = max(faces_of(labels, photo, path), key=_extent)
    assert face.landmarks is not None and labels.scheme is not None
    try:
        points = convert_points(face.landmarks, labels.scheme, "68")
    except UsageError as error:
        raise DataError(
            f"{path}: 68 points are needed, or such as can be turned into them: {error}"
        ) from error
    missing = int((~torch.isfinite(points).all(-1)).sum())
    if missing:
        raise DataError(f"{path} lacks {missing} of the 68 keypoints of {photo}: depth needs all of them.")
    check_points(points, size, str(path))
    return FacePoints(points.float(), f"read from {path}")


@lru_cache(maxsize=2)
def _read_labels(path: Path, changed: int) -> LabelFile:
    return read_keypoints(path, allow_missing=True)


def _extent(face: FaceLabel) -> float:
    box = None if face.landmarks is None else tight_box(face.landmarks)
    return 0.0 if box is None else float((box[2:] - box[:2]).prod())


def check_points(points: Tensor, size: tuple[int, int], what: str) -> None:
    """Refuse keypoints of which a third or more lie outside of the image, or that are too close to each other.

    Raises:
        DataError: In these cases.
    """
    width, height = size
    inside = (points >= -0.5).all(-1) & (points[:, 0] <= width - 0.5) & (points[:, 1] <= height - 0.5)
    outside = int((~inside).sum())
    if 3 * outside >= len(points):
        raise DataError(
            f"{what}: {outside} of {len(points)} keypoints lie outside the image of {width} x {height} pixels: "
            "are they of another image or size?"
        )
    if float(inter_ocular(points, "68")) < SMALLEST:
        raise DataError(f"{what}: the eyes lie less than {SMALLEST:g} pixels apart: choose a larger image.")


def find_face(image: Tensor, name: str, detector: str = DEFAULT_DETECTOR) -> Detection:
    """Find the main face of a photo ``[3, H, W]``.

    Raises:
        NoFaceError: If there is none.
    """
    face = main_face(detect_faces(image, detector)[0])
    if face is None:
        raise _no_face(name)
    return face


def _no_face(name: str, note: str = "") -> NoFaceError:
    why = f" ({note})" if note else ""
    return NoFaceError(
        f"{name}: no face was found in it{why}: choose an image in which it is larger or less turned, or give its "
        "keypoints with --keypoints."
    )


def points_from_model(model: Model, image: Tensor, name: str, *, all_faces: bool = False) -> FacePoints:
    """Keypoints by one of our landmark models.

    Args:
        model: The model, with its detector.
        image: ``[3, H, W]``.
        name: Of the photo, for messages.
        all_faces: Keep detections that the model takes for no face.

    Raises:
        NoFaceError: If there is no face.
        DataError: If the model's scheme cannot become 68 points.
    """
    seen = model.find(image, all_faces=all_faces)
    face = main_face([each.place for each in seen.faces])
    if face is None:
        raise _no_face(name, seen.note)
    found = next(each for each in seen.faces if each.box is face.box)
    try:
        points = convert_points(found.landmarks, model.scheme, "68")
    except UsageError as error:
        raise DataError(f"the landmarks of {model.run.label} cannot be used here: {error}") from error
    check_points(points, (image.shape[2], image.shape[1]), name)
    std = found.std if model.scheme.name == "68" else None
    return FacePoints(points.float(), f"found by {model.run.label}", face, std)


def points_from_head(head: HeadModel, image: Tensor, name: str) -> FacePoints:
    """Place a mean head on the detector's five points and take its landmarks; good to some 5 % of the eye distance.

    Raises:
        DataError: If there is no face, or the detector gave no points.
    """
    face = find_face(image, name)
    if face.points is None:
        raise DataError(f"{name}: the detector found a face but no points in it: give --keypoints.")
    points = place_mean_head(head, face.points)
    check_points(points, (image.shape[2], image.shape[1]), name)
    return FacePoints(points, f"those of the {head.name} head, placed on the detector's five points", face)


def place_mean_head(head: HeadModel, five: Tensor) -> Tensor:
    """Project the mean head's 68 landmarks so that its five points come close to ``five`` ``[5, 2]``."""
    shape = {
        name: torch.from_numpy(head.landmarks(head.neutral[None], name)[0].astype(np.float64))
        for name in ("5", "68")
    }
    target = five.detach().double()
    across = target[1] - target[0]
    size = across.norm()
    scale = size / (shape["5"][1] - shape["5"][0]).norm()

    def project(values: Tensor, points: Tensor) -> Tensor:
        """``[B, 6]`` yaw, pitch, roll, log scale and shift -> ``[B, K, 2]`` pixels."""
        rotation = matrix_from_pose(values[:, :3])
        seen = points @ rotation[:, :2].transpose(1, 2)
        return values[:, 3, None, None].exp() * scale * seen + values[:, None, 4:] * size

    def error(values: Tensor) -> Tensor:
        off = (project(values, shape["5"]) - target).flatten(1) / (0.03 * size)
        prior = values[:, :2] / values.new_tensor([EXPECTED_YAW, EXPECTED_PITCH])
        return torch.cat([off, prior], 1)

    roll = torch.atan2(across[1], across[0])
    start = torch.cat([torch.stack([0 * roll, 0 * roll, roll, 0 * roll]), target[:2].mean(0) / size])
    fitted = levenberg_marquardt(error, start[None]).parameters
    return project(fitted, shape["68"])[0].float()

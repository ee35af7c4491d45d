"""One face of a photo in numbers: its landmarks, and pose, camera and expression of the head fitted to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.faces.labels import FaceLabel
from lineament.faces.labels.own_json import face_item
from lineament.faces.schemes import convert_points
from lineament.geometry.rotation import pose_from_matrix
from lineament.heads.fit import HeadFit, fit_head, fit_heads
from lineament.heads.model import HeadModel
from lineament.inference import Face
from lineament.pipeline.turn.numbers import named_angles

UNITS = (
    "pixels of the photo and degrees; R = Rx(pitch) Ry(yaw) Rz(roll), positive yaw to the right of the photo, pitch "
    "down, roll clockwise; depth grows away from the camera, 0 between the outer eye corners; expressions 0..1; the "
    "mesh is in millimetres of the fitted head, y up, z to the viewer"
)


@dataclass(frozen=True)
class FittedFace:
    """A found face with its head.

    Attributes:
        face: As the landmark model found it.
        points: ``[68, 2]`` its landmarks of scheme 68, in pixels of the photo; None where they cannot be had.
        fit: The head fitted to them, in these pixels, or None.
        lacking: Why there is no fit; empty where there is.
    """

    face: Face
    points: Tensor | None = None
    fit: HeadFit | None = None
    lacking: str = ""

    @property
    def pose(self) -> dict[str, float] | None:
        """Yaw, pitch and roll in degrees, ``R = Rx(pitch) Ry(yaw) Rz(roll)``; None without a fit."""
        return None if self.fit is None else named_angles(pose_from_matrix(self.fit.rotation, "xyz"))


def fit_faces(head: HeadModel, faces: Sequence[Face], size: tuple[int, int]) -> list[FittedFace]:
    """Fit a head to each face of an image of ``size`` (width and height); faces without a fit say why."""
    if not faces:
        return []
    try:
        points = torch.stack([convert_points(face.landmarks, face.scheme, "68") for face in faces])
    except UsageError as error:
        return [FittedFace(face, lacking=f"a head is fitted to 68 points: {error}") for face in faces]
    stds = [face.std for face in faces]
    std = (
        torch.stack([each for each in stds if each is not None])
        if faces[0].scheme.name == "68" and None not in stds
        else None
    )
    try:
        fits = fit_heads(head, points, std, size)
        return [FittedFace(*each) for each in zip(faces, points, fits, strict=True)]
    except DataError:
        return [
            _fit_one(head, face, points[index], None if std is None else std[index], size)
            for index, face in enumerate(faces)
        ]


def _fit_one(
    head: HeadModel, face: Face, points: Tensor, std: Tensor | None, size: tuple[int, int]
) -> FittedFace:
    try:
        return FittedFace(face, points, fit_head(head, points, std, size))
    except DataError as error:
        return FittedFace(face, points, lacking=str(error))


def face_numbers(name: str, found: FittedFace) -> dict[str, Any]:
    """A face as it stands in a label file, with pose and expression; None what is not known."""
    face, fit = found.face, found.fit
    label = FaceLabel(name, face.landmarks, face.box, face.score, face.confidence, turn=face.turn)
    known: dict[str, Any] = {"pose": found.pose, "expression": None}
    if fit is not None:
        known["expression"] = {key: round(value, 4) for key, value in fit.expressions.items()}
        known["head"] = fit.head.name
        known["head_error"] = round(fit.error, 5)
        known["pixels_per_millimetre"] = round(fit.scale, 5)
    else:
        known["left_out"] = {"pose": found.lacking}
    return face_item(label) | known


def merged(numbers: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a face with those of its files; what both leave out together."""
    left_out = {**numbers.get("left_out", {}), **more.get("left_out", {})}
    joined = {**numbers, **more}
    joined.pop("left_out", None)
    return joined | ({"left_out": left_out} if left_out else {})

"""The JSON files of `lineament turn` and `lineament depth`: label files (docs/faces.md) with depth and pose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.faces.labels import FaceLabel
from lineament.faces.labels.own_json import FORMAT, face_item
from lineament.files import write_text
from lineament.pipeline.turn.points import FacePoints

UNITS = (
    "pixels of the photo and degrees; depth grows away from the camera, 0 between the outer eye corners; "
    "R = Rz(roll) Rx(pitch) Ry(yaw)"
)


def named_angles(pose: Tensor) -> dict[str, float]:
    """Degrees by name of a pose ``[3]`` in radians."""
    degrees = torch.rad2deg(pose).round(decimals=3).tolist()
    return dict(zip(("yaw", "pitch", "roll"), degrees, strict=True))


def face_numbers(
    name: str, found: FacePoints, depth: Tensor, depth_origin: str, pose: Tensor
) -> dict[str, Any]:
    """One face as it stands in the list of the file.

    Args:
        name: Name of the image, which ``folder`` of the meta leads to.
        found: Its 68 keypoints.
        depth: ``[68]`` their depth in pixels of the image.
        depth_origin: Where that comes from.
        pose: ``[3]`` yaw, pitch and roll of the face in the image, radians.
    """
    face = found.face
    box = None if face is None else face.box
    score = None if face is None else float(face.score)
    label = FaceLabel(name, found.points, box, score, turn=0 if face is None else face.turn)
    return {
        **face_item(label),
        "landmarks_from": found.origin,
        "depth": [round(value, 3) for value in depth.tolist()],
        "depth_from": depth_origin,
        "pose": named_angles(pose),
    }


def write_face(path: Path, meta: Mapping[str, Any], item: Mapping[str, Any]) -> None:
    """Write the file of one face; it is complete or absent."""
    content = {"format": FORMAT, "scheme": "68", "meta": meta, "faces": [item]}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

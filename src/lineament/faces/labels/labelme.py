"""labelme: one JSON file for each image, with shapes on its canvas; a shape of type point is one named point."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import Any

from torch import Tensor

from lineament.errors import DataError
from lineament.faces.labels.formats import CANVAS
from lineament.faces.labels.named_points import NamedFace, label_file
from lineament.faces.labels.record import LabelFile, ReadRequest, face_box, number


def is_labelme(content: object) -> bool:
    """Whether a JSON document is of this format."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read(content: dict[str, Any], request: ReadRequest) -> LabelFile:
    """Read a document.

    Points of one group are a face, and so are those without a group; a rectangle is the box of its group, or of the
    only face. Other shapes are left alone.

    Raises:
        DataError: Naming the shape and the fault.
    """
    # Written on Windows, the path of the image has backslashes.
    name = PureWindowsPath(str(content.get("imagePath") or request.path.with_suffix(".jpg").name)).as_posix()
    faces: dict[str | None, NamedFace] = {}
    boxes: dict[str | None, Tensor | None] = {}
    for index, shape in enumerate(content["shapes"]):
        what = f"shape {index} of {name}"
        if not isinstance(shape, dict):
            raise DataError(f"{what} is not an object.")
        group = None if shape.get("group_id") is None else str(shape["group_id"])
        kind = shape.get("shape_type", "polygon")
        if kind not in ("point", "points", "rectangle"):
            continue
        points = _points(shape.get("points"), what)
        if kind == "rectangle":
            if len(points) < 2:
                raise DataError(f"{what} is a rectangle of {len(points)} points.")
            xs, ys = zip(*points, strict=True)
            boxes[group] = face_box([min(xs), min(ys), max(xs), max(ys)], what, CANVAS)
            continue
        face = faces.setdefault(group, NamedFace(name))
        label = str(shape.get("label") or "").strip()
        for place, (x, y) in enumerate(points):
            face.add(label if len(points) == 1 else str(place), x, y)
    for group, box in boxes.items():
        if group in faces:
            faces[group].box = box
        elif len(faces) == 1 and len(boxes) == 1:
            next(iter(faces.values())).box = box
        elif not faces:
            faces[group] = NamedFace(name, box=box)
    width, height = content.get("imageWidth"), content.get("imageHeight")
    known = isinstance(width, int) and isinstance(height, int) and min(width, height) > 0
    sizes = {name: [width, height]} if known else {}
    return label_file(list(faces.values()), request.scheme, request.first_pixel, (), sizes)  # type: ignore[arg-type]


def _points(given: object, what: str) -> list[tuple[float, float]]:
    if not isinstance(given, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in given):
        raise DataError(f"{what} must hold its points as [[x, y], ...].")
    return [(number(x, f"a point of {what}"), number(y, f"a point of {what}")) for x, y in given]

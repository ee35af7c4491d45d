"""Our own JSON: ``{"scheme": ..., "meta": {...}, "faces": [{"image", "box", "score", "landmarks", ...}]}``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from lineament.errors import DataError, UsageError
from lineament.faces.labels.record import (
    FaceLabel,
    LabelFile,
    ReadRequest,
    agree,
    face_box,
    face_score,
    number,
    points_tensor,
    visible_of,
)
from lineament.faces.schemes import LandmarkScheme, parse_scheme, scheme, scheme_content, scheme_word

# The "format" of JSON label files.
FORMAT = "lineament-faces"


def is_own(content: object) -> bool:
    """Whether a JSON document is of this format."""
    return isinstance(content, dict) and isinstance(content.get("faces"), list)


def read(content: dict[str, Any], request: ReadRequest) -> LabelFile:
    """Read a document; raises ``DataError`` naming the face and the fault."""
    layout = _scheme(content.get("scheme"), request)
    faces = [_face(item, index, layout, request.first_pixel) for index, item in enumerate(content["faces"])]
    meta = content.get("meta", {})
    return LabelFile(layout, faces, meta if isinstance(meta, dict) else {})


def _scheme(given: object, request: ReadRequest) -> LandmarkScheme | None:
    """The scheme a file names, holds, or refers to by a path that counts from the file."""
    wanted = request.scheme
    if given is None:
        return wanted
    if isinstance(given, dict):
        return agree(parse_scheme(given), wanted)
    if not isinstance(given, str):
        raise DataError(f'"scheme" must be a name in quotes or the content of a scheme, not {given!r}.')
    if given.endswith((".yaml", ".yml")) and not given.lstrip().startswith("{"):
        given = str(request.path.parent / Path(given).expanduser())
    try:
        return agree(scheme(given), wanted)
    except UsageError as error:
        if wanted is not None and wanted.name == given:
            return wanted
        raise DataError(str(error)) from error


def _face(item: object, index: int, layout: LandmarkScheme | None, first: float) -> FaceLabel:
    if not isinstance(item, dict):
        raise DataError(f"face {index} is not an object.")
    image = str(item.get("image", ""))
    what = f"face {index}" + (f" ({image})" if image else "")
    rows = None
    visible = None
    if item.get("landmarks") is not None:
        if layout is None:
            raise DataError('landmarks need a "scheme".')
        rows = _rows(item["landmarks"], layout, what)
        visible = _visible(item.get("visible"), rows, what)
    box = item.get("box")
    if box is not None and not isinstance(box, list):
        raise DataError(f"box of {what} must hold x0, y0, x1, y1, not {box!r}.")
    each = item.get("confidence")
    confidence = None
    if each is not None:
        if not isinstance(each, list) or rows is None or len(each) != len(rows):
            raise DataError(f"confidence of {what} is not a list with a number for each landmark.")
        confidence = torch.tensor([number(value, f"confidence of {what}") for value in each])
    place = None if box is None else face_box(box, what, first)
    landmarks = None if rows is None else points_tensor(rows, first)
    score = face_score(item.get("score"), what)
    return FaceLabel(image, landmarks, place, score, confidence, visible, _turn(item.get("turn"), what))


def _turn(given: object, what: str) -> int | None:
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or given not in (0, 90, 180, 270):
        raise DataError(f"turn of {what} is {given!r}, not 0, 90, 180 or 270 degrees.")
    return given


def _rows(points: object, layout: LandmarkScheme, what: str) -> list[list[float]]:
    if not isinstance(points, list) or len(points) != len(layout):
        count = len(points) if isinstance(points, list) else 0
        raise DataError(f"{what} has {count} landmarks, scheme {layout.name} has {len(layout)}.")
    rows = []
    for name, point in zip(layout.names, points, strict=True):
        pair = [None, None] if point is None else point
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"point {name!r} of {what} is {point!r}, not [x, y].")
        rows.append([number(value, f"point {name!r} of {what}") for value in pair])
    return rows


def _visible(given: object, rows: list[list[float]], what: str) -> torch.Tensor | None:
    """Which points can be seen; those that are null lose their place in ``rows``."""
    if given is None:
        return None
    known = isinstance(given, list) and all(state in (True, False, None) for state in given)
    if not known or not isinstance(given, list) or len(given) != len(rows):
        raise DataError(f'"visible" of {what} is not a list with true, false or null for each landmark.')
    for row, state in zip(rows, given, strict=True):
        if state is None:
            row[:] = [math.nan, math.nan]
    return visible_of([None if state is None else bool(state) for state in given])


def face_item(face: FaceLabel) -> dict[str, Any]:
    """One face as it stands in the list of a JSON label file."""
    item: dict[str, Any] = {"image": face.image}
    if face.box is not None:
        item["box"] = [_rounded(value) for value in face.box.tolist()]
    if face.score is not None:
        item["score"] = _rounded(face.score)
    if face.turn is not None:
        item["turn"] = face.turn
    if face.landmarks is not None:
        placed = face.placed.tolist()
        item["landmarks"] = [
            [_rounded(value) for value in point] if known else None
            for point, known in zip(face.landmarks.tolist(), placed, strict=True)
        ]
        if face.visible is not None:
            states = zip(face.visible.tolist(), placed, strict=True)
            item["visible"] = [seen if known else None for seen, known in states]
    if face.confidence is not None:
        item["confidence"] = [round(value, 4) for value in face.confidence.tolist()]
    return item


def scheme_item(layout: LandmarkScheme | None) -> str | dict[str, Any] | None:
    """What stands for a scheme in a JSON label file: the name of a built-in one, the content of another."""
    if layout is None:
        return None
    word = scheme_word(layout)
    return word if word == layout.name else scheme_content(layout)


def text_of(labels: LabelFile) -> str:
    """The document of a label file."""
    faces = [face_item(face) for face in labels.faces]
    content = {
        "format": FORMAT,
        "scheme": scheme_item(labels.scheme),
        "meta": labels.meta,
        "faces": faces,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _rounded(value: float) -> float:
    # Nine digits give every float32 back exactly.
    return float(f"{value:.9g}")

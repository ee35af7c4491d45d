"""CSV: a row per face under a header that names a column ``image``.

Our own columns are ``image, x0, y0, x1, y1, score, <point>_x, <point>_y, ...``. Others are read too: numbered points
``x0, y0, x1, y1, x2, ...`` (one box alone is a box), semicolons or tabs between cells, decimal commas.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.labels.cells import decimal, guard, separator, unguard
from lineament.faces.labels.record import (
    FaceLabel,
    LabelFile,
    ReadRequest,
    face_box,
    face_score,
    number,
    points_tensor,
    visible_of,
)
from lineament.faces.schemes import LandmarkScheme, scheme_of_names, unnamed_scheme

BOX_COLUMNS = ("x0", "y0", "x1", "y1")
_NUMBERED = re.compile(r"[xy](\d+)")
_STATES: dict[str, bool | None] = {"": None, "1": True, "0": False, "true": True, "false": False}


def read(text: str, request: ReadRequest) -> LabelFile:
    """Read a table; raises ``DataError`` naming the line and the fault."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator(text)) if row]
    except csv.Error as error:
        raise DataError(f"not a table ({error}).") from error
    header = [unguard(cell.strip()) for cell in rows[0]] if rows else []
    if "image" not in header:
        raise DataError("a label table starts with a header that names a column 'image'.")
    if len(set(header)) < len(header):
        twice = next(cell for i, cell in enumerate(header) if cell in header[:i])
        raise DataError(f"two columns are called {twice!r}: each needs its own name.")
    columns, box, layout = _columns(header, request.scheme)
    faces = []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"line {line} has {len(row)} cells, the header has {len(header)}.")
        cells = dict(zip(header, row, strict=True))
        faces.append(_face(cells, columns, box, f"line {line} ({cells['image']})", request.first_pixel))
    return LabelFile(layout, faces)


def _columns(
    header: Sequence[str], wanted: LandmarkScheme | None
) -> tuple[list[tuple[str, str]], Sequence[str], LandmarkScheme | None]:
    """Columns of x and y of each point, those of the box, and the scheme."""
    names = [column[:-2] for column in header if column.endswith("_x") and len(column) > 2]
    absent = [f"{name}_y" for name in names if f"{name}_y" not in header]
    if absent:
        raise DataError(f"column {absent[0]!r} is missing.")
    if names:
        return [(f"{name}_x", f"{name}_y") for name in names], BOX_COLUMNS, _named(tuple(names), wanted)
    numbers = sorted({int(found[1]) for column in header if (found := _NUMBERED.fullmatch(column))})
    box = [f"{axis}{place}" for place in numbers for axis in "xy"]
    if len(numbers) <= 2:
        if wanted is not None and wanted.name != str(len(numbers)):
            raise DataError(f"there are no landmark columns, scheme {wanted.name} has {len(wanted)} points.")
        return [], box if len(numbers) == 2 else BOX_COLUMNS, None
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise DataError(f"the points x{numbers[0]} to x{numbers[-1]} are not numbered without a gap.")
    absent = [column for column in box if column not in header]
    if absent:
        raise DataError(f"column {absent[0]!r} is missing.")
    layout = wanted or unnamed_scheme(len(numbers))
    if len(layout) != len(numbers):
        raise DataError(f"there are {len(numbers)} points, scheme {layout.name} has {len(layout)}.")
    return [(f"x{place}", f"y{place}") for place in numbers], (), layout


def _named(names: tuple[str, ...], wanted: LandmarkScheme | None) -> LandmarkScheme:
    found = scheme_of_names(names)
    if wanted is None:
        return found
    if wanted.names != names:
        raise DataError(f"the columns name {len(names)} points that are not those of scheme {wanted.name}.")
    return wanted


def _face(
    cells: Mapping[str, str],
    columns: Sequence[tuple[str, str]],
    box: Sequence[str],
    what: str,
    first: float,
) -> FaceLabel:
    landmarks = visible = confidence = None
    if any(cells[column].strip() for pair in columns for column in pair):
        rows = [[_value(cells[column], f"{column} of {what}") for column in pair] for pair in columns]
        names = [pair[0][:-2] for pair in columns]
        if any(f"{name}_visible" in cells for name in names):
            states = [_state(cells.get(f"{name}_visible", ""), what) for name in names]
            for row, state in zip(rows, states, strict=True):
                if state is None:
                    row[:] = [math.nan, math.nan]
            visible = visible_of(states)
        landmarks = points_tensor(rows, first)
        if cells.get(f"{names[0]}_confidence", "").strip():
            values = [_value(cells.get(f"{name}_confidence", ""), f"confidence of {what}") for name in names]
            confidence = torch.tensor(values)
    place = face_box([decimal(cells.get(column, "")) for column in box], what, first) if box else None
    score = face_score(decimal(cells.get("score", "")), what)
    return FaceLabel(unguard(cells["image"]), landmarks, place, score, confidence, visible)


def _value(cell: str, what: str) -> float:
    return number(decimal(cell), what)


def _state(cell: str, what: str) -> bool | None:
    word = cell.strip().lower()
    if word not in _STATES:
        raise DataError(f"a point of {what} is visible {cell!r}: 1, 0 (hidden) or nothing (missing) is read.")
    return _STATES[word]


def table_header(names: Sequence[str], confidence: bool, visible: bool = False) -> list[str]:
    """Columns of a CSV label file of a scheme's points, with or without their confidence and visibility."""
    header = ["image", *BOX_COLUMNS, "score", *(f"{name}_{axis}" for name in names for axis in "xy")]
    header += [f"{name}_confidence" for name in names if confidence]
    header += [f"{name}_visible" for name in names if visible]
    return [guard(cell) for cell in header]


def table_row(face: FaceLabel, count: int, confidence: bool, visible: bool = False) -> list[str]:
    """Cells of one face under :func:`table_header` of ``count`` points."""
    box = [None] * 4 if face.box is None else face.box.tolist()
    points = [None] * (2 * count) if face.landmarks is None else face.landmarks.flatten().tolist()
    row = [guard(face.image), *map(_cell, box), _cell(face.score), *map(_cell, points)]
    if confidence:
        row += [""] * count if face.confidence is None else [f"{v:.4f}" for v in face.confidence.tolist()]
    if visible:
        row += [""] * count if face.landmarks is None else _states(face.placed, face.visible)
    return row


def _states(placed: Tensor, visible: Tensor | None) -> list[str]:
    seen = placed if visible is None else visible
    return [str(int(s)) if p else "" for s, p in zip(seen.tolist(), placed.tolist(), strict=True)]


def text_of(labels: LabelFile) -> str:
    """The table of a label file; columns of visibility only where a point is hidden."""
    names = labels.scheme.names if labels.scheme is not None else ()
    confidence = any(face.confidence is not None for face in labels.faces)
    visible = any(face.visible is not None for face in labels.faces)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table_header(names, confidence, visible))
    writer.writerows(table_row(face, len(names), confidence, visible) for face in labels.faces)
    return out.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.9g}"

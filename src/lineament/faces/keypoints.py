"""Reads and writes landmarks as JSON, CSV and PTS, and refuses what is inconsistent by file, face and point.

JSON and CSV hold any number of faces, with box and score; PTS, the format of 300-W, holds the points of one face. All
three count pixels from 0 inside this package; in a PTS file the first pixel is 1, as 300-W has it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.faces.schemes import LandmarkScheme, as_scheme, builtin_schemes, scheme, scheme_names
from lineament.files import write_bytes

# The "format" of JSON label files.
FORMAT = "lineament-faces"
_BOX_COLUMNS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class FaceLabel:
    """One face of one picture.

    Attributes:
        image: Name of the picture, relative to the label file where it is a path; empty in a PTS file.
        landmarks: ``[K, 2]`` float32 xy in pixels, NaN where a point is missing; None where there are none.
        box: ``[4]`` float32 x0 y0 x1 y1 in pixels, or None.
        score: Confidence in 0..1, or None.
        confidence: ``[K]`` of each landmark in 0..1, or None; JSON and CSV keep four decimals of it.
    """

    image: str
    landmarks: Tensor | None = None
    box: Tensor | None = None
    score: float | None = None
    confidence: Tensor | None = None


@dataclass(frozen=True)
class LabelFile:
    """The faces of a label file.

    Attributes:
        scheme: Scheme of all landmarks in it; None where no face has any.
        faces: In the order of the file.
        meta: Anything else the writer kept (JSON only), for example the picture's size.
    """

    scheme: LandmarkScheme | None
    faces: list[FaceLabel]
    meta: dict[str, Any] = field(default_factory=dict)


def read_keypoints(
    path: str | Path, which: str | LandmarkScheme | None = None, *, allow_missing: bool = False
) -> LabelFile:
    """Read a label file; the ending tells the format.

    Args:
        path: ``.json``, ``.csv`` or ``.pts``.
        which: The scheme the landmarks must have. Where None, JSON and CSV say it themselves, and a PTS file is taken
            for the built-in scheme with as many points.
        allow_missing: Accept points that are missing (null in JSON, empty in CSV, nan in PTS); they become NaN.

    Raises:
        DataError: If the file cannot be read, or its scheme, counts or values are wrong.
        UsageError: If the ending is none of the three.
    """
    path = Path(path)
    wanted = None if which is None else as_scheme(which)
    readers = {".json": _read_json, ".csv": _read_csv, ".pts": _read_pts}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path}: landmarks are read from .json, .csv and .pts, not from {path.suffix or 'no ending'}."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot read the landmarks ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file, so no landmarks can be read from it.") from error
    try:
        labels = readers[path.suffix.lower()](text, wanted)
        if not allow_missing:
            for face in labels.faces:
                _require_all(face, labels.scheme)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return labels


def write_keypoints(path: str | Path, labels: LabelFile, *, durable: bool = True) -> Path:
    """Write a label file; the ending tells the format. The file is complete or absent.

    Args:
        path: The file.
        labels: What to write.
        durable: Wait until the disk has it.

    Returns:
        The path.

    Raises:
        DataError: If counts do not fit the scheme, or a PTS file is asked for anything but the points of one face.
        UsageError: If the ending is none of ``.json``, ``.csv``, ``.pts``.
    """
    path = Path(path)
    writers = {".json": _json_text, ".csv": _csv_text, ".pts": _pts_text}
    if path.suffix.lower() not in writers:
        raise UsageError(
            f"{path}: landmarks are written as .json, .csv or .pts, not as {path.suffix or 'no ending'}."
        )
    for face in labels.faces:
        if face.landmarks is not None:
            if labels.scheme is None:
                raise DataError(f"{path}: landmarks without a scheme cannot be written: name theirs.")
            labels.scheme.check(face.landmarks)
    text = writers[path.suffix.lower()](labels)
    write_bytes(path, text.encode("utf-8"), durable=durable)
    return path


def _require_all(face: FaceLabel, layout: LandmarkScheme | None) -> None:
    if face.landmarks is None or layout is None:
        return
    missing = torch.nonzero(~torch.isfinite(face.landmarks).all(-1)).flatten().tolist()
    if missing:
        where = f" of {face.image}" if face.image else ""
        raise DataError(f"point {layout.names[missing[0]]!r}{where} is missing or not a number: label it.")


def _number(value: object, what: str) -> float:
    """Parse one coordinate; null, empty and nan mean missing; infinities and words are errors."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError(f"{what} is {value!r}, not a number.")
    try:
        number = float(value)
    except ValueError as error:
        raise DataError(f"{what} is {value!r}, not a number.") from error
    if math.isinf(number) or abs(number) > 1e7:
        raise DataError(f"{what} is {value!r}, outside any picture.")
    return number


def _box(values: Sequence[object], what: str) -> Tensor | None:
    numbers = [_number(value, f"box of {what}") for value in values]
    if all(math.isnan(number) for number in numbers):
        return None
    if len(numbers) != 4 or any(math.isnan(number) for number in numbers):
        raise DataError(f"box of {what} must hold x0, y0, x1, y1, not {list(values)}.")
    if numbers[2] <= numbers[0] or numbers[3] <= numbers[1]:
        raise DataError(f"box of {what} has no area: {numbers}.")
    return torch.tensor(numbers, dtype=torch.float32)


def _score(value: object, what: str) -> float | None:
    score = _number(value, f"score of {what}")
    return None if math.isnan(score) else score


def _known(name: str) -> LandmarkScheme:
    try:
        return scheme(name)
    except UsageError as error:
        raise DataError(str(error)) from error


def _agree(found: LandmarkScheme, wanted: LandmarkScheme | None) -> LandmarkScheme:
    if wanted is not None and found.names != wanted.names:
        raise DataError(
            f"the landmarks follow scheme {found.name}, but {wanted.name} is wanted: convert them first."
        )
    return wanted or found


def _read_json(text: str, wanted: LandmarkScheme | None) -> LabelFile:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"not a JSON file ({error}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("faces"), list):
        raise DataError('a label file is an object with "scheme" and a list "faces".')
    name = content.get("scheme")
    if name is not None and not isinstance(name, str):
        raise DataError(f'"scheme" must be a name in quotes, not {name!r}.')
    layout = wanted
    if name is not None and not (wanted is not None and wanted.name == name):
        layout = _agree(_known(name), wanted)
    faces = [_json_face(item, index, layout) for index, item in enumerate(content["faces"])]
    meta = content.get("meta", {})
    return LabelFile(layout, faces, meta if isinstance(meta, dict) else {})


def _json_face(item: object, index: int, layout: LandmarkScheme | None) -> FaceLabel:
    if not isinstance(item, dict):
        raise DataError(f"face {index} is not an object.")
    image = str(item.get("image", ""))
    what = f"face {index}" + (f" ({image})" if image else "")
    landmarks = None
    if item.get("landmarks") is not None:
        if layout is None:
            raise DataError('landmarks need a "scheme".')
        points = item["landmarks"]
        if not isinstance(points, list) or len(points) != len(layout):
            count = len(points) if isinstance(points, list) else 0
            raise DataError(f"{what} has {count} landmarks, scheme {layout.name} has {len(layout)}.")
        rows = []
        for name, point in zip(layout.names, points, strict=True):
            pair = [None, None] if point is None else point
            if not isinstance(pair, list) or len(pair) != 2:
                raise DataError(f"point {name!r} of {what} is {point!r}, not [x, y].")
            rows.append([_number(value, f"point {name!r} of {what}") for value in pair])
        landmarks = torch.tensor(rows, dtype=torch.float32)
    box = item.get("box")
    if box is not None and not isinstance(box, list):
        raise DataError(f"box of {what} must hold x0, y0, x1, y1, not {box!r}.")
    each = item.get("confidence")
    confidence = None
    if each is not None:
        if not isinstance(each, list) or landmarks is None or len(each) != len(landmarks):
            raise DataError(f"confidence of {what} is not a list with a number for each landmark.")
        confidence = torch.tensor([_number(value, f"confidence of {what}") for value in each])
    place = None if box is None else _box(box, what)
    return FaceLabel(image, landmarks, place, _score(item.get("score"), what), confidence)


def face_item(face: FaceLabel) -> dict[str, Any]:
    """One face as it stands in the list of a JSON label file."""
    item: dict[str, Any] = {"image": face.image}
    if face.box is not None:
        item["box"] = [_rounded(value) for value in face.box.tolist()]
    if face.score is not None:
        item["score"] = _rounded(face.score)
    if face.landmarks is not None:
        item["landmarks"] = [
            None if any(map(math.isnan, point)) else [_rounded(value) for value in point]
            for point in face.landmarks.tolist()
        ]
    if face.confidence is not None:
        item["confidence"] = [round(value, 4) for value in face.confidence.tolist()]
    return item


def _json_text(labels: LabelFile) -> str:
    faces = [face_item(face) for face in labels.faces]
    name = None if labels.scheme is None else labels.scheme.name
    content = {"format": FORMAT, "scheme": name, "meta": labels.meta, "faces": faces}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _rounded(value: float) -> float:
    # Nine digits give every float32 back exactly.
    return float(f"{value:.9g}")


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.9g}"


def _read_csv(text: str, wanted: LandmarkScheme | None) -> LabelFile:
    rows = list(csv.reader(io.StringIO(text)))
    rows = [row for row in rows if row]
    if not rows or "image" not in rows[0]:
        raise DataError("a label table starts with a header that names a column 'image'.")
    header = rows[0]
    points = [column[:-2] for column in header if column.endswith("_x")]
    layout: LandmarkScheme | None = None
    if points:
        absent = [f"{name}_y" for name in points if f"{name}_y" not in header]
        if absent:
            raise DataError(f"column {absent[0]!r} is missing.")
        layout = _scheme_with(tuple(points), wanted)
    elif wanted is not None:
        raise DataError(f"there are no landmark columns, scheme {wanted.name} has {len(wanted)} points.")
    faces = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"line {number} has {len(row)} cells, the header has {len(header)}.")
        cells = dict(zip(header, row, strict=True))
        what = f"line {number} ({cells['image']})"
        landmarks = None
        if any(cells[f"{name}_{axis}"].strip() for name in points for axis in "xy"):
            landmarks = torch.tensor(
                [
                    [_number(cells[f"{name}_{axis}"], f"{name}_{axis} of {what}") for axis in "xy"]
                    for name in points
                ],
                dtype=torch.float32,
            )
        box = _box([cells.get(column, "") for column in _BOX_COLUMNS], what)
        confidence = None
        if points and cells.get(f"{points[0]}_confidence", "").strip():
            values = [cells.get(f"{name}_confidence", "") for name in points]
            confidence = torch.tensor([_number(value, f"confidence of {what}") for value in values])
        score = _score(cells.get("score", ""), what)
        faces.append(FaceLabel(cells["image"], landmarks, box, score, confidence))
    return LabelFile(layout, faces)


def _scheme_with(names: tuple[str, ...], wanted: LandmarkScheme | None) -> LandmarkScheme:
    if wanted is not None:
        if wanted.names != names:
            raise DataError(
                f"the columns name {len(names)} points that are not those of scheme {wanted.name}."
            )
        return wanted
    for name in scheme_names():
        if scheme(name).names == names:
            return scheme(name)
    raise DataError(
        f"no known scheme has the {len(names)} points of these columns ({names[0]} ...): name theirs."
    )


def table_header(names: Sequence[str], confidence: bool) -> list[str]:
    """Columns of a CSV label file of a scheme's points, with or without their confidences."""
    header = ["image", *_BOX_COLUMNS, "score", *(f"{name}_{axis}" for name in names for axis in "xy")]
    return header + [f"{name}_confidence" for name in names if confidence]


def table_row(face: FaceLabel, count: int, confidence: bool) -> list[str]:
    """Cells of one face under :func:`table_header` of ``count`` points."""
    box = [None] * 4 if face.box is None else face.box.tolist()
    points = [None] * (2 * count) if face.landmarks is None else face.landmarks.flatten().tolist()
    row = [face.image, *map(_cell, box), _cell(face.score), *map(_cell, points)]
    if confidence:
        row += [""] * count if face.confidence is None else [f"{v:.4f}" for v in face.confidence.tolist()]
    return row


def _csv_text(labels: LabelFile) -> str:
    names = labels.scheme.names if labels.scheme is not None else ()
    confidence = any(face.confidence is not None for face in labels.faces)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table_header(names, confidence))
    writer.writerows(table_row(face, len(names), confidence) for face in labels.faces)
    return out.getvalue()


def _read_pts(text: str, wanted: LandmarkScheme | None) -> LabelFile:
    head, brace, rest = text.partition("{")
    body, closing, _ = rest.partition("}")
    if not brace or not closing:
        raise DataError("a PTS file holds its points between { and }.")
    count = None
    for line in head.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "n_points":
            if not value.strip().isdigit():
                raise DataError(f"n_points is {value.strip()!r}, not a count.")
            count = int(value)
    rows = []
    for number, line in enumerate((line for line in body.splitlines() if line.strip()), start=1):
        values = line.split()
        if len(values) != 2:
            raise DataError(f"point {number} is {line.strip()!r}, not 'x y'.")
        # 300-W counts pixels from 1.
        rows.append([_number(value, f"point {number}") - 1.0 for value in values])
    if count is not None and count != len(rows):
        raise DataError(f"n_points says {count}, but {len(rows)} points follow.")
    layout = wanted
    if layout is None:
        if str(len(rows)) not in builtin_schemes():
            raise DataError(f"{len(rows)} points belong to no built-in scheme: name theirs.")
        layout = scheme(str(len(rows)))
    if len(rows) != len(layout):
        raise DataError(f"{len(rows)} points are given, scheme {layout.name} has {len(layout)}.")
    return LabelFile(layout, [FaceLabel("", torch.tensor(rows, dtype=torch.float64).float())])


def _pts_text(labels: LabelFile) -> str:
    if len(labels.faces) != 1 or labels.faces[0].landmarks is None:
        raise DataError(
            f"a PTS file holds the landmarks of one face, not {len(labels.faces)} faces: use .json or .csv."
        )
    points = labels.faces[0].landmarks.double() + 1.0  # 300-W counts pixels from 1
    if not bool(torch.isfinite(points).all()):
        raise DataError("a PTS file cannot hold missing points: use .json or .csv.")
    lines = [f"{x:.12g} {y:.12g}" for x, y in points.tolist()]
    return "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}"]) + "\n"

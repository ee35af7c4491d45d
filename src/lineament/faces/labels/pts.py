"""PTS, the format of 300-W: the points of one face, the middle of the first pixel being 1."""

from __future__ import annotations

import re

from lineament.errors import DataError
from lineament.faces.labels.formats import FIRST_PIXEL
from lineament.faces.labels.record import FaceLabel, LabelFile, ReadRequest, number, points_tensor
from lineament.faces.schemes import LandmarkScheme, unnamed_scheme


def is_pts(text: str) -> bool:
    """Whether text begins as a PTS file does."""
    return re.match(r"\s*(version|n_points)\s*:", text) is not None


def read(text: str, request: ReadRequest) -> LabelFile:
    """Read a file; its face has no image name. Raises ``DataError`` naming the point and the fault."""
    head, brace, rest = text.partition("{")
    body, closing, _ = rest.partition("}")
    if not brace or not closing:
        raise DataError("a PTS file holds its points between { and }.")
    count = None
    for line in head.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "n_points":
            if not re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
                raise DataError(f"n_points is {value.strip()!r}, not a count.")
            count = int(value)
    rows = []
    for place, line in enumerate((line for line in body.splitlines() if line.strip()), start=1):
        values = line.split()
        if len(values) != 2:
            raise DataError(f"point {place} is {line.strip()!r}, not 'x y'.")
        rows.append([number(value, f"point {place}") for value in values])
    if count is not None and count != len(rows):
        raise DataError(f"n_points says {count}, but {len(rows)} points follow.")
    return one_face("", rows, request)


def one_face(image: str, rows: list[list[float]], request: ReadRequest) -> LabelFile:
    """A label file of one face of points without names."""
    layout: LandmarkScheme = request.scheme or unnamed_scheme(len(rows))
    if len(rows) != len(layout):
        raise DataError(f"{len(rows)} points are given, scheme {layout.name} has {len(layout)}.")
    return LabelFile(layout, [FaceLabel(image, points_tensor(rows, request.first_pixel))])


def text_of(labels: LabelFile) -> str:
    """The file of one face; a missing point is ``nan nan``.

    Raises:
        DataError: If there is not exactly one face with landmarks.
    """
    if len(labels.faces) != 1 or labels.faces[0].landmarks is None:
        raise DataError(
            f"a PTS file holds the landmarks of one face, not {len(labels.faces)} faces: use .json or .csv."
        )
    points = labels.faces[0].landmarks.double() + FIRST_PIXEL["pts"]
    lines = [f"{x:.12g} {y:.12g}" for x, y in points.tolist()]
    return "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}"]) + "\n"

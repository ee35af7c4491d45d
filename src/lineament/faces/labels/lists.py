"""Plain text: LaPa and JD-landmark (a file for each image: a count, then ``x y`` lines), and the list of WFLW."""

from __future__ import annotations

import re
from pathlib import Path

from lineament.errors import DataError
from lineament.faces.labels.formats import CANVAS
from lineament.faces.labels.pts import one_face
from lineament.faces.labels.record import FaceLabel, LabelFile, ReadRequest, face_box, number, points_tensor
from lineament.faces.schemes import scheme

# A line of WFLW: 98 points, a box, six attributes, the name of the image.
WFLW_POINTS, WFLW_FLAGS = 98, 6
_WORDS = 2 * WFLW_POINTS + 4 + WFLW_FLAGS + 1
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def is_landmark_list(text: str) -> bool:
    """Whether text is a count on a line of its own, then numbers."""
    return re.match(r"\s*\d+[ \t]*\r?\n\s*[-+\d.naNA]", text) is not None


def is_wflw(text: str) -> bool:
    """Whether the first line has the words of a line of WFLW."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return len(first.split()) == _WORDS


def image_name(path: Path) -> str:
    """Name of the image that a label file of its own belongs to.

    JD-landmark writes ``a.jpg.txt``; beside ``a.txt`` of LaPa the image is looked for, and taken to be a JPEG
    where it is not there.
    """
    if Path(path.stem).suffix.lower() in _IMAGES:
        return path.stem
    beside = (path.with_suffix(ending) for ending in (*_IMAGES, *map(str.upper, _IMAGES)))
    return next((each.name for each in beside if each.is_file()), f"{path.stem}.jpg")


def read_landmark_list(text: str, request: ReadRequest) -> LabelFile:
    """Read the points of one face; raises ``DataError`` naming the line and the fault."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    count = int(lines[0][0][:9])
    if len(lines) != count + 1:
        raise DataError(f"the first line says {count} points, but {len(lines) - 1} lines follow.")
    rows = []
    for place, words in enumerate(lines[1:], start=2):
        if len(words) != 2:
            raise DataError(f"line {place} is {' '.join(words)[:60]!r}, not 'x y'.")
        rows.append([number(word, f"line {place}") for word in words])
    return one_face(image_name(request.path), rows, request)


def read_wflw(text: str, request: ReadRequest) -> LabelFile:
    """Read a list of faces; raises ``DataError`` naming the line and the fault."""
    layout = scheme("98")
    if request.scheme is not None and request.scheme.names != layout.names:
        raise DataError(
            f"the landmarks follow scheme 98, but {request.scheme.name} is wanted: convert them first."
        )
    faces = []
    for line, words in enumerate((line.split() for line in text.splitlines() if line.strip()), start=1):
        if len(words) != _WORDS:
            raise DataError(
                f"line {line} holds {len(words)} words instead of {2 * WFLW_POINTS} coordinates, 4 of a box, "
                f"{WFLW_FLAGS} flags and a name."
            )
        values = [number(word, f"line {line}") for word in words[: 2 * WFLW_POINTS]]
        rows = [values[place : place + 2] for place in range(0, 2 * WFLW_POINTS, 2)]
        box = face_box(words[2 * WFLW_POINTS : 2 * WFLW_POINTS + 4], f"line {line}", CANVAS)
        faces.append(FaceLabel(words[-1], points_tensor(rows, request.first_pixel), box))
    return LabelFile(layout, faces)

"""Reads label files of any known format, found by what is in them, and names what is inconsistent in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lineament.errors import DataError
from lineament.faces.labels import coco, cvat, dlib, labelme, lists, own_json, pts, table
from lineament.faces.labels.cells import decode_text
from lineament.faces.labels.formats import FIRST_PIXEL, Format
from lineament.faces.labels.record import SIZES, FaceLabel, LabelFile, ReadRequest, normal, require_all
from lineament.faces.labels.safe_xml import parse_xml
from lineament.faces.schemes import LandmarkScheme, as_scheme, is_unnamed, scheme_of_names

# Files of a folder that may hold labels.
SUFFIXES = frozenset((".json", ".csv", ".pts", ".xml", ".txt"))
# Label files are lists of numbers: a larger one is something else.
MAX_BYTES = 1 << 30


class _Found(NamedTuple):
    """A file whose format is known: what is to be read, and its reader."""

    format: Format
    content: Any
    read: Callable[[Any, ReadRequest], LabelFile]


def read_keypoints(
    path: str | Path,
    which: str | LandmarkScheme | None = None,
    *,
    allow_missing: bool = False,
    first_pixel: float | None = None,
) -> LabelFile:
    """Read a label file of any format of this package (docs/labels.md), or a folder of files of one format.

    Args:
        path: The file; a folder joins the faces of the label files in it, in the order of their names.
        which: The scheme the landmarks must have. Where None, files that name their points say it themselves, and
            points without names are taken for the built-in scheme of as many points, else for one of unknown meaning.
        allow_missing: Accept faces of which single points are missing; they become NaN.
        first_pixel: What the file calls the middle of the first pixel: 0, 0.5 or 1; None takes the format's own
            convention. Boxes in COCO, CVAT, labelme, dlib and WFLW files keep theirs.

    Returns:
        The faces; a face of which every point is missing has no landmarks.

    Raises:
        DataError: If the file cannot be read, or its scheme, counts or values are wrong.
    """
    path = Path(path)
    wanted = None if which is None else as_scheme(which)
    labels = (
        _read_folder(path, wanted, first_pixel) if path.is_dir() else _read_file(path, wanted, first_pixel)
    )
    if not allow_missing:
        for face in labels.faces:
            try:
                require_all(face, labels.scheme)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
    return LabelFile(labels.scheme, [normal(face) for face in labels.faces], labels.meta)


def label_format(path: str | Path) -> Format:
    """Find the format of a label file by what is in it; raises ``DataError`` if it is none."""
    path = Path(path)
    try:
        return _recognise(path, _bytes(path)).format
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error


def _read_file(path: Path, wanted: LandmarkScheme | None, first_pixel: float | None) -> LabelFile:
    data = _bytes(path)
    try:
        found = _recognise(path, data)
        first = FIRST_PIXEL[found.format] if first_pixel is None else first_pixel
        return found.read(found.content, ReadRequest(path, wanted, first))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: {path.stat().st_size / 1e9:.1f} GB are no label file.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the landmarks ({error.strerror}).") from error


def _recognise(path: Path, data: bytes) -> _Found:
    """Tell the format by content; the ending decides only where the content tells nothing."""
    ending = path.suffix.lower()
    if data.lstrip().removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") and ending != ".csv":
        return _xml(data)
    text = decode_text(data)
    if ending == ".pts" or pts.is_pts(text):
        return _Found("pts", text, pts.read)
    if text.lstrip().startswith(("{", "[")) or ending == ".json":
        return _json(text)
    if lists.is_wflw(text):
        return _Found("wflw", text, lists.read_wflw)
    if lists.is_landmark_list(text):
        return _Found("landmark list", text, lists.read_landmark_list)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if ending == ".csv" or "image" in first:
        return _Found("csv", text, table.read)
    raise DataError(
        "not a label file that can be read: neither our JSON nor CSV with a column 'image', PTS, COCO, CVAT, labelme, "
        "dlib, LaPa, JD-landmark or WFLW."
    )


def _xml(data: bytes) -> _Found:
    root = parse_xml(data.lstrip())
    if root.tag == "dataset":
        return _Found("dlib", root, dlib.read)
    if root.tag == "annotations":
        return _Found("cvat", root, cvat.read)
    raise DataError(f"its element <{root.tag}> is neither CVAT's <annotations> nor dlib's <dataset>.")


def _json(text: str) -> _Found:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not a JSON file ({error}).") from error
    if own_json.is_own(content):
        return _Found("json", content, own_json.read)
    if coco.is_coco(content):
        return _Found("coco", content, coco.read)
    if labelme.is_labelme(content):
        return _Found("labelme", content, labelme.read)
    raise DataError(
        'a label file is an object with "scheme" and a list "faces" (ours), with "images" and "annotations" (COCO), or '
        'with "shapes" (labelme).'
    )


def _read_folder(folder: Path, wanted: LandmarkScheme | None, first_pixel: float | None) -> LabelFile:
    """Join the label files of a folder; the points of all files together make the scheme."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise DataError(f"{folder}: there is no label file in it ({', '.join(sorted(SUFFIXES))}).")
    files = [_in_folder(path, folder, _read_file(path, wanted, first_pixel)) for path in paths]
    layout = wanted or _common(folder, files)
    sizes = {name: size for labels in files for name, size in labels.meta.get(SIZES, {}).items()}
    faces = [_arranged(face, labels.scheme, layout) for labels in files for face in labels.faces]
    return LabelFile(layout, faces, {SIZES: sizes} if sizes else {})


def _in_folder(path: Path, folder: Path, labels: LabelFile) -> LabelFile:
    """Names of images as they count from the folder."""
    here = path.parent.relative_to(folder)

    def name(image: str) -> str:
        return (here / (image or lists.image_name(path))).as_posix()

    sizes = {name(image): size for image, size in labels.meta.get(SIZES, {}).items()}
    faces = [
        FaceLabel(name(f.image), f.landmarks, f.box, f.score, f.confidence, f.visible) for f in labels.faces
    ]
    return LabelFile(labels.scheme, faces, {SIZES: sizes} if sizes else {})


def _common(folder: Path, files: list[LabelFile]) -> LandmarkScheme | None:
    schemes = [labels.scheme for labels in files if labels.scheme is not None]
    if not schemes:
        return None
    if all(each.names == schemes[0].names for each in schemes):
        return schemes[0]
    if any(is_unnamed(each) for each in schemes):
        counts = sorted({len(each) for each in schemes})
        raise DataError(f"{folder}: its files hold {counts} points without names: keep one kind in a folder.")
    return scheme_of_names(list(dict.fromkeys(name for each in schemes for name in each.names)))


def _arranged(face: FaceLabel, found: LandmarkScheme | None, layout: LandmarkScheme | None) -> FaceLabel:
    """The points of a face in the order of a scheme that holds all of them; others are missing."""
    if face.landmarks is None or found is None or layout is None or found.names == layout.names:
        return face
    places = [layout.names.index(name) for name in found.names]
    landmarks = torch.full((len(layout), 2), math.nan)
    landmarks[places] = face.landmarks
    visible = None
    if face.visible is not None:
        visible = torch.zeros(len(layout), dtype=torch.bool)
        visible[places] = face.visible
    return FaceLabel(face.image, landmarks, face.box, face.score, visible=visible)

"""Writes label files: our own JSON and CSV, PTS, COCO keypoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces.labels import coco, own_json, pts, table
from lineament.faces.labels.formats import WRITTEN
from lineament.faces.labels.record import FaceLabel, LabelFile, normal
from lineament.files import write_text

_TEXTS: dict[str, Callable[[LabelFile], str]] = {
    "json": own_json.text_of,
    "csv": table.text_of,
    "pts": pts.text_of,
    "coco": coco.text_of,
}


def write_keypoints(
    path: str | Path, labels: LabelFile, to: str | None = None, *, durable: bool = True
) -> Path:
    """Write a label file. The file is complete or absent.

    Args:
        path: The file.
        labels: What to write.
        to: ``json`` (our own), ``csv``, ``pts`` (one face) or ``coco``; None takes it from the ending of the name.
        durable: Wait for the disk; see :func:`lineament.files.replacing`.

    Returns:
        The path.

    Raises:
        DataError: If counts do not fit the scheme, or a PTS file is asked for anything but the points of one face.
        UsageError: If the format or the ending is not one of these.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".") if to is None else to
    if to is not None and to not in WRITTEN:
        raise unknown_name("label format", to, WRITTEN)
    if kind not in WRITTEN or (to is None and kind == "coco"):
        raise UsageError(
            f"{path}: landmarks are written as .json, .csv or .pts, not as {path.suffix or 'no ending'}."
        )
    for face in labels.faces:
        if face.landmarks is not None:
            if labels.scheme is None:
                raise DataError(f"{path}: landmarks without a scheme cannot be written: name theirs.")
            labels.scheme.check(face.landmarks)
    try:
        text = _TEXTS[kind](replace(labels, faces=[normal(face) for face in labels.faces]))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    write_text(path, text, durable=durable)
    return path


def write_pts_folder(folder: str | Path, labels: LabelFile) -> list[Path]:
    """Write a PTS file for each face, named after its image: ``a.pts``, ``a_2.pts`` for a second face of ``a.jpg``.

    Returns:
        The files.

    Raises:
        DataError: If a name leads out of the folder, or two images would have one file.
    """
    folder = Path(folder)
    plan: dict[Path, FaceLabel] = {}
    owners: dict[Path, str] = {}
    counts: dict[str, int] = {}
    for face in labels.faces:
        if face.landmarks is None:
            continue
        name = PurePosixPath(face.image)
        if name.is_absolute() or ".." in name.parts or not name.name:
            raise DataError(
                f"no file can be named after the image {face.image!r}: names count from the folder."
            )
        counts[face.image] = counts.get(face.image, 0) + 1
        suffix = f"_{counts[face.image]}" if counts[face.image] > 1 else ""
        path = folder / name.parent / f"{name.stem}{suffix}.pts"
        if path in plan:
            raise DataError(f"{owners[path]} and {face.image} would both write {path}: rename one of them.")
        plan[path], owners[path] = face, face.image
    return [
        write_keypoints(path, LabelFile(labels.scheme, [replace(face, image="")]))
        for path, face in plan.items()
    ]

"""Turns the label file of one tool into that of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lineament.data.images import image_size
from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces.labels import LabelFile, in_scheme, read_keypoints, write_keypoints
from lineament.faces.labels.formats import WRITTEN
from lineament.faces.labels.record import SIZES
from lineament.faces.labels.writing import write_pts_folder


def convert_labels(
    source: Path,
    to: str,
    out: Path,
    *,
    scheme: str | None = None,
    first_pixel: float | None = None,
    overwrite: bool = False,
) -> tuple[LabelFile, list[Path]]:
    """Read a label file, or a folder of them, and write it in another format.

    Args:
        source: What to read.
        to: ``json`` (our own), ``csv``, ``pts`` or ``coco``.
        out: The file to write; for ``pts`` a folder, with a file for each face.
        scheme: Scheme of the landmarks written: names points without names, and converts others where a rule does it.
        first_pixel: What the file read calls the middle of the first pixel; None takes its format's convention.
        overwrite: Replace what is there.

    Returns:
        What was written, and the files.

    Raises:
        UsageError: On an unknown format, or where ``out`` is there already.
        DataError: If the labels cannot be read or written.
    """
    if to not in WRITTEN:
        raise unknown_name("label format", to, WRITTEN)
    if out.exists() and not overwrite and (to != "pts" or not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists: give --overwrite, or another name with --out.")
    if out.is_dir() and to != "pts":
        raise UsageError(f"{out} is a folder: --out names the file to write.")
    if out.is_file() and to == "pts":
        raise UsageError(f"{out} is a file: of pts --out names the folder.")
    labels = read_keypoints(source, allow_missing=True, first_pixel=first_pixel)
    if not labels.faces:
        raise DataError(f"{source} holds no labelled face.")
    if scheme is not None:
        labels = in_scheme(labels, scheme)
    if to == "coco":
        labels = _with_sizes(labels, source if source.is_dir() else source.parent)
    if to == "pts":
        return labels, write_pts_folder(out, labels)
    return labels, [write_keypoints(out, labels, to=to)]


def _with_sizes(labels: LabelFile, home: Path) -> LabelFile:
    """Sizes of the images that lie where the labels say; COCO wants them, but images need not be there."""
    sizes = dict(labels.meta.get(SIZES) or {})
    for name in dict.fromkeys(face.image for face in labels.faces):
        path = home / name
        if name not in sizes and path.is_file():
            sizes[name] = list(image_size(path))
    return replace(labels, meta={**labels.meta, SIZES: sizes})

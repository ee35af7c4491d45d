"""A portrait pack: images in a zip archive or folder, and an ``index.csv`` that may have a face box for each."""

from __future__ import annotations

import csv
import math
from pathlib import Path, PurePosixPath

from lineament.data.images import IMAGE_SUFFIXES, list_images
from lineament.data.records import Record, RecordSource, open_archive, read_lines
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.data.subset import held_out
from lineament.errors import DataError

WHERE = "any folder with index.csv and a zip of images, for example the congress portraits of the data packs"
# One portrait in five is held out.
HELD_OUT = 0.2


@register_reader(
    "portraits",
    "a zip of portraits with index.csv, which may hold face boxes",
    splits=("all", "train", "val", "test"),
    where=WHERE,
)
def open_portraits(root: Path, split: str = "all", rejects: str | None = None) -> RecordSource:
    """Open a portrait pack.

    The index has an id column (``id``, else the first one; a column ``file`` or ``image`` names the image when it is
    not ``<id>.<ending>``) and may have a box in columns that end in ``_x``, ``_y``, ``_w``, ``_h``: left and top pixel,
    width, height. A width of 0 means that no face is known. Other columns are kept in ``meta``. The id stands for the
    person.

    Args:
        root: Folder with ``index.csv`` and images (zip archives or plain files), or the zip archive itself with
            ``index.csv`` beside it.
        split: ``all``, ``train``, or what is held out, ``val`` and ``test`` alike. Where the index has a column
            ``split``, it tells: ``train``, or anything else for what is held out. Otherwise one fifth is held out,
            chosen by a hash of the id.
        rejects: Reject list to honour instead of the one in the root.

    Raises:
        DataError: If the index is missing, a box has only some of its columns, a line has no id or split, or a name is
            ambiguous.
    """
    folder = root if root.is_dir() else root.parent
    index = folder / "index.csv"
    rows = list(csv.DictReader(read_lines(index, "ids and face boxes", WHERE)))
    if not rows:
        raise DataError(f"{index} lists no images.")
    images = _images(root)
    id_column, file_column, box_columns = _columns(index, list(rows[0]))
    records = []
    for number, row in enumerate(rows, start=2):
        name = row[id_column]
        if not name:
            raise DataError(f"line {number} of {index} has no id in the column {id_column!r}.")
        if split != "all" and _is_held_out(index, number, name, row) != (split != "train"):
            continue
        wanted = row[file_column] if file_column else name
        path, member = images.get(wanted, (folder / f"{wanted}", None))
        box, fault = _box([row[column] for column in box_columns]) if box_columns else (None, "")
        if wanted not in images:
            fault = f"{index} names it in line {number}, but there is no such image"
        known = {id_column, file_column, *box_columns, None}
        meta = {key: value for key, value in row.items() if key not in known}
        records.append(Record(name, path, member, box, identity=name, meta=meta, fault=fault))
    left_out = find_rejects(root, rejects) or find_rejects(folder, rejects)
    return RecordSource(f"{folder.resolve().name}/{split}", records, rejects=left_out)


def _is_held_out(index: Path, number: int, name: str, row: dict[str, str]) -> bool:
    """Whether the column ``split`` says so; without one the hash of the id."""
    if "split" not in row:
        return held_out(name, HELD_OUT)
    if not row["split"]:
        raise DataError(f"line {number} of {index} has nothing in the column 'split'.")
    return row["split"] != "train"


def _columns(index: Path, names: list[str]) -> tuple[str, str | None, list[str]]:
    """Find the columns of the id, of the image and of the box, which may have none."""
    box: list[str] = []
    for name in names:
        wanted = [f"{name[:-2]}_{axis}" for axis in "xywh"]
        if name[-2:] in ("_x", "_y", "_w", "_h") and set(wanted) <= set(names):
            box = wanted
            break
    id_column = "id" if "id" in names else names[0]
    file_column = next((name for name in ("file", "image") if name in names), None)
    torn = any(name[-2:] in ("_x", "_y", "_w", "_h") for name in names)
    if not box and (torn or (file_column is None and id_column != "id")):
        raise DataError(
            f"{index} has the columns {', '.join(names)}: expected a box in columns *_x, *_y, *_w, *_h, or none of "
            "these and an image in a column id, file or image."
        )
    return id_column, file_column, box


def _box(values: list[str]) -> tuple[tuple[float, float, float, float] | None, str]:
    """Turn x, y, w, h of pixels into edges; also says what is wrong with them."""
    try:
        x, y, w, h = (float(value) for value in values)
    except (TypeError, ValueError):
        return None, f"its box {values} is not four numbers"
    if not all(map(math.isfinite, (x, y, w, h))):
        return None, f"its box {values} is not finite"
    if w <= 0 or h <= 0:
        return None, ""
    return (x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5), ""


def _images(root: Path) -> dict[str, tuple[Path, str | None]]:
    """Map both ``name`` and ``name.ending`` to the image file or archive member."""
    found: list[tuple[PurePosixPath, Path, str | None]] = []
    archives = [root] if root.is_file() else sorted(root.glob("*.zip"))
    for archive in archives:
        with open_archive(archive) as opened:
            found += [
                (PurePosixPath(member), archive, member) for member in opened.namelist() if _is_image(member)
            ]
    if not archives:
        found = [(PurePosixPath(path.relative_to(root).as_posix()), path, None) for path in list_images(root)]
    images: dict[str, tuple[Path, str | None]] = {}
    for name, path, inner in found:
        for key in (name.stem, name.name, name.as_posix()):
            if images.get(key, (path, inner)) != (path, inner):
                raise DataError(f"two images are called {key!r}: {path}/{inner or ''} and {images[key]}.")
            images[key] = (path, inner)
    return images


def _is_image(member: str) -> bool:
    path = PurePosixPath(member)
    return (
        path.suffix.lower() in IMAGE_SUFFIXES
        and "__MACOSX" not in path.parts
        and not path.name.startswith(".")
    )

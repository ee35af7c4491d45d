"""Images by their names, in a folder or in a zip archive that is read in place."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from lineament.data.images import IMAGE_SUFFIXES, ImageKind, image_kind, list_images
from lineament.data.records import Record, open_archive
from lineament.data.registry import refuse_unfinished
from lineament.errors import DataError

# Names tell the size of the images in them: ffhq256x256.zip.
_SQUARE = re.compile(r"(?<!\d)(\d+)x\1(?!\d)")


def image_records(root: Path) -> list[Record]:
    """One record for each image of a folder or zip archive, by name: the id is the name relative to it.

    Hidden files and files of other kinds are passed over.

    Raises:
        DataError: If there is none, it cannot be opened, or an archive holds a name that leads out of it.
    """
    if root.is_dir():
        refuse_unfinished(root)
        return [Record(path.relative_to(root).as_posix(), path) for path in list_images(root)]
    with open_archive(root) as archive:
        names = archive.namelist()
    records = []
    for name in sorted(name for name in names if _is_image(name)):
        # What is made of an image is named after it.
        if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise DataError(f"{root} holds {name!r}, which leads out of it: make the archive anew.")
        records.append(Record(name, root, name))
    if not records:
        raise DataError(f"{root} holds no image: give the zip of images, or their folder.")
    return records


def first_kind(records: list[Record]) -> ImageKind:
    """Size and channels of the first image, from its header.

    Raises:
        DataError: If it cannot be read; it names the image.
    """
    first = records[0]
    if first.member is None:
        return image_kind(first.path)
    with open_archive(first.path) as archive:
        try:
            with archive.open(first.member) as stream:
                return image_kind(first.place, stream)  # type: ignore[arg-type]
        except DataError:
            raise
        # zlib and its like raise their own classes for damaged data.
        except Exception as error:
            raise DataError(f"{first.place} cannot be read from its archive: {error}.") from error


def side_of(root: Path, records: list[Record]) -> int:
    """Side in pixels of a data set's square images, by the header of the first.

    Raises:
        DataError: If that is not square, or of another size than the name of the folder or archive says.
    """
    kind = first_kind(records)
    if kind.width != kind.height:
        raise DataError(
            f"{records[0].place} is {kind.width}x{kind.height}: the images of this data set are square."
        )
    told = _SQUARE.search(root.resolve().name)
    if told and int(told[1]) != kind.width:
        raise DataError(
            f"{records[0].place} is {kind.width}x{kind.height}, the name says {told[0]}: rename it, or fetch the other "
            "one."
        )
    return kind.width


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = "__MACOSX" in path.parts or any(part.startswith(".") and part != ".." for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden

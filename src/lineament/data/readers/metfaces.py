"""MetFaces, aligned and cropped, with the mirror image of each painting beside it where flips were made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from lineament.data.image_archives import image_records, side_of
from lineament.data.records import Record, RecordSource
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.data.subset import held_out
from lineament.errors import DataError, unknown_name

WHERE = "https://github.com/NVlabs/metfaces-dataset (images, 1024x1024 PNG), all in one folder"
FLIP = "_xflip"
HELD_OUT = 0.1


@register_reader(
    "metfaces", "MetFaces' folder, with offline flips or without", splits=("all", "train", "val"), where=WHERE
)
def open_metfaces(
    root: Path,
    split: str = "all",
    flips: Literal["auto", "needed", "none"] = "auto",
    rejects: str | None = None,
) -> RecordSource:
    """Open the folder of paintings.

    ``NAME_xflip.png`` is the mirror image of ``NAME.png``; it belongs to the same person and the same split.

    Args:
        root: The folder: ``metfaces1024x1024`` as published, or ``metfaces1024x1024_xflip`` with flips.
        split: ``all``; or ``train`` and ``val``, nine tenths and one tenth chosen by a hash of the name.
        flips: ``auto`` takes those that are there, where each painting has one; ``needed`` refuses a folder
            without; ``none`` leaves them out.
        rejects: Reject list to honour instead of the one in the folder.

    Raises:
        DataError: If there is no image, the first is not square, flips are missing for some of the paintings, or
            flips were flipped too.
    """
    if flips not in ("auto", "needed", "none"):
        raise unknown_name("flips", flips, ("auto", "needed", "none"))
    if not root.is_dir():
        raise DataError(f"{root} is no folder: MetFaces is a folder of PNG files ({WHERE}).")
    records = image_records(root)
    side_of(root, records)
    wanted = check_flips(root, records, flips)
    records = [replace(record, identity=painting_of(record.id)) for record in records if record.id in wanted]
    if split != "all":
        records = [r for r in records if held_out(painting_of(r.id), HELD_OUT) == (split == "val")]
    return RecordSource(f"{root.resolve().name}/{split}", records, rejects=find_rejects(root, rejects))


def check_flips(root: Path, records: list[Record], flips: str) -> set[str]:
    """Names of the images that are taken, ``flips`` as in :func:`open_metfaces`, which says what is refused."""
    names = {record.id for record in records}
    flips_there = {name for name in names if is_flip(name)}
    twice = sorted(name for name in flips_there if painting_of(name).endswith(FLIP))
    if twice:
        raise DataError(
            f"{root} holds flips of flips ({len(twice)}, {twice[0]}): a published script was run twice, remove these."
        )
    if flips == "none":
        return names - flips_there
    flipped = {painting_of(name) for name in flips_there}
    paintings = {painting_of(name) for name in names - flips_there}
    without, alone = sorted(paintings - flipped), sorted(flipped - paintings)
    if (flipped or flips == "needed") and (without or alone):
        raise DataError(
            f"in {root} {len(without)} images have no flip and {len(alone)} flips no original "
            f"({(without or alone)[0]}): make them with `lineament data prepare metfaces`, or give flips=none."
        )
    return names


def is_flip(name: str) -> bool:
    """Whether an image is the mirror image of another, by its name."""
    return _stem(name).endswith(FLIP)


def flip_of(name: str) -> str:
    """Name of the mirror image of an image."""
    return f"{_stem(name)}{FLIP}.png"


def painting_of(name: str) -> str:
    """What an image and its mirror image share: the name without ending."""
    return _stem(name).removesuffix(FLIP)


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{PurePosixPath(last).stem}"

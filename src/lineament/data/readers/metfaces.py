"""MetFaces, aligned and cropped, with the mirror image of each painting beside it where flips were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from lineament.data.image_archives import image_records, side_of
from lineament.data.records import RecordSource
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
        flips: ``auto`` takes those that are there; where there are any, an image without its flip and a flip without
            its image are bad samples. ``needed`` refuses a folder without flips, ``none`` leaves them out.
        rejects: Reject list to honour instead of the one in the folder.

    Raises:
        DataError: If there is no image, the first is not square, flips are needed and missing, or were flipped too.
    """
    if flips not in ("auto", "needed", "none"):
        raise unknown_name("flips", flips, ("auto", "needed", "none"))
    if not root.is_dir():
        raise DataError(f"{root} is no folder: MetFaces is a folder of PNG files ({WHERE}).")
    records = image_records(root)
    side_of(root, records)
    faults = check_flips(root, [record.id for record in records], flips)
    records = [
        replace(record, identity=painting_of(record.id), fault=faults.get(record.id, ""))
        for record in records
        if flips != "none" or not is_flip(record.id)
    ]
    if split != "all":
        records = [r for r in records if held_out(painting_of(r.id), HELD_OUT) == (split == "val")]
    return RecordSource(f"{root.resolve().name}/{split}", records, rejects=find_rejects(root, rejects))


def check_flips(root: Path, names: Sequence[str], flips: str) -> dict[str, str]:
    """What is wrong with the images of a folder, by name; ``flips`` as in :func:`open_metfaces`.

    Raises:
        DataError: If flips were flipped, or are needed and missing.
    """
    flipped = {painting_of(name) for name in names if is_flip(name)}
    paintings = {painting_of(name) for name in names if not is_flip(name)}
    twice = sorted(name for name in flipped if name.endswith(FLIP))
    if twice:
        raise DataError(
            f"{root} holds flips of flips ({len(twice)}, {twice[0]}{FLIP}.png): a published script was run twice, "
            "remove these."
        )
    if flips == "needed" and not flipped:
        raise DataError(
            f"{root} holds {len(paintings)} images and no flip: make them with `lineament data prepare metfaces`."
        )
    if flips == "none" or not flipped:
        return {}
    lacking = {name: "it has no flip" for name in names if painting_of(name) not in flipped}
    return lacking | {
        name: "it is the flip of no image" for name in names if painting_of(name) not in paintings
    }


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

"""FFHQ as StyleGAN2-ADA's data set tool packs it: a zip archive of PNG files, read in place."""

from __future__ import annotations

from pathlib import Path

from lineament.data.image_archives import image_records, side_of
from lineament.data.records import RecordSource
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.data.subset import held_out
from lineament.errors import DataError

WHERE = (
    "https://github.com/NVlabs/ffhq-dataset, packed by the dataset_tool of StyleGAN2-ADA as ffhq256x256.zip (13 GB), "
    "ffhq512x512.zip (52 GB) or ffhq1024x1024.zip (206 GB)"
)
# One image in ten is held out by the splits train and val.
HELD_OUT = 0.1


@register_reader(
    "ffhq", "FFHQ's zip archives, or any zip of square images", splits=("all", "train", "val"), where=WHERE
)
def open_ffhq(
    root: Path, split: str = "all", resolution: int | None = None, rejects: str | None = None
) -> RecordSource:
    """Open an archive, or the folder that it was unpacked to.

    Images are in the order of their names (``00000/img00000000.png``), which are the ids; all else in the archive,
    such as ``dataset.json``, is passed over. Every process opens the archive for itself, when it first reads.

    Args:
        root: ``ffhq256x256.zip`` or one of the larger ones, or the folder that it was unpacked to.
        split: ``all``; or ``train`` and ``val``, nine tenths and one tenth chosen by a hash of the name.
        resolution: Side in pixels that the images must have.
        rejects: Reject list to honour instead of the one in the folder.

    Raises:
        DataError: If it holds no image, or the first is not square or of another size than was asked for or the name of
            the archive says.
    """
    records = image_records(root)
    side = side_of(root, records)
    if resolution not in (None, side):
        raise DataError(f"{root} holds images of {side} px, not of {resolution}: give the other archive.")
    if split != "all":
        records = [record for record in records if held_out(record.id, HELD_OUT) == (split == "val")]
    return RecordSource(f"{root.resolve().stem}/{split}", records, rejects=find_rejects(root, rejects))

"""Face crops that ``lineament data prepare`` wrote: shards of pictures, and their index."""

from __future__ import annotations

from pathlib import Path

from lineament.data.records import require
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.data.sample import FaceSource
from lineament.errors import DataError

WHERE = "`lineament data prepare`"


@register_reader(
    "crops", "face crops written by `lineament data prepare`", splits=("all", "train", "val"), where=WHERE
)
def open_crops(root: Path, split: str = "all", rejects: str | None = None) -> FaceSource:
    """Open a cache of crops; :class:`lineament.data.crop_cache.CropCache` says what its samples hold.

    Args:
        root: The folder that was given as ``--out``.
        split: ``all``; or ``train`` and ``val``, nine tenths and one tenth of the people (of the photographs where no
            identity is known).
        rejects: Reject list to honour instead of the one in the root.

    Raises:
        DataError: If the cache is incomplete or damaged.
    """
    from lineament.data.cache_format import MANIFEST
    from lineament.data.crop_cache import CropCache

    if not (root / MANIFEST).is_file() and (root / "journal.jsonl").is_file():
        raise DataError(
            f"{root} holds crops in single files, as an older version wrote them: prepare them again."
        )
    require(root / MANIFEST, "the description of the crops", WHERE)
    return CropCache(root, split, find_rejects(root, rejects))

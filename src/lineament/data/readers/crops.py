"""Face crops that ``lineament data prepare`` wrote: shards of images, and their index."""

from __future__ import annotations

from pathlib import Path

from lineament.data.records import require
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.data.sample import FaceSource
from lineament.errors import DataError
from lineament.faces.labels import in_scheme, read_keypoints

WHERE = "`lineament data prepare`"


@register_reader(
    "crops", "face crops written by `lineament data prepare`", splits=("all", "train", "val"), where=WHERE
)
def open_crops(
    root: Path,
    split: str = "all",
    labels: str | None = None,
    labelled: bool = False,
    scheme: str | int | None = None,
    first_pixel: float | None = None,
    rejects: str | None = None,
) -> FaceSource:
    """Open a cache of crops; :class:`lineament.data.crop_cache.CropCache` says what its samples hold.

    Args:
        root: The folder that was given as ``--out``.
        split: ``all``; or ``train`` and ``val``, nine tenths and one tenth of the people (of the images where no
            identity is known).
        labels: Label file of any tool (docs/labels.md), in pixels of the images the crops were cut from; it takes
            the place of the labels that the cache holds.
        labelled: Leave out crops without labels of that file.
        scheme: Scheme of its landmarks, a name or a yaml file, where it does not name its points.
        first_pixel: What it calls the middle of the first pixel, where that is not its format's convention.
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
    left_out = find_rejects(root, rejects)
    if labels is None:
        return CropCache(root, split, left_out)
    from lineament.data.crop_labels import LabelledCrops

    content = read_keypoints(labels, allow_missing=True, first_pixel=first_pixel)
    if scheme is not None:
        content = in_scheme(content, str(scheme))
    return LabelledCrops(root, Path(labels), content, split=split, rejects=left_out, labelled=labelled)

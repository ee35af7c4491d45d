"""AFLW with 19 landmarks: the cleaned annotation of Zhu et al. (CVPR 2016), 20,000 + 4,386 faces.

``AFLWinfo_release.mat`` holds ``bbox`` ``[n, 4]`` (left, right, top, bottom), ``data`` ``[n, 38]`` (19 x, then 19 y),
``mask_new`` ``[n, 19]`` (1 = seen), ``nameList`` (n file names) and ``ra`` (a permutation counted from 1: the first
20,000 faces are for training).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lineament.data.records import Record, RecordSource, check_count, require
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError

WHERE = (
    "AFLW from its authors, AFLWinfo_release.mat from http://mmlab.ie.cuhk.edu.hk/projects/compositional.html"
)
PUBLISHED = {"train": 20_000, "test": 4_386, "frontal": 1_314}
TRAINING = 20_000
POINTS = 19


@register_reader("aflw19", "AFLW: 19 landmarks and boxes", splits=("train", "test", "frontal"), where=WHERE)
def open_aflw19(
    root: Path,
    split: str = "train",
    subset: bool = False,
    training: int = TRAINING,
    rejects: str | None = None,
) -> RecordSource:
    """Open AFLW with 19 landmarks.

    Args:
        root: Holds ``data/flickr/...`` and ``AFLWinfo_release.mat``.
        split: ``train``, ``test``, or ``frontal``: the faces of test with all points seen (also marked in
            ``meta["subsets"]`` of test).
        subset: Accept a number of faces that differs from the published one.
        training: Faces for training, first in the permutation.
        rejects: Reject list to honour instead of the one in the root.

    Raises:
        DataError: If the annotation is missing or malformed.
    """
    path = require(root / "AFLWinfo_release.mat", "boxes and points", WHERE)
    content = _annotation(path)
    order = content["ra"].astype(int).reshape(-1) - 1
    if len(order) and not 0 <= order.min() <= order.max() < len(content["names"]):
        raise DataError(f"{path} orders faces that it does not hold.")
    chosen = order[:training] if split == "train" else order[training:]
    records = [_record(root, content, int(index)) for index in chosen]
    if split == "frontal":
        records = [record for record in records if "frontal" in record.meta["subsets"]]
    check_count(f"{path} ({split})", len(records), PUBLISHED[split], subset)
    return RecordSource(f"aflw19/{split}", records, "19", POINTS, find_rejects(root, rejects))


def _annotation(path: Path) -> dict[str, Any]:
    import scipy.io

    try:
        content = scipy.io.loadmat(path)
        names = [str(np.asarray(name).reshape(-1)[0]) for name in content["nameList"].reshape(-1)]
        found: dict[str, Any] = {
            "names": names,
            "bbox": np.asarray(content["bbox"], float),
            "data": np.asarray(content["data"], float),
            "seen": np.asarray(content["mask_new"]) > 0,
            "ra": np.asarray(content["ra"]),
        }
    # A damaged .mat file raises almost anything out of the reader.
    except Exception as error:
        raise DataError(f"{path} cannot be read as the annotation of AFLW: {error}.") from error
    count = len(names)
    shapes = {"bbox": (count, 4), "data": (count, 2 * POINTS), "seen": (count, POINTS)}
    for key, shape in shapes.items():
        if found[key].shape != shape:
            raise DataError(f"{path} holds {key} {found[key].shape} where {count} faces need {shape}.")
    return found


def _record(root: Path, content: dict[str, Any], index: int) -> Record:
    left, right, top, bottom = content["bbox"][index].tolist()
    xs, ys = content["data"][index, :POINTS].tolist(), content["data"][index, POINTS:].tolist()
    seen = content["seen"][index].tolist()
    name = content["names"][index]
    return Record(
        f"{name}#{index}",
        root / "data" / "flickr" / name,
        box=(left - 0.5, top - 0.5, right - 0.5, bottom - 0.5),
        # Points that are not seen are marked all the same, by guess; the published errors count them.
        landmarks=tuple(zip(xs, ys, strict=True)),
        visibility=seen,
        meta={"subsets": ("frontal",) if all(seen) else ()},
    )

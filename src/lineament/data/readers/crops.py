"""Face crops that ``lineament data prepare`` wrote: pictures and ``index.parquet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lineament.data.records import Record, RecordSource, require
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.data.subset import held_out
from lineament.errors import DataError
from lineament.geometry.similarity import Similarity

WHERE = "`lineament data prepare`"
# One face in ten is held out by the splits train and val.
HELD_OUT = 0.1


@register_reader(
    "crops", "face crops written by `lineament data prepare`", splits=("all", "train", "val"), where=WHERE
)
def open_crops(root: Path, split: str = "all", rejects: str | None = None) -> RecordSource:
    """Open prepared crops.

    Box and labelled landmarks come in pixels of the crop; ``meta`` holds ``crop_to_photo`` (2x3, row by row), ``photo``
    (the path), ``photo_size`` (width, height), with which every result goes back to the pixels of the photograph, and
    ``detected_points`` (five points xy in pixels of the crop, a detector's guess) where a detector was used.

    Args:
        root: The folder that was given as ``--out``.
        split: ``all``; or ``train`` and ``val``, nine tenths and one tenth of the people (of the photographs where no
            identity is known).
        rejects: Reject list to honour instead of the one in the root.
    """
    import pyarrow.parquet as pq

    path = require(root / "index.parquet", "the index of the crops", WHERE)
    try:
        rows = pq.read_table(path).to_pylist()
        records = [_record(root, row) for row in rows if _wanted(row, split)]
    # Arrow and a foreign index raise errors of a dozen kinds; they all mean that this is not our index.
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as an index of crops ({type(error).__name__}: {error})."
        ) from error
    return RecordSource(
        f"{root.resolve().name}/{split}", records, _scheme(rows), None, find_rejects(root, rejects)
    )


def _wanted(row: dict[str, Any], split: str) -> bool:
    key = row["identity"] if row["identity"] is not None else row["photo_id"]
    return split == "all" or held_out(key, HELD_OUT) == (split == "val")


def _scheme(rows: list[dict[str, Any]]) -> str | None:
    return next((row["scheme"] for row in rows if row["scheme"]), None)


def _record(root: Path, row: dict[str, Any]) -> Record:
    to_photo = torch.tensor(row["crop_to_photo"], dtype=torch.float64).reshape(2, 3)
    to_crop = Similarity(to_photo).inverse()
    box = landmarks = None
    if row["box"] is not None:
        x0, y0, x1, y1 = to_crop.apply_box(torch.tensor(row["box"], dtype=torch.float64)).tolist()
        box = (x0, y0, x1, y1)
    if row["landmarks"] is not None:
        points = torch.tensor(row["landmarks"], dtype=torch.float64).reshape(-1, 2)
        landmarks = to_crop.apply(points).tolist()
    meta = {
        "crop_to_photo": to_photo.tolist(),
        "photo": row["photo"],
        "photo_size": (row["photo_width"], row["photo_height"]),
    }
    if row["detected_points"] is not None:
        points = torch.tensor(row["detected_points"], dtype=torch.float64).reshape(-1, 2)
        meta["detected_points"] = to_crop.apply(points).tolist()
    return Record(row["id"], root / row["file"], None, box, landmarks, identity=row["identity"], meta=meta)

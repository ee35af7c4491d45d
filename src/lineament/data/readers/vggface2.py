"""VGGFace2: 3.3 million faces of 9,131 people with loose boxes (Cao et al., FG 2018)."""

from __future__ import annotations

import csv
from pathlib import Path

from lineament.data.records import Record, RecordSource, numbers, read_lines
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError

WHERE = "https://github.com/ox-vgg/vgg_face2"
COLUMNS = ("NAME_ID", "X", "Y", "W", "H")


@register_reader(
    "vggface2", "VGGFace2: faces with boxes, no landmarks", splits=("train", "test"), where=WHERE
)
def open_vggface2(
    root: Path, split: str = "train", min_height: float = 100.0, rejects: str | None = None
) -> RecordSource:
    """Open VGGFace2.

    Args:
        root: Holds ``train/imgs/<person>/<file>.jpg``, ``test/imgs/...`` and ``bb_landmark/loose_bb_<split>.csv``.
        split: ``train`` or ``test``.
        min_height: Only faces whose box is higher than this, in pixels; 100 in 3FabRec (1,854,163 faces of train).
        rejects: Reject list to honour instead of the one in the root.

    Raises:
        DataError: If the table is missing or malformed.
    """
    path = root / "bb_landmark" / f"loose_bb_{split}.csv"
    rows = csv.DictReader(read_lines(path, f"the boxes of {split}", WHERE), skipinitialspace=True)
    if not set(COLUMNS) <= set(rows.fieldnames or ()):
        raise DataError(f"{path} has the columns {rows.fieldnames}: expected {', '.join(COLUMNS)}.")
    records = []
    for number, row in enumerate(rows, start=2):
        x, y, width, height = numbers([row[key] or "" for key in COLUMNS[1:]], f"line {number} of {path}")
        if height <= min_height:
            continue
        name = row["NAME_ID"]
        records.append(
            Record(
                name,
                root / split / "imgs" / f"{name}.jpg",
                box=(x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5),
                identity=name.partition("/")[0],
            )
        )
    return RecordSource(f"vggface2/{split}", records, None, None, find_rejects(root, rejects))

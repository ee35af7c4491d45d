"""AffectNet: faces with boxes, 68 landmarks and expressions (Mollahosseini et al., 2017)."""

from __future__ import annotations

import csv
from pathlib import Path

from lineament.data.records import Record, RecordSource, numbers, read_lines
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError
from lineament.faces.schemes import scheme

WHERE = "http://mohammadmahoor.com/affectnet"
COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
)
TABLES = {"train": "training.csv", "val": "validation.csv"}
# Larger numbers stand for none, uncertain and no face.
EXPRESSIONS = (
    "neutral",
    "happy",
    "sad",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)


@register_reader(
    "affectnet", "AffectNet: boxes, 68 landmarks, expressions", splits=("train", "val"), where=WHERE
)
def open_affectnet(
    root: Path, split: str = "train", corners: bool = False, rejects: str | None = None
) -> RecordSource:
    """Open AffectNet: the faces with one of eight expressions (287,651 of train).

    Args:
        root: Holds ``cropped_Annotated/<subDirectory_filePath>``, ``training.csv`` and ``validation.csv``.
        split: ``train`` or ``val``.
        corners: Read width and height as the right and lower edge, as 3FabRec did.
        rejects: Reject list to honour instead of the one in the root.

    Raises:
        DataError: If the table is missing or malformed.
    """
    path = root / TABLES[split]
    rows = csv.DictReader(read_lines(path, f"the labels of {split}", WHERE))
    if not set(COLUMNS) <= set(rows.fieldnames or ()):
        raise DataError(f"{path} has the columns {rows.fieldnames}: expected {', '.join(COLUMNS)}.")
    records = []
    for number, row in enumerate(rows, start=2):
        place = f"line {number} of {path}"
        expression, x, y, width, height = numbers(
            [row[key] or "" for key in ("expression", *COLUMNS[1:5])], place
        )
        if not 0 <= expression < len(EXPRESSIONS) or width <= 0:
            continue
        flat = numbers((row["facial_landmarks"] or "").split(";"), place)
        if len(flat) != 136:
            raise DataError(f"{place} holds {len(flat)} numbers of landmarks instead of 136.")
        right, lower = (width, height) if corners else (x + width, y + height)
        name = row["subDirectory_filePath"]
        records.append(
            Record(
                name,
                root / "cropped_Annotated" / name,
                box=(x - 0.5, y - 0.5, right - 0.5, lower - 0.5),
                landmarks=tuple(zip(flat[::2], flat[1::2], strict=True)),
                meta={"expression": EXPRESSIONS[int(expression)]},
            )
        )
    return RecordSource(f"affectnet/{split}", records, "68", len(scheme("68")), find_rejects(root, rejects))

"""WFLW: 98 landmarks, boxes and six attributes of 10,000 faces (Wu et al., CVPR 2018)."""

from __future__ import annotations

from pathlib import Path

from lineament.data.records import Record, RecordSource, check_count, numbers, read_lines
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError

WHERE = "https://wywu.github.io/projects/LAB/WFLW.html"
# In the order of their columns.
SUBSETS = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
PUBLISHED = {"train": 7_500, "test": 2_500}
FOLDER = Path("WFLW_annotations", "list_98pt_rect_attr_train_test")
POINTS = 98


@register_reader(
    "wflw", "WFLW: 98 landmarks, boxes, six subsets", splits=("train", "test", *SUBSETS), where=WHERE
)
def open_wflw(
    root: Path, split: str = "train", subset: bool = False, rejects: str | None = None
) -> RecordSource:
    """Open WFLW.

    Args:
        root: Holds ``WFLW_images`` and ``WFLW_annotations/list_98pt_rect_attr_train_test``.
        split: ``train``, ``test``, or one of the six subsets of test: ``pose``, ``expression``, ``illumination``,
            ``make-up``, ``occlusion``, ``blur``. Samples of ``test`` name their subsets in ``meta["subsets"]``.
        subset: Accept a number of faces that differs from the published one.
        rejects: Reject list to honour instead of the one in the root.

    Raises:
        DataError: If the list is missing or malformed.
    """
    part = "train" if split == "train" else "test"
    path = root / FOLDER / f"list_98pt_rect_attr_{part}.txt"
    lines = read_lines(path, f"the labels of {part}", WHERE)
    check_count(str(path), len(lines), PUBLISHED[part], subset)
    records = [
        _record(root, line, f"line {number} of {path}", number) for number, line in enumerate(lines, 1)
    ]
    if split in SUBSETS:
        records = [record for record in records if split in record.meta["subsets"]]
    return RecordSource(f"wflw/{split}", records, "98", POINTS, find_rejects(root, rejects))


def _record(root: Path, line: str, place: str, number: int) -> Record:
    words = line.split()
    if len(words) != 2 * POINTS + 4 + len(SUBSETS) + 1:
        raise DataError(
            f"{place} holds {len(words)} words instead of {2 * POINTS} coordinates, 4 of a box, {len(SUBSETS)} flags "
            "and a name."
        )
    values = numbers(words[:-1], place)
    points = tuple(zip(values[0 : 2 * POINTS : 2], values[1 : 2 * POINTS : 2], strict=True))
    x0, y0, x1, y1 = values[2 * POINTS : 2 * POINTS + 4]
    flags = values[2 * POINTS + 4 :]
    name = words[-1]
    return Record(
        # One image holds several faces; the number of the line tells them apart.
        f"{name}#{number}",
        root / "WFLW_images" / name,
        # Boxes are counted from the corner of the first pixel.
        box=(x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5),
        landmarks=points,
        meta={"subsets": tuple(s for s, flag in zip(SUBSETS, flags, strict=True) if flag)},
    )

"""AFLW with five landmarks, in the two versions of the descriptor-exchange experiments.

AFLW_M: training crops of 150x150 with a csv, test images of MTFL (Zhang et al., ECCV 2014), points counted from 1.
AFLW_R: recropped faces with looser boxes; points in a .mat file as (y, x), counted from 0.
"""

from __future__ import annotations

import csv
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from lineament.data.records import Record, RecordSource, check_count, numbers, read_lines, require
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError

BASE = "http://www.robots.ox.ac.uk/~vgg/research/DVE/data/datasets"
M_WHERE = f"{BASE}/aflw-mtfl.tar.gz (252 MiB, sha1 1ff31c07cef4f2777b416d896a65f6c17d8ae2ee)"
R_WHERE = f"{BASE}/aflw-recrop.tar.gz (1.1 GiB, sha1 939fdce0e6262a14159832c71d4f84a9d516de5e)"


@register_reader("aflw-m", "AFLW_M: 150x150 crops, 5 landmarks", splits=("train", "test"), where=M_WHERE)
def open_aflw_m(
    root: Path, split: str = "train", subset: bool = False, rejects: str | None = None
) -> RecordSource:
    """Open AFLW_M: 10,122 training and 2,995 test faces.

    Args:
        root: Holds ``aflw_cropped/facedata_cropped.csv`` with its images, ``MTFL/testing.txt`` with ``MTFL/AFLW``.
        split: ``train`` or ``test``.
        subset: Accept a number of faces that differs from the published one.
        rejects: Reject list to honour instead of the one in the root.

    Raises:
        DataError: If parts are missing, or a training image is also a test image.
    """
    test = _mtfl_test(root)
    if split == "test":
        check_count(str(root / "MTFL" / "testing.txt"), len(test), 2_995, subset)
        return RecordSource("aflw-m/test", test, "5", 5, find_rejects(root, rejects))
    # MTFL puts a running number before the AFLW name: "0001-image20056.jpg".
    held_out = {record.path.name.rpartition("-")[2] for record in test}
    records = []
    for number, row in enumerate(_rows(root), start=2):
        if row["set"].strip() != "1":
            continue
        if row["image_file"] in held_out:
            raise DataError(
                f"{row['image_file']} is a training and a test image: the files of {root} do not fit."
            )
        name = row["crop_file"]
        flat = numbers(
            list(row.values())[4:14], f"line {number} of {root / 'aflw_cropped' / 'facedata_cropped.csv'}"
        )
        points = tuple((x - 1, y - 1) for x, y in zip(flat[::2], flat[1::2], strict=True))
        records.append(Record(f"aflw_cropped/{name}", root / "aflw_cropped" / name, landmarks=points))
    check_count("aflw-m/train", len(records), 10_122, subset)
    return RecordSource("aflw-m/train", records, "5", 5, find_rejects(root, rejects))


def _rows(root: Path) -> list[dict[str, str]]:
    path = root / "aflw_cropped" / "facedata_cropped.csv"
    rows = list(csv.DictReader(read_lines(path, "names and points of the training crops", M_WHERE)))
    columns = list(rows[0]) if rows else []
    if not {"image_file", "crop_file", "set"} <= set(columns) or len(columns) < 14:
        raise DataError(
            f"{path} has the columns {columns}: expected image_file, crop_file, set and 5 points from column 4."
        )
    return rows


def _mtfl_test(root: Path) -> list[Record]:
    """Read ``name x1..x5 y1..y5 ...`` of each test image; names carry a Windows separator."""
    path = root / "MTFL" / "testing.txt"
    records = []
    for number, line in enumerate(read_lines(path, "names and points of the test images", M_WHERE), start=1):
        name, *values = line.split()
        if len(values) < 10:
            raise DataError(f"line {number} of {path} holds {len(values)} numbers instead of at least 10.")
        flat = numbers(values[:10], f"line {number} of {path}")
        points = tuple((x - 1, y - 1) for x, y in zip(flat[:5], flat[5:], strict=True))
        inside = PureWindowsPath(name).as_posix()
        records.append(Record(f"MTFL/{inside}", root / "MTFL" / inside, landmarks=points))
    return records


@register_reader(
    "aflw-r",
    "AFLW_R: looser crops, 5 landmarks",
    splits=("train", "test", "train-part", "minival"),
    where=R_WHERE,
)
def open_aflw_r(
    root: Path, split: str = "train", subset: bool = False, rejects: str | None = None
) -> RecordSource:
    """Open AFLW_R: 10,122 training and 2,991 test faces.

    Args:
        root: Holds ``output/`` with the images, ``aflw_{train,test}_images.txt``, ``aflw_{train,test}_keypoints.mat``
            (``gt`` ``[n, 5, 2]`` as y, x; ``hw`` ``[n, 2]``); or a folder ``aflw_release-2`` with them.
        split: ``train``, ``test``; or ``minival``, the last tenth of train, and ``train-part``, the rest of it.
        subset: Accept a number of faces that differs from the published one.
        rejects: Reject list to honour instead of the one in the root.
    """
    if not (root / "output").is_dir() and (root / "aflw_release-2").is_dir():
        root = root / "aflw_release-2"
    part = "test" if split == "test" else "train"
    path = root / f"aflw_{part}_images.txt"
    names = [line.strip() for line in read_lines(path, f"names of the {part} images", R_WHERE)]
    check_count(str(path), len(names), {"train": 10_122, "test": 2_991}[part], subset)
    points, sizes = _keypoints(root, part, len(names))
    folder = require(root / "output", "the folder of images", R_WHERE)
    records = [
        Record(
            id=f"output/{name}",
            path=folder / name,
            landmarks=tuple((float(x), float(y)) for y, x in face),
            meta={"published_size": (int(size[1]), int(size[0]))},
        )
        for name, face, size in zip(names, points, sizes, strict=True)
    ]
    held_out = round(0.1 * len(records))
    if split == "minival":
        records = records[len(records) - held_out :]
    elif split == "train-part":
        records = records[: len(records) - held_out]
    return RecordSource(f"aflw-r/{split}", records, "5", 5, find_rejects(root, rejects))


def _keypoints(root: Path, part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read points ``[n, 5, 2]`` as y, x px and sizes ``[n, 2]`` as h, w px."""
    import scipy.io

    path = root / f"aflw_{part}_keypoints.mat"
    require(path, f"points of the {part} images", R_WHERE)
    try:
        content: dict[str, Any] = scipy.io.loadmat(path)
        points, sizes = np.asarray(content["gt"], float), np.asarray(content["hw"], float)
    # A damaged .mat file raises almost anything out of the reader.
    except Exception as error:
        raise DataError(f"{path} cannot be read as points: {error}.") from error
    if points.shape != (count, 5, 2) or sizes.shape != (count, 2):
        raise DataError(
            f"{path} holds gt {points.shape} and hw {sizes.shape} where {count} images need ({count}, 5, 2) and "
            f"({count}, 2)."
        )
    return points, sizes

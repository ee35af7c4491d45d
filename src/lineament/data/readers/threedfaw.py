"""3DFAW: 66 points with depth (Jeni et al., ECCV workshops 2016), laid out as the code of DepthNets reads it.

``train_img/<id>.jpg``, ``train_lm/<id>_lm.csv`` (66 rows x, y, z in pixels), ``valid_img``, ``valid_lm`` and
``list_valid_test.txt`` with lines ``id,split,orientation``: the images of both valid and test lie in ``valid_img``.
Train comes in the order of the sorted ids, valid and test in that of the list.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from lineament.data.images import image_size
from lineament.data.keypoint_depth import (
    ORIENTATIONS,
    SCHEME,
    KeypointFaces,
    KeypointSet,
    read_arrays,
)
from lineament.data.records import Record, RecordSource, read_lines, require
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError
from lineament.faces.labels.point_rows import read_point_rows
from lineament.faces.schemes import scheme

WHERE = "3DFAW is no longer given out; synthetic-keypoints gives the same records"
SPLITS = ("train", "valid", "test")
LIST = "list_valid_test.txt"
POINTS = len(scheme("66"))
SUFFIX = "_lm.csv"


@register_reader("3dfaw", "3DFAW: images with 66 points and their depth", splits=SPLITS, where=WHERE)
def open_3dfaw(root: Path, split: str = "train", rejects: str | None = None) -> RecordSource:
    """Open 3DFAW with its images.

    Args:
        root: Holds the folders and the list.
        split: ``train``, ``valid`` or ``test``.
        rejects: Reject list to honour instead of the one in the root.
    """
    records = []
    for name, orientation in entries(root, split):
        image, points = places(root, split, name)
        meta: dict[str, object] = {"orientation": orientation} if orientation else {}
        landmarks, fault = None, ""
        try:
            rows = read_point_rows(points, POINTS)
            if rows.shape[1] != 3:
                fault = f"{points} has no depths"
            landmarks = rows[:, :2].tolist()
            meta["landmark_z"] = rows[:, -1].tolist()
        except DataError as error:
            fault = str(error).rstrip(".")
        records.append(Record(name, image, landmarks=landmarks, meta=meta, fault=fault))
    return RecordSource(f"3dfaw/{split}", records, SCHEME, POINTS, find_rejects(root, rejects))


@register_reader(
    "3dfaw-keypoints", "3DFAW: 66 points and their depth, without the images", splits=SPLITS, where=WHERE
)
def open_3dfaw_keypoints(root: Path, split: str = "train") -> KeypointFaces:
    """Open the keypoints of 3DFAW; of each image only the header is read.

    Args:
        root: The data set, or a folder (or one ``.npz`` file) that ``lineament data prepare 3dfaw`` wrote.
        split: ``train``, ``valid`` or ``test``.
    """
    if root.is_file():
        return KeypointFaces(f"3dfaw-keypoints/{root.stem}", read_arrays(root))
    prepared = root / f"{split}.npz"
    faces = read_arrays(prepared) if prepared.is_file() else read_layout(root, split)
    return KeypointFaces(f"3dfaw-keypoints/{split}", faces)


def entries(root: Path, split: str) -> list[tuple[str, str]]:
    """Ids of a split with their orientation ("" where it is not told), in the documented order.

    Raises:
        DataError: If a folder or the list is missing, or a line of the list is wrong.
    """
    if split == "train":
        folder = require(root / "train_lm", "the points of train", WHERE)
        names = sorted(path.name[: -len(SUFFIX)] for path in folder.glob(f"*{SUFFIX}"))
        if not names:
            raise DataError(f"{folder} holds no files *{SUFFIX}.")
        return [(name, "") for name in names]
    path = root / LIST
    found = []
    for number, line in enumerate(read_lines(path, "the list of valid and test images", WHERE), start=1):
        words = [word.strip() for word in line.split(",")]
        if len(words) < 2 or words[1] not in ("valid", "test"):
            raise DataError(
                f"{path}, line {number} is {line.strip()[:60]!r}, not 'id,valid|test,orientation'."
            )
        orientation = words[2] if len(words) > 2 else ""
        if words[1] == "test" and orientation not in ORIENTATIONS:
            raise DataError(
                f"{path}, line {number}: the orientation is {orientation!r}, not one of {ORIENTATIONS}."
            )
        if words[1] == split:
            found.append((words[0], orientation if orientation in ORIENTATIONS else ""))
    if not found:
        raise DataError(f"{path} names no image of the split {split!r}.")
    return found


def places(root: Path, split: str, name: str) -> tuple[Path, Path]:
    """Image and points of an id."""
    part = "train" if split == "train" else "valid"
    return root / f"{part}_img" / f"{name}.jpg", root / f"{part}_lm" / f"{name}{SUFFIX}"


def read_layout(root: Path, split: str, step: Callable[[], None] = lambda: None) -> KeypointSet:
    """Read the arrays of a split from the files of the data set, calling ``step`` after each face.

    Raises:
        DataError: Naming the first file that is missing or wrong.
    """
    names, keypoints, depths, sizes, turned = [], [], [], [], []
    for name, orientation in entries(root, split):
        image, file = places(root, split, name)
        rows = read_point_rows(file, POINTS)
        if rows.shape[1] != 3:
            raise DataError(f"{file} has no depths: its rows must be x,y,z.")
        width, height = image_size(image)
        names.append(name)
        keypoints.append(rows[:, :2] / torch.tensor([width, height], dtype=torch.float64))
        depths.append(rows[:, 2] / (0.5 * (width + height)))
        sizes.append((width, height))
        turned.append(orientation)
        step()
    return KeypointSet(
        tuple(names),
        torch.stack(keypoints).float(),
        torch.stack(depths).float(),
        tuple(turned) if split == "test" else None,
        torch.tensor(sizes),
    )

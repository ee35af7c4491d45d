"""The files of GMPI's published data preparation: five landmarks of each image, lists of failures, a table of poses.

``detections/results/NAME.txt`` holds five lines ``x<TAB>y`` in pixels of the image (left eye, right eye, nose, left and
right mouth corner; y down), where NAME is the image's name in its data set without ending. ``detections/fail_list.txt``
names the images without, one a line, or holds one empty line. Poses are ``.mat`` files
(:mod:`lineament.methods.gmpi.pose_formats`) in a folder of their own, which has a list of failures too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from lineament.data.cache_format import read_table, write_table
from lineament.errors import DataError
from lineament.faces.labels.cells import decode_text
from lineament.files import write_text
from lineament.geometry.rotation import pose_from_matrix
from lineament.methods.gmpi.datasets import deep3d_world_to_camera
from lineament.methods.gmpi.pose_formats import FAIL_LIST, PoseFile, stem

POSES_TABLE = "poses.parquet"
_POINTS = 5


@dataclass(frozen=True)
class PublishedLayout:
    """Where the files of one data set are.

    Attributes:
        detections: Folder with ``detections/``.
        poses: Folder of coefficients, with its list of failures.
        coefficients: Folder that the ``.mat`` files are in.
    """

    detections: Path
    poses: Path
    coefficients: Path

    @property
    def results(self) -> Path:
        """Folder of the files of landmarks."""
        return self.detections / "detections" / "results"

    @property
    def undetected(self) -> Path:
        """List of images without landmarks."""
        return self.detections / "detections" / FAIL_LIST

    @property
    def unposed(self) -> Path:
        """List of images without a pose."""
        return self.poses / FAIL_LIST

    @property
    def table(self) -> Path:
        """Table of all poses."""
        return self.poses / POSES_TABLE

    def landmarks(self, name: str) -> Path:
        """File of the landmarks of an image; one that is there under its whole name counts, too."""
        path = self.results / f"{stem(name)}.txt"
        whole = self.results / f"{name}.txt"
        return whole if whole.is_file() and not path.is_file() else path

    def pose(self, name: str) -> Path:
        """File of coefficients of an image."""
        return self.coefficients / f"{stem(name)}.mat"


def published_layout(data_set: str, side: int, root: Path, detector: str) -> PublishedLayout:
    """The published folders of a data set.

    Args:
        data_set: ``ffhq`` or ``metfaces``.
        side: Of the images, in pixels.
        root: The published ``runtime_dataset``.
        detector: Of the landmarks; those of other detectors than ``mtcnn`` lie in folders of their own.
    """
    if data_set == "metfaces":
        poses = root / "metfaces_xflip_deep3dface_coeffs"
        found = root / ("metfaces_detect" if detector == "mtcnn" else f"{detector}_metfaces_detect")
        return PublishedLayout(found, poses, poses / "coeffs")
    poses = root / f"ffhq{side}_deep3dface_coeffs"
    return PublishedLayout(root / f"{detector}_ffhq_{side}", poses, poses)


def read_landmarks(path: Path) -> Tensor:
    """Read five landmarks ``[5, 2]`` float64.

    Raises:
        DataError: If the file cannot be read or does not hold five lines of two numbers.
    """
    try:
        rows = [line.split() for line in decode_text(path.read_bytes()).splitlines() if line.strip()]
        points = torch.tensor([[float(word) for word in row] for row in rows], dtype=torch.float64)
    except (OSError, ValueError, DataError) as error:
        raise DataError(
            f"{path} cannot be read as landmarks ({error}): remove it or make it anew."
        ) from error
    if points.shape != (_POINTS, 2) or not bool(points.isfinite().all()):
        raise DataError(f"{path} does not hold five lines of x and y: remove it or make it anew.")
    return points


def write_landmarks(path: Path, points: Tensor) -> None:
    """Write five landmarks ``[5, 2]`` to a thousandth of a pixel."""
    write_text(path, "".join(f"{x:.3f}\t{y:.3f}\n" for x, y in points.tolist()), durable=False)


def rounded(points: Tensor) -> Tensor:
    """Landmarks as their file gives them back, float64."""
    return torch.tensor(
        [[float(f"{value:.3f}") for value in row] for row in points.tolist()], dtype=torch.float64
    )


def read_fail_list(path: Path) -> list[str]:
    """Names of a list of failures, each once, in order; none where there is no such file.

    The published program appends to the list of an earlier run, so that names may stand there many times.

    Raises:
        DataError: If it cannot be read.
    """
    if not path.is_file():
        return []
    try:
        lines = decode_text(path.read_bytes()).splitlines()
    except (OSError, DataError) as error:
        raise DataError(f"{path} cannot be read as a list of images ({error}): make it anew.") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def write_fail_list(path: Path, names: Iterable[str]) -> None:
    """Write a list of failures; one empty line where there is none."""
    write_text(path, "".join(f"{name}\n" for name in names) or "\n")


def write_pose_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a row for each image.

    Args:
        path: The table.
        rows: ``name``; ``reason`` why there is no pose, "" where there is one; ``points`` (10 numbers) or None;
            ``angle`` and ``trans`` (3 numbers each, as in the ``.mat`` file) or None; ``made_by``; ``head_error`` or
            None. The table has the camera that follows from them (``world_to_camera``, 16 numbers row by row, the face
            in the origin), and yaw, pitch and roll of the head in degrees (docs/conventions.md).
    """
    listed = [dict(row) for row in rows]
    posed = [row for row in listed if row["angle"] is not None]
    if posed:
        angle, trans = (
            torch.tensor([row[key] for row in posed], dtype=torch.float64) for key in ("angle", "trans")
        )
        cameras = deep3d_world_to_camera(angle, trans, centre_z=0.0)
        degrees = pose_from_matrix(cameras[:, :3, :3]).rad2deg()
        for row, camera, three in zip(posed, cameras.flatten(1).tolist(), degrees.tolist(), strict=True):
            row |= {"world_to_camera": camera, **dict(zip(("yaw", "pitch", "roll"), three, strict=True))}
    write_table(path, pa.Table.from_pylist(listed, schema=_SCHEMA))


def read_pose_table(path: Path) -> PoseFile:
    """Read the table of :func:`write_pose_table`.

    Raises:
        DataError: If it is damaged, or of something else.
    """
    table = read_table(path)
    if not {"name", "world_to_camera"} <= set(table.column_names):
        raise DataError(f"{path} is no table of poses: it has no columns 'name' and 'world_to_camera'.")
    names, cameras = table["name"].to_pylist(), table["world_to_camera"].to_pylist()
    known = {name: camera for name, camera in zip(names, cameras, strict=True) if camera is not None}
    wrong = next((name for name, camera in known.items() if len(camera) != 16), None)
    if not known or wrong is not None:
        told = "holds no pose" if wrong is None else f"has {len(known[wrong])} numbers for {wrong}, not 16"
        raise DataError(f"{path} {told}: make it anew.")
    values = torch.tensor(list(known.values()), dtype=torch.float64).view(-1, 4, 4)
    if not bool(values.isfinite().all()):
        raise DataError(f"{path} has cameras that are not finite: make it anew.")
    failed = frozenset(name for name, camera in zip(names, cameras, strict=True) if camera is None)
    return PoseFile(dict(zip(known, values, strict=True)), failed)


_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("reason", pa.string()),
        ("made_by", pa.string()),
        ("points", pa.list_(pa.float64())),
        ("angle", pa.list_(pa.float64())),
        ("trans", pa.list_(pa.float64())),
        ("world_to_camera", pa.list_(pa.float64())),
        ("yaw", pa.float64()),
        ("pitch", pa.float64()),
        ("roll", pa.float64()),
        ("head_error", pa.float64()),
    ]
)

"""Files of camera poses: EG3D's ``dataset.json``, Deep3DFaceRecon's ``.mat`` files, and tables of angles.

Cameras are given as world-to-camera matrices whose world has its origin in the face, where cameras look: x right, y
down, z away from the viewer (:mod:`lineament.geometry.sphere_camera` with ``centre_z=0``).
"""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.labels.cells import decimal, decode_text, separator, unguard
from lineament.faces.schemes import scheme
from lineament.files import replacing, write_text
from lineament.geometry.rotation import matrix_from_pose
from lineament.methods.gmpi.datasets import (
    deep3d_coefficients,
    deep3d_world_to_camera,
    eg3d_world_to_camera,
)

DATASET_JSON, FAIL_LIST = "dataset.json", "fail_list.txt"
# Sizes of what Deep3DFaceRecon writes besides angles and translation.
_OTHER_COEFFICIENTS = {"id": 80, "exp": 64, "tex": 80, "gamma": 27}
# How far a matrix of few digits may be from a rotation.
_RIGID = 1e-3
_NAMES, _ANGLES = ("name", "image", "file"), ("yaw", "pitch", "roll")


@dataclass(frozen=True)
class PoseFile:
    """What a file of poses says.

    Attributes:
        cameras: ``[4, 4]`` float64 world-to-camera, by name of the image; names without an ending stand for images of
            any ending.
        failed: Names of images that it says have no pose.
        fov_degrees: Angle of view of the cameras, where it is told.
        radius: Middle of their distances from the face, where these are told.
    """

    cameras: Mapping[str, Tensor]
    failed: frozenset[str] = field(default_factory=frozenset)
    fov_degrees: float | None = None
    radius: float | None = None


def read_dataset_json(path: Path) -> PoseFile:
    """Read ``{"labels": [[name, 25 numbers], ...]}``, from the file or from the zip archive that it lies in.

    Raises:
        DataError: If the file cannot be read or holds something else.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                data = archive.read(DATASET_JSON)
            path /= DATASET_JSON
        else:
            data = path.read_bytes()
        labels = json.loads(data.decode("utf-8-sig"))["labels"]
        if labels is None:
            raise ValueError("its labels are null, as in archives without cameras")
        names = [_plain(str(name)) for name, _ in labels]
        rows = [torch.tensor(values, dtype=torch.float64) for _, values in labels]
    # Of a damaged archive zlib and its like raise their own classes.
    except Exception as error:
        raise DataError(
            f"{path} is no file of poses ({error}): give EG3D's dataset.json, with 25 numbers for each image."
        ) from error
    wrong = next((n for n, row in zip(names, rows, strict=True) if row.shape not in ((25,), (16,))), "")
    if wrong or len({len(row) for row in rows}) > 1:
        raise DataError(
            f"{path} has a label that is not 25 numbers ({wrong or names[0]}): make the file anew."
        )
    numbers = torch.stack(rows) if rows else torch.empty(0, 16)
    if not len(rows) or not bool(numbers.isfinite().all()):
        raise DataError(f"{path} holds no pose, or one that is not 25 finite numbers: make the file anew.")
    cameras = eg3d_world_to_camera(numbers, centre_z=0.0)
    _check_rigid(cameras, names, path)
    return PoseFile(_by_name(names, cameras, path), frozenset(), _fov(numbers), _distance(cameras))


def read_table(path: Path) -> PoseFile:
    """Read a table with the columns name, yaw, pitch and, where there is any, roll, in degrees.

    Angles are those of the head in the image (docs/conventions.md): positive yaw turns the face to the image right,
    positive pitch down, positive roll clockwise. Cells are separated by commas, semicolons or tabs; numbers may have
    decimal commas; a row without angles names an image that has no pose.

    Raises:
        DataError: If it cannot be read or holds something else; it names the line.
    """
    try:
        text = decode_text(path.read_bytes())
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator(text)) if row]
    except (OSError, DataError, csv.Error) as error:
        raise DataError(f"{path} is no file of poses: {str(error).rstrip('.')}.") from error
    header = [unguard(cell.strip()).lower() for cell in rows[0]] if rows else []
    name = next((each for each in _NAMES if each in header), None)
    if name is None or not {"yaw", "pitch"} <= set(header):
        raise DataError(
            f"{path} is no file of poses: give EG3D's dataset.json, a folder of .mat files, or a table with the "
            "columns name, yaw, pitch and roll in degrees."
        )
    names, angles, failed = [], [], set()
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {line} has {len(row)} cells, the header has {len(header)}: repair it."
            )
        cells = dict(zip(header, row, strict=True))
        image = _plain(unguard(cells[name].strip()))
        given = [cells.get(angle, "").strip() for angle in _ANGLES]
        if not any(given):
            failed.add(image)
            continue
        names.append(image)
        places = [f"{path}: the {angle} in line {line}" for angle in _ANGLES]
        angles.append(list(map(_degrees, given, places)))
    if not names:
        raise DataError(f"{path} holds no pose: make the file anew.")
    return PoseFile(_by_name(names, _from_angles(torch.tensor(angles).deg2rad()), path), frozenset(failed))


def read_coefficients(folder: Path) -> PoseFile:
    """Read a folder of Deep3DFaceRecon's ``.mat`` files, as the published data sets lay them out.

    The files lie as the images do (``00000/img00000000.mat``), or all in ``coeffs/``. ``fail_list.txt``, in the folder
    or beside ``coeffs/``, names an image in each line whose pose cannot be used, even where there is a file.

    Raises:
        DataError: If there is none, or one cannot be read; it names the file.
    """
    paths = sorted(folder.rglob("*.mat"))
    if not paths:
        raise DataError(f"there is no {DATASET_JSON} and no .mat file in {folder}: give a file of poses.")
    names, angles, translations = [], [], []
    for path in paths:
        pair = read_coefficient_file(path)
        names.append(path.relative_to(folder).with_suffix("").as_posix().removeprefix("coeffs/"))
        angles.append(pair[0])
        translations.append(pair[1])
    cameras = deep3d_world_to_camera(torch.stack(angles), torch.stack(translations), centre_z=0.0)
    failed = [folder / FAIL_LIST, *([folder.parent / FAIL_LIST] if folder.name == "coeffs" else [])]
    lines = [line for path in failed if path.is_file() for line in _lines(path)]
    return PoseFile(_by_name(names, cameras, folder), frozenset(_plain(line) for line in lines))


def read_coefficient_file(path: Path) -> tuple[Tensor, Tensor]:
    """Angles and translation ``[3]`` of one of Deep3DFaceRecon's ``.mat`` files, float64.

    Raises:
        DataError: If it cannot be read; it names the file.
    """
    import scipy.io

    try:
        content = scipy.io.loadmat(path, variable_names=("angle", "trans"))
        angle, translation = (
            torch.from_numpy(np.asarray(content[key], np.float64).reshape(3)) for key in ("angle", "trans")
        )
        if not bool(torch.cat([angle, translation]).isfinite().all()):
            raise ValueError("not finite")
    # A damaged .mat file raises almost anything out of the reader.
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as coefficients of Deep3DFaceRecon, which need 'angle' and 'trans' of 3 "
            f"numbers ({error}): make it anew, or name its image in {FAIL_LIST} and remove it."
        ) from error
    return angle, translation


def write_dataset_json(path: Path, labels: Mapping[str, Sequence[float]]) -> None:
    """Write EG3D's ``dataset.json`` of 25 numbers by name of the image, in the order of the names."""
    rows = [[name, list(labels[name])] for name in sorted(labels)]
    write_text(path, "\n".join(['{"labels": [', ",\n".join(json.dumps(row) for row in rows), "]}", ""]))


def write_coefficients(path: Path, world_to_camera: Tensor, landmarks: Tensor | None = None) -> None:
    """Write a pose as a ``.mat`` file of Deep3DFaceRecon: all of its keys, single precision.

    Angles and translation tell the pose; shape, expression, texture and light are those of its mean face, zeros.

    Args:
        path: The file.
        world_to_camera: ``[4, 4]``, the face in the origin.
        landmarks: ``[68, 2]`` of scheme 68 in pixels of the crop ``gmpi`` of 224 px; NaN where None.
    """
    angle, translation = deep3d_coefficients(world_to_camera, centre_z=0.0)
    write_coefficient_file(path, {"angle": angle, "trans": translation}, landmarks)


def write_coefficient_file(
    path: Path, coefficients: Mapping[str, Tensor], landmarks: Tensor | None = None
) -> None:
    """Write coefficients ``[size]`` by name as a ``.mat`` file of Deep3DFaceRecon; those not given are zeros.

    Args:
        path: The file.
        coefficients: ``angle``, ``trans`` and any of ``id``, ``exp``, ``tex``, ``gamma``.
        landmarks: As in :func:`write_coefficients`.
    """
    import scipy.io

    points = torch.full((len(scheme("68")), 2), math.nan) if landmarks is None else landmarks
    content = {key: np.zeros((1, size), np.float32) for key, size in _OTHER_COEFFICIENTS.items()}
    content |= {key: _single(value) for key, value in coefficients.items()}
    content["lm68"] = _single(points)
    with replacing(path, durable=False) as temporary:
        scipy.io.savemat(temporary, content, appendmat=False)


def stem(name: str) -> str:
    """Name of an image without its ending."""
    folder, slash, last = name.rpartition("/")
    first, dot, _ = last.rpartition(".")
    return f"{folder}{slash}{first}" if dot and first else name


def _single(values: Tensor) -> np.ndarray:
    return values[None].numpy().astype(np.float32)


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in decode_text(path.read_bytes()).splitlines() if line.strip()]
    except (OSError, DataError) as error:
        raise DataError(f"{path} cannot be read as a list of images ({error}): make it anew.") from error


def _degrees(cell: str, what: str) -> float:
    try:
        value = float(decimal(cell) or 0.0)
    except ValueError:
        value = math.nan
    if not abs(value) <= 180:
        raise DataError(f"{what} is {cell!r}, no angle of -180 to 180 degrees: repair it.")
    return value


def _from_angles(angles: Tensor) -> Tensor:
    """Cameras ``[N, 4, 4]`` at distance 1 of heads with yaw, pitch and roll ``[N, 3]``, radians."""
    cameras = torch.eye(4, dtype=torch.float64).repeat(len(angles), 1, 1)
    cameras[:, :3, :3] = matrix_from_pose(angles.double())
    cameras[:, 2, 3] = 1.0
    return cameras


def _by_name(names: Sequence[str], cameras: Tensor, path: Path) -> dict[str, Tensor]:
    found = dict(zip(names, cameras, strict=True))
    if len(found) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"{path} names {twice} twice: leave one of its poses.")
    return found


def _check_rigid(cameras: Tensor, names: Sequence[str], path: Path) -> None:
    rotation = cameras[:, :3, :3]
    off = (rotation @ rotation.mT - torch.eye(3, dtype=torch.float64)).abs().amax((1, 2))
    wrong = (off > _RIGID) | (torch.linalg.det(rotation) < 0)
    if bool(wrong.any()):
        first = names[int(wrong.int().argmax())]
        raise DataError(
            f"{path}: the camera of {first} is no rotation and position ({int(wrong.sum())} of {len(names)} are not): "
            "its first 16 numbers must be camera-to-world, row by row."
        )


def _fov(labels: Tensor) -> float | None:
    """Angle of view in degrees that the intrinsics of most labels tell; None where they tell none."""
    if labels.shape[1] < 25:
        return None
    focal = float(labels[:, 16:].unflatten(-1, (3, 3))[:, 0, 0].median())
    return math.degrees(2 * math.atan(0.5 / focal)) if focal > 0 else None


def _distance(cameras: Tensor) -> float | None:
    distance = float(cameras[:, :3, 3].norm(dim=1).median())
    return distance if distance > 0 else None

"""Multiplane images as files: one exact npz, or a folder of 8-bit PNGs with mpi.json for viewers.

mpi.json holds, in the world frame of :mod:`lineament.geometry.sphere_camera`, angles in radians::

    format, version   "lineament-mpi", 1
    near, far         z of the first and the last plane
    fov               full angle of view across the longer side of the image
    aspect            width of the image over its height
    sphere            {"centre_z", "radius"} of the cameras
    yaw_limits        [least, greatest] from where the image may be seen; pitch_limits likewise
    planes            their number P
    dhw               P rows of z, height and width, the nearest first
    size              [height, width] of the textures; the outermost texels lie on the planes' borders
    colour_space      "display": values as shown, to be sampled and mixed without conversion to linear light
    files             {"colour", "background", "alpha"}: names of the PNGs
    atlas             {"columns", "rows", "channels"} of the alpha PNG
    facts             what it was made from

The alpha PNG is RGB: plane k is channel ``k % 3`` of cell ``k // 3``; cells are as large as the textures and lie row by
row. It has no alpha channel, which viewers would multiply into the colours.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.data.images import decode_image, encode_image
from lineament.errors import DataError
from lineament.files import replacing, replacing_folder, write_new
from lineament.geometry.multiplane import MultiplaneImage, SphereCameras

FORMAT, VERSION = "lineament-mpi", 1
JSON_NAME = "mpi.json"
NAMES = {"colour": "rgb.png", "background": "background.png", "alpha": "alpha.png"}
# Planes in a cell of the atlas: red, green and blue.
CHANNELS = 3
# Texels of an atlas that is read: 96 planes of 1024 px have a tenth of them.
_MOST_TEXELS = 400_000_000


def header(image: MultiplaneImage) -> dict[str, Any]:
    """What mpi.json says of an image, less its files."""
    cameras = image.cameras
    return {
        "format": FORMAT,
        "version": VERSION,
        "near": image.near,
        "far": image.far,
        "fov": cameras.fov,
        "aspect": cameras.aspect,
        "sphere": {"centre_z": cameras.centre_z, "radius": cameras.radius},
        "yaw_limits": list(cameras.yaw_limits),
        "pitch_limits": list(cameras.pitch_limits),
        "planes": len(image.planes),
        "dhw": image.planes.double().tolist(),
        "size": list(image.alpha.shape[1:]),
        "colour_space": "display",
        "facts": image.facts,
    }


def encode_atlas(image: MultiplaneImage) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the folder of a multiplane image holds: the value of mpi.json, and the bytes of the PNGs by name.

    Values are rounded to 8 bits.
    """
    count, height, width = image.alpha.shape
    cells = -(-count // CHANNELS)
    columns = math.ceil(math.sqrt(cells))
    rows = -(-cells // columns)
    padded = image.alpha.new_zeros(rows * columns * CHANNELS, height, width)
    padded[:count] = image.alpha
    grid = padded.view(rows, columns, CHANNELS, height, width).permute(2, 0, 3, 1, 4)
    atlas = grid.reshape(CHANNELS, rows * height, columns * width)
    value = header(image) | {
        "files": NAMES,
        "atlas": {"columns": columns, "rows": rows, "channels": CHANNELS},
    }
    textures = {"colour": image.colour, "background": image.background, "alpha": atlas}
    return value, {NAMES[name]: encode_image(each, "png", NAMES[name]) for name, each in textures.items()}


def write_atlas(folder: Path, image: MultiplaneImage) -> Path:
    """Write the folder of a multiplane image; it is complete or absent.

    Raises:
        DataError: If there is a folder or file of that name which is no multiplane image.
    """
    if folder.exists() and not (folder / JSON_NAME).is_file():
        raise DataError(f"{folder} exists and holds no {JSON_NAME}: choose another name.")
    value, pngs = encode_atlas(image)
    with replacing_folder(folder) as temporary:
        for name, data in pngs.items():
            write_new(temporary / name, data)
        write_new(temporary / JSON_NAME, (json.dumps(value, indent=1) + "\n").encode())
    return folder


def read_atlas(folder: Path) -> MultiplaneImage:
    """Read a folder that :func:`write_atlas` wrote.

    Raises:
        DataError: If a file is missing or damaged, or they do not fit together.
    """
    path = folder / JSON_NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}).") from error
    planes, cameras, facts = _parsed(value, path)
    try:
        names = {name: str(value["files"][name]) for name in NAMES}
        columns, rows, channels = (int(value["atlas"][name]) for name in ("columns", "rows", "channels"))
        height, width = map(int, value["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} lacks what a folder of PNGs needs ({error!r}).") from error
    if channels != CHANNELS or columns * rows * channels < len(planes):
        raise DataError(f"{path}: an atlas of {columns} x {rows} cells cannot hold {len(planes)} planes.")
    textures = {name: _read_png(folder / names[name]) for name in NAMES}
    wanted = [CHANNELS, rows * height, columns * width]
    if list(textures["alpha"].shape) != wanted:
        raise DataError(
            f"{folder / names['alpha']} is {list(textures['alpha'].shape)} and must be {wanted} as {path} says."
        )
    grid = textures["alpha"].view(CHANNELS, rows, height, columns, width).permute(1, 3, 0, 2, 4)
    alpha = grid.reshape(-1, height, width)[: len(planes)].contiguous()
    return MultiplaneImage(textures["colour"], textures["background"], alpha, planes, cameras, facts)


def write_npz(path: Path, image: MultiplaneImage) -> Path:
    """Write a multiplane image exactly, as float32 arrays ``colour``, ``background``, ``alpha`` and ``planes``.

    ``header`` holds the rest as the text of mpi.json.
    """
    arrays = {
        name: getattr(image, name).detach().cpu().float().numpy()
        for name in ("colour", "background", "alpha", "planes")
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, header=np.array(json.dumps(header(image))), **arrays)
    return path


def read_npz(path: Path) -> MultiplaneImage:
    """Read a file that :func:`write_npz` wrote; nothing in it is executed.

    Raises:
        DataError: If it is missing, damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("colour", "background", "alpha", "planes", "header")}
        value = json.loads(str(arrays.pop("header")))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a multiplane image ({error}).") from error
    _, cameras, facts = _parsed(value, path)
    tensors = {name: torch.from_numpy(each.astype(np.float32)) for name, each in arrays.items()}
    return MultiplaneImage(**tensors, cameras=cameras, facts=facts)


def read_multiplane(path: Path) -> MultiplaneImage:
    """Read a multiplane image from an npz, from a folder with mpi.json, or from that mpi.json.

    Raises:
        DataError: If it is none of them, or cannot be read.
    """
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    return read_atlas(path.parent if path.name == JSON_NAME else path)


def _read_png(path: Path) -> Tensor:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    return decode_image(data, str(path), max_pixels=_MOST_TEXELS)


def _parsed(value: Any, path: Path) -> tuple[Tensor, SphereCameras, dict[str, object]]:
    """Planes, cameras and facts of a header."""
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        raise DataError(f"{path} is no multiplane image: its format is not {FORMAT}.")
    if value.get("version") != VERSION:
        raise DataError(
            f"{path} is of version {value.get('version')!r} of {FORMAT}; this program reads {VERSION}."
        )
    try:
        cameras = SphereCameras(
            float(value["fov"]),
            float(value["sphere"]["centre_z"]),
            float(value["sphere"]["radius"]),
            _pair(value["yaw_limits"]),
            _pair(value["pitch_limits"]),
            float(value["aspect"]),
        )
        planes = torch.tensor(value["dhw"], dtype=torch.float64).float()
        facts = dict(value.get("facts", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} lacks what a multiplane image needs ({error!r}).") from error
    return planes, cameras, facts


def _pair(value: Any) -> tuple[float, float]:
    low, high = map(float, value)
    return low, high

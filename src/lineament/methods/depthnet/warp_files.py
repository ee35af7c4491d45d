"""The text files that the published warper reads, and the folders they lie in.

A data set is a folder with one subfolder per kind: ``source/ID.png``, ``keypoints/ID.txt`` (68 rows ``x y``, pixels
counted from corners), ``depth/ID.txt`` (68 rows) and ``affine/ID.txt`` (two rows ``m1 m2 m3 tx``, ``m4 m5 m6 ty``). The
published reader loses a last row that has no end of line; this one does not, and writes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lineament.data.images import read_image
from lineament.eight_bit import from_array, to_array, to_pil
from lineament.errors import DataError
from lineament.faces.schemes import scheme
from lineament.files import replacing, write_text
from lineament.methods.depthnet.warp import face_warp

IDENTITY = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0))


@dataclass(frozen=True)
class WarpCase:
    """One face to warp.

    Attributes:
        name: Its id in the data set.
        image: ``[3, H, W]`` in 0..1.
        keypoints: ``[68, 2]`` float64 xy, pixels counted from corners.
        depth: ``[68]`` float64.
        affine: ``[2, 4]`` float64.
    """

    name: str
    image: Tensor
    keypoints: Tensor
    depth: Tensor
    affine: Tensor


def read_table(path: Path, rows: int, columns: int) -> Tensor:
    """Read numbers separated by spaces: ``[rows, columns]`` float64.

    Raises:
        DataError: If the file cannot be read, or holds other than so many numbers.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}).") from error
    widths = {len(line) for line in lines}
    if len(lines) != rows or widths != {columns}:
        found = f"{len(lines)} rows of {'/'.join(map(str, sorted(widths))) or 'no'} numbers"
        raise DataError(f"{path}: {rows} rows of {columns} numbers are needed, it holds {found}.")
    try:
        table = torch.tensor([[float(word) for word in line] for line in lines], dtype=torch.float64)
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error
    if not bool(torch.isfinite(table).all()):
        raise DataError(f"{path}: holds numbers that are not finite.")
    return table


def read_case(
    folder: Path, name: str, *, image: Path | None = None, affine: Path | None = None, identity: bool = False
) -> WarpCase:
    """Read one face of a data set.

    Args:
        folder: The data set.
        name: Id of the face.
        image: Another image than ``source/ID.png``.
        affine: Another file than ``affine/ID.txt``.
        identity: Do not move anything: cuts the face out.

    Raises:
        DataError: If a file is missing or damaged.
    """
    keypoints = read_table(folder / "keypoints" / f"{name}.txt", len(scheme("68")), 2)
    depth = read_table(folder / "depth" / f"{name}.txt", len(scheme("68")), 1)[:, 0]
    if identity:
        matrix = torch.tensor(IDENTITY, dtype=torch.float64)
    else:
        matrix = read_table(affine or folder / "affine" / f"{name}.txt", 2, 4)
    return WarpCase(name, read_opaque(image or folder / "source" / f"{name}.png"), keypoints, depth, matrix)


def read_opaque(path: Path) -> Tensor:
    """Read an image ``[3, H, W]`` and drop its alpha, as the published program does.

    Raises:
        DataError: If it cannot be read.
    """
    blended = read_image(path)
    with Image.open(path) as image:
        if "A" not in image.getbands():
            return blended
        pixels = np.array(image.convert("RGBA"))[..., :3]
    return from_array(pixels)


def case_names(folder: Path, kind: str = "source") -> list[str]:
    """Ids that a data set names by the files of one subfolder, sorted; those without all files are left out.

    Raises:
        DataError: If there is no such subfolder or nothing in it can be warped.
    """
    if not (folder / kind).is_dir():
        raise DataError(f"{folder} is no data set of the warper: it has no folder {kind!r}.")
    names = sorted(path.stem for path in (folder / kind).iterdir() if path.is_file())
    complete = [name for name in names if _complete(folder, name)]
    if not complete:
        raise DataError(f"{folder / kind} names {len(names)} faces, none of which has keypoints and depth.")
    return complete


def _complete(folder: Path, name: str) -> bool:
    return all((folder / kind / f"{name}.txt").is_file() for kind in ("keypoints", "depth"))


def write_case(folder: Path, case: WarpCase) -> list[Path]:
    """Write the four files of a face as the published exporter does: integer keypoints, six decimals.

    The fraction of a keypoint is cut off, not rounded.
    """
    written = write_numbers(folder, case.name, case.keypoints, case.depth, case.affine)
    image = folder / "source" / f"{case.name}.png"
    with replacing(image) as temporary:
        to_pil(case.image).save(temporary, "PNG")
    return [image, *written]


def write_numbers(folder: Path, name: str, keypoints: Tensor, depth: Tensor, affine: Tensor) -> list[Path]:
    """Write the three text files of a face; see :func:`write_case`."""
    texts = {
        "keypoints": "".join(f"{int(x)} {int(y)}\n" for x, y in keypoints.tolist()),
        "depth": "".join(f"{value:f}\n" for value in depth.tolist()),
        "affine": "".join(" ".join(f"{value:f}" for value in row) + "\n" for row in affine.tolist()),
    }
    written = []
    for kind, text in texts.items():
        path = folder / kind / f"{name}.txt"
        write_text(path, text)
        written.append(path)
    return written


def warped_pixels(case: WarpCase, *, impl: str = "auto") -> np.ndarray:
    """Warp one face: ``[H, W, 4]`` uint8 RGBA, opaque everywhere as the published program writes it."""
    parts = (case.image, case.keypoints, case.depth, case.affine)
    warped, _ = face_warp(*(part[None] for part in parts), impl=impl)
    colour = to_array(warped[0])
    return np.concatenate([colour, np.full_like(colour[..., :1], 255)], axis=-1)


def warp_dataset(
    folder: Path,
    results: Path,
    *,
    identity: bool = False,
    image: Path | None = None,
    kind: str = "source",
    overwrite: bool = False,
) -> list[Path]:
    """Warp every face of a data set and write ``results/ID.png``.

    Args:
        folder: The data set.
        results: Where the images go.
        identity: Cut the faces out without moving them.
        image: One image for all faces, as for a row of rotations of one photo.
        kind: Subfolder whose files name the faces.
        overwrite: Do again what is there.

    Returns:
        The images written.

    Raises:
        DataError: If the data set cannot be used.
    """
    written = []
    for name in case_names(folder, kind):
        path = results / f"{name}.png"
        if path.exists() and not overwrite:
            continue
        pixels = warped_pixels(read_case(folder, name, image=image, identity=identity))
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary, "PNG")
        written.append(path)
    return written

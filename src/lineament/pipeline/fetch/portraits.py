"""The portrait packs, made from the published JPEG files: a zip archive beside the committed ``index.csv``."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lineament.errors import DataError

GRAY_ARCHIVE, COLOUR_ARCHIVE = "portraits_200x250.zip", "portraits_512x512.zip"
GRAY_SIZE, COLOUR_SIZE = (200, 250), (512, 512)
QUALITY = 92
# Compressing anew moves grey levels by less than two in the mean, and the mean of an image hardly.
MOVED, MEAN_MOVED = 2.0, 1.0


def make_gray(sources: Path, folder: Path, advance: Callable[[], None]) -> None:
    """Write the grey portraits: one channel (ITU-R 601 luma), JPEG of quality 92.

    Raises:
        DataError: If a file is no image of 200 x 250 pixels, or changed more than compression explains.
    """
    with zipfile.ZipFile(folder / GRAY_ARCHIVE, "w") as archive:
        for row in _rows(folder / "index.csv"):
            name = f"{row['bioguide_id']}.jpg"
            gray = _opened((sources / name).read_bytes(), name, GRAY_SIZE).convert("L")
            buffer = io.BytesIO()
            gray.save(buffer, "JPEG", quality=QUALITY)
            made = _opened(buffer.getvalue(), name, GRAY_SIZE)
            moved = float(np.abs(np.asarray(made, float) - np.asarray(gray, float)).mean())
            if moved > MOVED:
                raise DataError(f"{name} moved by {moved:.1f} grey levels when it was compressed anew.")
            _add(archive, name, buffer.getvalue(), 2014)
            advance()


def check_gray(folder: Path) -> None:
    """Decode every image of the pack and compare its mean with that in the index.

    Raises:
        DataError: Naming the first that differs.
    """
    with _archive(folder / GRAY_ARCHIVE) as archive:
        for row in _rows(folder / "index.csv"):
            name = f"{row['bioguide_id']}.jpg"
            image = _opened(_member(archive, name), name, GRAY_SIZE)
            mean = float(np.asarray(image).mean())
            if image.mode != "L" or abs(mean - float(row["mean_gray"])) > MEAN_MOVED:
                raise DataError(
                    f"{name} in {folder / GRAY_ARCHIVE} has the mode {image.mode} and the mean {mean:.1f}, not L and "
                    f"{row['mean_gray']}."
                )


def make_colour(sources: Path, folder: Path, advance: Callable[[], None]) -> None:
    """Write the colour portraits, whose files are kept to the byte."""
    with zipfile.ZipFile(folder / COLOUR_ARCHIVE, "w") as archive:
        for row in _rows(folder / "index.csv"):
            _add(archive, row["file"], (sources / row["file"]).read_bytes(), 2021)
            advance()


def check_colour(folder: Path) -> None:
    """Compare every image of the pack with the sha256 in the index, and decode it.

    Raises:
        DataError: Naming the first that differs.
    """
    with _archive(folder / COLOUR_ARCHIVE) as archive:
        for row in _rows(folder / "index.csv"):
            data = _member(archive, row["file"])
            if hashlib.sha256(data).hexdigest() != row["sha256"]:
                raise DataError(f"{row['file']} in {folder / COLOUR_ARCHIVE} is not the file of the index.")
            image = _opened(data, row["file"], COLOUR_SIZE)
            if image.mode != row["mode"]:
                raise DataError(
                    f"{row['file']} in {folder / COLOUR_ARCHIVE} has the mode {image.mode}, not {row['mode']}."
                )


def _rows(index: Path) -> list[dict[str, str]]:
    with index.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _opened(data: bytes, name: str, size: tuple[int, int]) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{name} cannot be decoded ({error}).") from error
    if image.size != size:
        raise DataError(f"{name} has {image.size[0]} x {image.size[1]} pixels, not {size[0]} x {size[1]}.")
    return image


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}).") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{name} cannot be read from {archive.filename} ({error}).") from error


def _add(archive: zipfile.ZipFile, name: str, data: bytes, year: int) -> None:
    # The time is fixed, so that the same files give the same archive.
    archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), data)

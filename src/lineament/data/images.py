"""Reads any image file into RGB, or says by name why it cannot; writes images whole or not at all.

What a file holds becomes RGB as follows. The EXIF orientation is applied. Grey is repeated three times; 16-bit grey is
scaled by 65535, other 16-bit files as their decoder reduces them to 8 bits. CMYK is converted without a colour profile.
Transparent pixels (RGBA, LA, palettes with transparency) are composited over white. Of an animation the first frame is
taken, which is said once for each file; of the several images in one JPEG or HEIC of a phone the main one is the
photo. Floating-point files must lie in 0..1. HEIC needs the extra ``heic``.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lineament.eight_bit import to_float, to_pil, to_uint8
from lineament.errors import DataError
from lineament.files import write_bytes

# Files with these endings (in any case) are taken for images.
IMAGE_SUFFIXES = frozenset(
    {
        *(".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
        ".webp",
    }
)
# Larger images are refused before they are decoded: a small file can unpack to any amount of memory.
MAX_PIXELS = 100_000_000
# Formats in which several images are an animation; in others they are pages, or views for other devices.
ANIMATED_FORMATS = frozenset({"GIF", "PNG", "WEBP"})
# Brands of the containers that phones write; the one that AV1 images have is not among them.
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})

# What the verbs write beside images: overlays, sheets, turned faces, and all that an analysis draws.
_RESULT = re.compile(
    r"\.(faces|landmarks|landmarks\.tiles|match|matches(-\d+)?|turn|onto|depth|sheet|analysis(\.[a-z0-9-]+)*)\.(png|gif|mp4)$",
    re.IGNORECASE,
)

log = logging.getLogger(__name__)
_said: set[str] = set()


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read an image.

    Args:
        path: The file.
        max_pixels: Refuse images with more pixels.

    Returns:
        ``[3, H, W]`` float32 RGB in 0..1.

    Raises:
        DataError: If the file is missing, damaged, not an image or too large; the message names it.
    """
    return _to_float(_read(Path(path), None, str(path), max_pixels))


def read_image_uint8(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read an image as ``[3, H, W]`` uint8 RGB; 16-bit grey is rounded. Raises as :func:`read_image`."""
    return _to_uint8(_read(Path(path), None, str(path), max_pixels))


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode the bytes of an image file, for images in archives; ``name`` stands for the path in messages.

    Returns:
        ``[3, H, W]`` float32 RGB in 0..1. Raises as :func:`read_image`.
    """
    return _to_float(_read(None, BytesIO(data), name, max_pixels))


def from_pillow(image: Image.Image, name: str) -> Tensor:
    """A PIL image as ``[3, H, W]`` float32 RGB in 0..1; ``name`` stands for it in messages.

    Raises:
        DataError: If it cannot be decoded, or holds numbers that are not those of an image.
    """
    return _to_float(_decoded(image, name))


def open_animation(path: Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an animated image for its frames, which are decoded as they are sought; the caller closes it.

    Raises:
        DataError: If the file is missing, not an image or too large.
    """
    image = _opened(path, None, str(path))
    try:
        _check_size(image, str(path), max_pixels)
    except DataError:
        image.close()
        raise
    return image


@dataclass(frozen=True)
class ImageKind:
    """What the header of an image file tells.

    Attributes:
        width: Pixels, orientation applied.
        height: The same.
        grey: Whether it has one channel of brightness, which reading repeats three times.
        transparent: Whether it has transparency, which reading lays on white.
    """

    width: int
    height: int
    grey: bool
    transparent: bool


def image_kind(path: str | Path, stream: BinaryIO | None = None) -> ImageKind:
    """Read size and channels, without decoding the image where possible.

    Args:
        path: The file, or its name for messages where a stream is given.
        stream: The content of an image in an archive.

    Raises:
        DataError: If the file is missing or not an image.
    """
    with _opened(None if stream else Path(path), stream, str(path)) as image:
        width, height = image.size
        # For TIFF alone Pillow turns the image by itself, and its releases differ on when the size follows.
        if image.format == "TIFF" and stream is None:
            height, width = read_image_uint8(path).shape[-2:]
        elif image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
        grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
        return ImageKind(width, height, grey, image.has_transparency_data)


def image_size(path: str | Path) -> tuple[int, int]:
    """Read (width, height) in pixels, orientation applied, without decoding the image where possible.

    Raises:
        DataError: If the file is missing or not an image.
    """
    kind = image_kind(path)
    return kind.width, kind.height


def _opened(path: Path | None, stream: BinaryIO | None, name: str) -> Image.Image:
    if path is not None:
        if path.is_dir():
            raise DataError(f"{name} is a folder, not an image.")
        if not path.exists():
            raise DataError(f"there is no image {name}.")
        if not path.is_file():
            raise DataError(f"{name} is not a regular file: it cannot be read as an image.")
        if path.stat().st_size == 0:
            raise DataError(f"{name} is empty (0 bytes): copy the image again.")
    _prepare_heif(path, stream, name)
    try:
        with warnings.catch_warnings():
            # Our own limit is checked next; the warning would name no file.
            warnings.simplefilter("ignore")
            return Image.open(stream if path is None else path)  # type: ignore[arg-type]
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image in a known format: remove or convert it.") from error
    # Decoders of some thirty formats raise what they like on hostile bytes; all of it means: not readable.
    except Exception as error:
        raise DataError(f"{name} cannot be opened as an image: {_reason(error)}.") from error


def _prepare_heif(path: Path | None, stream: BinaryIO | None, name: str) -> None:
    """Teach the decoder HEIC when a file is one: the library is an extra, and loading it takes time.

    Raises:
        DataError: If it is not installed.
    """
    if stream is None:
        assert path is not None
        try:
            with path.open("rb") as file:
                head = file.read(12)
        except OSError as error:
            raise DataError(f"{name} cannot be opened as an image: {error.strerror}.") from error
    else:
        head = stream.read(12)
        stream.seek(0)
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
        return
    try:
        import pillow_heif
    except ImportError as error:
        raise DataError(
            f"{name} is a HEIC photo: install what reads them with `pip install 'lineament[heic]'`, or convert it."
        ) from error
    pillow_heif.register_heif_opener()


def _say_animation(image: Image.Image, name: str) -> None:
    if image.format not in ANIMATED_FORMATS or name in _said:
        return
    try:
        animated = bool(getattr(image, "is_animated", False))
    except Exception:
        # What follows the first image cannot be read, and nobody asked for it.
        animated = True
    if animated:
        _said.add(name)
        log.warning(
            "%s is an animation, its first frame is taken: `lineament landmarks --video` takes all of them",
            name,
        )


def is_animation(path: Path) -> bool:
    """Whether a file is an animated GIF, PNG or WebP; files that cannot be read are none."""
    if path.suffix.lower() not in (".gif", ".png", ".webp"):
        return False
    try:
        with _opened(path, None, str(path)) as image:
            return image.format in ANIMATED_FORMATS and bool(getattr(image, "is_animated", False))
    # As below: a decoder raises what it likes, and reading the image says so by name.
    except Exception:
        return False


def _read(path: Path | None, stream: BinaryIO | None, name: str, max_pixels: int) -> np.ndarray:
    """Decode to ``[H, W, 3]`` uint8, or float32 in 0..1 where the file holds more than 8 bits."""
    with _opened(path, stream, name) as image:
        _check_size(image, name, max_pixels)
        pixels = _decoded(image, name)
        _say_animation(image, name)
        return pixels


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise DataError(
            f"{name} is {width}x{height}, more than the limit of {max_pixels / 1e6:g} million pixels: scale it down."
        )


def _decoded(image: Image.Image, name: str) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            return _to_rgb(image, name)
    except DataError:
        raise
    # As above: whatever a decoder raises means that the pixels cannot be had.
    except Exception as error:
        raise DataError(
            f"{name} is damaged or cut short ({_reason(error)}): copy the image again."
        ) from error


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    deep = image.mode.startswith("I") or image.mode == "F"
    image = ImageOps.exif_transpose(image)
    if deep:
        return _deep_grey(image, name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _deep_grey(image: Image.Image, name: str) -> np.ndarray:
    values = np.array(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise DataError(
                f"{name} holds floating-point values from {values.min():g} to {values.max():g}: scale them to 0..1."
            )
        grey = values.astype(np.float32)
    else:
        # "I" is 32-bit storage; every format that arrives in it from a camera or screen holds 16 bits.
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{name} holds integers from {values.min()} to {values.max()}: only 8 and 16 bits are read."
            )
        grey = (values.astype(np.float64) / 65535).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=2)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text or type(error).__name__


def _to_float(values: np.ndarray) -> Tensor:
    image = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    return to_float(image)


def _to_uint8(values: np.ndarray) -> Tensor:
    image = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    return to_uint8(image)


def write_image(path: str | Path, image: Tensor, *, quality: int = 95) -> Path:
    """Write an image atomically.

    Args:
        path: Ends in ``.png``, ``.jpg`` or ``.jpeg``.
        image: ``[3, H, W]`` or ``[1, H, W]``, float in 0..1 (clamped, rounded to 8 bits) or uint8.
        quality: JPEG quality 1..100.

    Returns:
        The path.

    Raises:
        DataError: If the ending or the shape is not one of these, or the image holds NaN.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "jpg", "jpeg"):
        raise DataError(f"cannot write {path}: the name must end in .png or .jpg, not {path.suffix!r}.")
    data = encode_image(image, kind, str(path), quality=quality)
    write_bytes(path, data)
    return path


def encode_image(image: Tensor, kind: str, name: str, *, quality: int = 95) -> bytes:
    """Encode an image as the bytes of a file; arguments as :func:`write_image`.

    Args:
        image: The image.
        kind: ``png`` or ``webp`` (both without loss), ``jpg`` or ``jpeg``.
        name: Name for messages.
        quality: JPEG quality 1..100.

    Raises:
        DataError: If the shape is wrong, or the image holds NaN.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise DataError(f"cannot write {name}: the image has the shape {tuple(image.shape)}, not [3, H, W].")
    values = image.detach().cpu()
    if values.dtype != torch.uint8:
        values = values.float()
        if torch.isnan(values).any():
            raise DataError(f"cannot write {name}: the image holds values that are not a number.")
    pil_image = to_pil(values)
    options: dict[str, Any] = {
        "png": {"format": "PNG", "compress_level": 4},
        # Smaller than PNG, six times as fast to write (512 px: 9 ms against 55) and faster to read.
        "webp": {"format": "WEBP", "lossless": True, "quality": 20, "method": 0},
    }.get(kind, {"format": "JPEG", "quality": quality, "subsampling": 0})
    buffer = BytesIO()
    pil_image.save(buffer, **options)
    return buffer.getvalue()


def is_result(path: Path) -> bool:
    """Whether a file is an image or video that this program wrote, by its name: ``photo.jpg.depth.png``."""
    return _RESULT.search(path.name) is not None


def list_images(folder: str | Path, *, recursive: bool = True) -> list[Path]:
    """List the image files of a folder, or the one file given.

    The order is that of the paths relative to the folder, with ``/`` between the parts, compared by Unicode code point:
    the same on every system, capitals before small letters, ``img10`` before ``img2``. Files and folders whose names
    begin with a dot, the ``__MACOSX`` shadows of some archives, and images that this program wrote beside its
    photos (:func:`is_result`) are left out. Links to files are followed, links to folders are not.

    Raises:
        DataError: If there is no such file or folder, or no image in it.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}.")
    found = sorted(_walk(folder, recursive), key=lambda path: path.relative_to(folder).as_posix())
    if found and all(map(is_result, found)):
        raise DataError(f"there is no photo in {folder}, only images that earlier runs drew.")
    found = [path for path in found if not is_result(path)]
    if not found:
        raise DataError(f"there is no image in {folder}: expected {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return found


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if recursive and not name.startswith(".") and name != "__MACOSX"
        ]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(here, name)

"""What a Python caller may hand over as an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lineament.data.images import decode_image, from_pillow, read_image
from lineament.errors import DataError, UsageError

# Which colour the first channel holds.
Order = Literal["rgb", "bgr"]
ImageLike = str | Path | bytes | Image.Image | Tensor | np.ndarray
# How far floats may lie outside of 0..1, as resampling leaves them; they are clamped.
OVERSHOOT = 0.1
WANTED = "give one image: a path, bytes, a PIL image, a tensor [3, H, W] or an array [H, W, 3]"


def as_image(image: ImageLike, order: Order = "rgb") -> Tensor:
    """Read or convert one image to ``[3, H, W]`` float32 RGB in 0..1.

    Args:
        image: One of

            - a path (``str`` or ``Path``), or the bytes of an image file;
            - a PIL image of any mode;
            - an array ``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]``, as numpy, scikit-image and OpenCV have
              them (RGB; OpenCV's with ``order="bgr"``);
            - a tensor ``[H, W]``, ``[1, H, W]``, ``[3, H, W]`` or ``[4, H, W]``.

            Numbers by their type: floats are 0..1 (up to a tenth outside is clamped), ``bool`` is black and white,
            ``uint8`` and other integers up to 255 are 0..255, ``uint16`` is 0..65535. A fourth channel is opacity, over
            white as in files.
        order: ``"bgr"`` where the first channel of an array or tensor is blue, the third red.

    Raises:
        UsageError: If the order is another, or "bgr" is said of a file or PIL image, which know theirs.
        DataError: If it is something else (None, a list, a batch), has another shape, or holds numbers outside of the
            range of its type; the message says which.
    """
    if order not in ("rgb", "bgr"):
        raise UsageError(f"the order of channels is rgb or bgr, not {order!r}.")
    if order == "bgr":
        if not isinstance(image, np.ndarray | Tensor):
            raise UsageError(
                f"the order bgr is for arrays and tensors: a {type(image).__name__} has its own."
            )
        return as_image(image).flip(0)
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, bytes | bytearray):
        return decode_image(bytes(image), f"the image of {len(image)} bytes")
    if isinstance(image, Image.Image):
        return from_pillow(image, f"the PIL image of mode {image.mode}")
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if image is None:
        raise DataError(f"no image is given (None): {WANTED}.")
    kind = type(image).__name__
    if hasattr(image, "__iter__"):
        raise DataError(f"several images at once ({kind}) are not taken: call for each, {WANTED}.")
    raise DataError(f"a {kind} is no image: {WANTED}.")


def _from_array(values: np.ndarray) -> Tensor:
    shape = list(values.shape)
    if values.dtype.kind not in "buif":
        raise DataError(f"an array of {values.dtype} is no image: {WANTED}.")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim == 4:
        raise DataError(f"several images at once (an array {shape}) are not taken: call for each, {WANTED}.")
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4):
        raise DataError(f"an array is [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], not {shape}.")
    return _scaled(np.ascontiguousarray(values.transpose(2, 0, 1)), shape)


def _from_tensor(values: Tensor) -> Tensor:
    shape = list(values.shape)
    values = values.detach().cpu()
    if values.ndim == 2:
        values = values[None]
    if values.ndim == 4:
        raise DataError(f"several images at once (a tensor {shape}) are not taken: call for each, {WANTED}.")
    if values.is_complex() or values.ndim != 3 or values.shape[0] not in (1, 3, 4):
        raise DataError(
            f"a tensor is [H, W], [1, H, W], [3, H, W] or [4, H, W], not {shape} of {values.dtype}."
        )
    if values.dtype in (torch.bfloat16, torch.float16):
        values = values.float()
    return _scaled(values.numpy(), shape)


def _scaled(values: np.ndarray, shape: list[int]) -> Tensor:
    """``[C, H, W]`` of any type -> ``[3, H, W]`` in 0..1."""
    if not values.size:
        raise DataError(f"an image of shape {shape} holds no pixel.")
    if values.dtype == np.uint8 and len(values) == 3:
        # Frame after frame comes so: no range to check, and the rounding is that of files.
        return torch.from_numpy(values.astype(np.float32)).div_(255)
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError("the image holds values that are not finite.")
        if low < -OVERSHOOT or high > 1 + OVERSHOOT:
            raise DataError(
                f"the image holds floating-point values from {low:g} to {high:g}: they must lie in 0..1, divide by "
                "255 where white is 255."
            )
        top = 1.0
    elif values.dtype == np.bool_:
        top = 1.0
    else:
        top = 65535.0 if values.dtype == np.uint16 else 255.0
        if low < 0 or high > top:
            raise DataError(
                f"the image holds integers from {low:g} to {high:g}: only 8 and 16 bits are read."
            )
    image: Any = torch.from_numpy((values.astype(np.float64) / top).clip(0, 1).astype(np.float32))
    if image.shape[0] == 4:
        opacity = image[3:]
        image = image[:3] * opacity + (1 - opacity)
    return image if image.shape[0] == 3 else image.expand(3, -1, -1).contiguous()

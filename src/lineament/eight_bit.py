"""Images as tensors in 0..1 and as 8 bits: one rounding (to the nearest, half to even) for all that shows or stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image


def to_uint8(image: Tensor) -> Tensor:
    """Round a tensor of any shape, float in 0..1 (clamped) or uint8 (as it is), to uint8."""
    return image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)


def to_float(image: Tensor) -> Tensor:
    """Tensor of any shape, uint8 or float (as it is), as float32 in 0..1."""
    return image.float().div_(255) if image.dtype == torch.uint8 else image


def quantised(image: Tensor) -> Tensor:
    """Round a float tensor to the nearest multiples of 1/255 in 0..1; its type and device stay."""
    return (image * 255).round().clamp(0, 255) / 255


def to_array(image: Tensor) -> np.ndarray:
    """``[C, H, W]``, float in 0..1 (clamped) or uint8, as a contiguous array ``[H, W, C]`` uint8."""
    return np.ascontiguousarray(to_uint8(image.detach()).permute(1, 2, 0).cpu().numpy())


def from_array(pixels: np.ndarray) -> Tensor:
    """``[H, W, C]`` uint8 as a contiguous copy ``[C, H, W]`` float32 in 0..1."""
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), np.float32, order="C")).div_(255)


def to_pil(image: Tensor) -> Image.Image:
    """``[3, H, W]`` or ``[1, H, W]``, float in 0..1 (clamped) or uint8, as an RGB or grey image of pillow."""
    from PIL import Image

    pixels = to_array(image)
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])


def from_pil(image: Image.Image) -> Tensor:
    """RGB image of pillow as ``[3, H, W]`` float32 in 0..1."""
    return from_array(np.asarray(image))

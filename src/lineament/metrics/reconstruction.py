"""How well a face is reconstructed, as a whole and around each of its landmarks, as 3FabRec measures it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# A window around a landmark is this share of the image wide, less a pixel; a disc's radius is a twentieth of it.
WINDOWS_ACROSS, DISCS_ACROSS = 16, 20


def eight_bits(image: Tensor) -> np.ndarray:
    """``[3, H, W]`` in 0..1 as ``[H, W, 3]`` bytes, truncated as published."""
    values = (image.clamp(0, 1) * 255).byte()
    return values.permute(1, 2, 0).numpy()


def similarity(first: Tensor, second: Tensor) -> float:
    """SSIM of two images ``[3, H, W]`` in 0..1: 8 bits, windows of 7 x 7, mean over channels (scikit-image)."""
    from skimage.metrics import structural_similarity

    return float(structural_similarity(eight_bits(first), eight_bits(second), channel_axis=2, data_range=255))


def similarity_map(first: Tensor, second: Tensor) -> Tensor:
    """SSIM around every pixel of two images ``[3, H, W]`` in 0..1, mean over channels: ``[H, W]``."""
    from skimage.metrics import structural_similarity

    _, values = structural_similarity(
        eight_bits(first), eight_bits(second), channel_axis=2, data_range=255, full=True
    )
    return torch.from_numpy(values).mean(-1)


def pixel_error(first: Tensor, second: Tensor) -> float:
    """Mean absolute difference of two images in 0..1, in steps of 8-bit images."""
    return float(255 * (first - second).abs().mean())


def psnr(error: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of squared errors of values in 0..1."""
    return -10 * math.log10(max(float(error.double().mean()), 1e-12))


@dataclass(frozen=True)
class LandmarkQuality:
    """How well a face is reconstructed at its landmarks; NaN where a landmark is unknown or outside the image.

    Attributes:
        similarity: ``[K]`` mean SSIM in the window around each landmark, 1 is perfect.
        correlation: ``[K]`` normalised cross-correlation of the pixels in that window, 1 is perfect.
        error: ``[K]`` mean absolute difference in that window, in steps of 8-bit images.
    """

    similarity: Tensor
    correlation: Tensor
    error: Tensor


def window_around(point: Tensor, height: int, width: int) -> tuple[slice, slice] | None:
    """Rows and columns of the published window around a landmark; None where it holds no pixel.

    It is ``width // 16 - 1`` pixels wide, less one where that is odd, and stops before the last row and column of the
    image.

    Args:
        point: ``[2]`` xy pixels; whole pixels are taken toward zero.
        height: Of the image.
        width: Of the image.
    """
    if not bool(torch.isfinite(point).all()):
        return None
    reach = max((width // WINDOWS_ACROSS - 1) // 2, 1)
    x, y = (int(value) for value in point.tolist())
    rows = slice(max(0, y - reach), min(height - 1, y + reach))
    columns = slice(max(0, x - reach), min(width - 1, x + reach))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def quality_at_landmarks(image: Tensor, made: Tensor, points: Tensor) -> LandmarkQuality:
    """Compare an image with its reconstruction in a window around each landmark.

    Args:
        image: ``[3, H, W]`` in 0..1.
        made: Its reconstruction.
        points: ``[K, 2]`` landmarks in pixels of the image.
    """
    height, width = image.shape[-2:]
    alike = similarity_map(image, made)
    bytes_of = [torch.from_numpy(eight_bits(each)).double() for each in (image, made)]
    difference = 255 * (image - made).abs().mean(0).double()
    values = points.new_full((3, len(points)), torch.nan, dtype=torch.float64)
    for index, point in enumerate(points):
        window = window_around(point, height, width)
        if window is not None:
            first, second = (pixels[window].reshape(-1) for pixels in bytes_of)
            values[0, index] = alike[window].mean()
            values[1, index] = correlation(first, second)
            values[2, index] = difference[window].mean()
    return LandmarkQuality(*values)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation of two flat arrays; NaN where one does not vary."""
    first, second = first - first.mean(), second - second.mean()
    lengths = first.norm() * second.norm()
    return (first @ second) / lengths if float(lengths) > 0 else first.new_tensor(torch.nan)


def landmark_area(points: Tensor, height: int, width: int) -> Tensor:
    """Pixels within a twentieth of the image's width of a landmark ``[K, 2]``: ``[H, W]`` bool."""
    known = points[torch.isfinite(points).all(-1)].trunc()
    rows = torch.arange(height, dtype=known.dtype)[:, None, None]
    columns = torch.arange(width, dtype=known.dtype)[None, :, None]
    radius = width // DISCS_ACROSS
    return ((columns - known[:, 0]) ** 2 + (rows - known[:, 1]) ** 2 <= radius**2).any(-1)


def error_around_landmarks(image: Tensor, made: Tensor, points: Tensor) -> float:
    """Mean absolute difference near any landmark, in steps of 8-bit images; NaN where no landmark is known.

    The published number is a third of it: it divides the mean over channels by their number once more.
    """
    near = landmark_area(points, image.shape[-2], image.shape[-1])
    return float(255 * (image - made).abs().mean(0)[near].mean())

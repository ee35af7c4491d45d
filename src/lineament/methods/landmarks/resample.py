"""Reads a turned square of an image bilinearly: several times faster than torch's for one small image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lineament.ops.numba_cpu.compile import kernel


@kernel
def _read(
    image: np.ndarray, width: int, height: int, back: np.ndarray, square: np.ndarray, size: int
) -> None:
    """Fill ``square`` (3, S, S) from ``image`` (3, H, W), both flat, at ``back @ (x, y, 1)``; repeats the border."""
    one, zero = np.float32(1.0), np.float32(0.0)
    a, b, c, d, e, f = back
    right, bottom = np.float32(width - 1), np.float32(height - 1)
    plane, pixels = np.uint32(width * height), np.uint32(size * size)
    for row in range(size):
        along_x, along_y = b * np.float32(row) + c, e * np.float32(row) + f
        for column in range(size):
            x, y = a * np.float32(column) + along_x, d * np.float32(column) + along_y
            x = zero if x < zero else (right if x > right else x)
            y = zero if y < zero else (bottom if y > bottom else y)
            x0, y0 = np.uint32(x), np.uint32(y)
            u, v = x - np.float32(x0), y - np.float32(y0)
            # As unsigned numbers: indices that may be negative would be checked at every pixel.
            first = np.uint32(y0 * np.uint32(width) + x0)
            across = np.uint32(1) if x < right else np.uint32(0)
            below = np.uint32(width) if y < bottom else np.uint32(0)
            w00, w01, w10, w11 = (one - u) * (one - v), u * (one - v), (one - u) * v, u * v
            target = np.uint32(row * size + column)
            for channel in range(3):
                at = np.uint32(first + np.uint32(channel) * plane)
                square[np.uint32(target + np.uint32(channel) * pixels)] = (
                    w00 * image[at]
                    + w01 * image[np.uint32(at + across)]
                    + w10 * image[np.uint32(at + below)]
                    + w11 * image[np.uint32(at + across + below)]
                )


def read_square(image: Tensor, back: Tensor, size: int) -> Tensor:
    """Read a square of an image.

    Args:
        image: ``[3, H, W]`` float32 on the CPU.
        back: ``[2, 3]`` pixels of the square to pixels of the image.
        size: Side of the square in pixels.

    Returns:
        ``[3, size, size]``; outside of the image its border is repeated.
    """
    square = torch.empty(3, size, size)
    height, width = image.shape[1:]
    flat = image.contiguous().view(-1).numpy()
    _read(flat, width, height, back.float().reshape(-1).numpy(), square.view(-1).numpy(), size)
    return square

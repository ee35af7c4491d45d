"""Convolution with resampling, as StyleGAN2 has it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lineament.nn.convolution import convolve
from lineament.nn.upfirdn import upfirdn2d, upfirdn2d_reference


def _sides(taps: int, up: int, down: int, padding: int) -> tuple[int, int]:
    """Zeros in front of and behind the upsampled map, along one axis, so that sizes are ``up / down`` times."""
    if up > 1:
        return padding + (taps + up - 1) // 2, padding + (taps - up) // 2
    if down > 1:
        return padding + (taps - down + 1) // 2, padding + (taps - down) // 2
    return padding, padding


def conv2d_resample(
    x: Tensor,
    weight: Tensor,
    f: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    flip_weight: bool = True,
    groups: int = 1,
) -> Tensor:
    """Convolve, with the map upsampled before or downsampled with it.

    Up: zeros are inserted, filtered by ``up**2 * f`` and convolved; what a transposed convolution and the filter behind
    it give is the same. Down: filtered, then convolved at every ``down``-th place. Both together are not needed.

    Args:
        x: ``[B, C, H, W]``.
        weight: ``[O, C / groups, k, k]``.
        f: ``[height, width]`` FIR filter of sum 1; needed for up and down.
        up: Factor of upsampling.
        down: Factor of downsampling.
        padding: Zeros around the map with respect to the upsampled size; ``k // 2`` keeps sizes.
        flip_weight: Correlate, as torch's convolution does; False turns the kernel round.
        groups: As in torch.

    Returns:
        ``[B, O, H up / down, W up / down]`` for ``padding = k // 2``.

    Raises:
        ValueError: If both factors are given, or a factor without a filter.
    """
    if up == 1 and down == 1:
        return convolve(x, weight if flip_weight else weight.flip([2, 3]), padding=padding, groups=groups)
    if f is None or f.ndim != 2 or (up > 1 and down > 1):
        raise ValueError("resampling needs a filter [height, width], and up or down, not both.")
    rows, columns = f.shape
    left, right = _sides(columns, up, down, padding)
    top, bottom = _sides(rows, up, down, padding)
    kernel = weight.shape[2:]
    if down > 1:
        kept = weight if flip_weight else weight.flip([2, 3])
        if tuple(kernel) == (1, 1):
            x = upfirdn2d(x, f, down=down, padding=(left, right, top, bottom))
            return convolve(x, kept, groups=groups)
        x = upfirdn2d(x, f, padding=(left, right, top, bottom))
        return convolve(x, kept, stride=down, groups=groups)
    if tuple(kernel) == (1, 1):
        x = convolve(x, weight, groups=groups)
        return upfirdn2d(x, f, up=up, padding=(left, right, top, bottom), gain=up**2)
    turned = weight.flip([2, 3]) if flip_weight else weight
    outputs, inputs = weight.shape[:2]
    turned = turned.reshape(groups, outputs // groups, inputs, *kernel).transpose(1, 2)
    turned = turned.reshape(groups * inputs, -1, *kernel)
    x = convolve(x, turned, stride=up, transposed=True, groups=groups)
    # The transposed convolution has its own k - 1 zeros in front, and up - 1 fewer behind.
    height, width = kernel
    around = (left - width + 1, right - width + up, top - height + 1, bottom - height + up)
    return upfirdn2d(x, f, padding=around, gain=up**2)


def conv2d_resample_reference(
    x: Tensor,
    weight: Tensor,
    f: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: int = 0,
    flip_weight: bool = True,
    groups: int = 1,
) -> Tensor:
    """The definition of :func:`conv2d_resample`: inserted zeros, filter, convolution; the same arguments."""
    if up > 1 or down > 1:
        rows, columns = f.shape
        pad = (*_sides(columns, up, down, padding), *_sides(rows, up, down, padding))
        x = upfirdn2d_reference(x, f, up=up, padding=pad, gain=up**2)
        padding = 0
    kept = weight if flip_weight else weight.flip([2, 3])
    return F.conv2d(x, kept, stride=down, padding=padding, groups=groups)

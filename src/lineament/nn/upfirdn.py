"""Upsample, filter and downsample maps by a finite impulse response (FIR) filter: the resampling of StyleGAN2.

The definition is :func:`upfirdn2d_reference`: zeros between the samples, zeros around them, a convolution, every so
manieth value. :func:`upfirdn2d` computes the same by depthwise convolutions that meet no inserted zero. Its gradient is
such a resampling too, so that gradients of any order are exact and cost no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# The fewest taps from which on two passes along one axis each beat one pass with the outer product.
_SEPARATE = 8
# Of StyleGAN2's networks.
TAPS = (1.0, 3.0, 3.0, 1.0)


def fir_filter(taps: Sequence[float] | Tensor, *, flip: bool = False, gain: float = 1.0) -> Tensor:
    """A filter of sum 1 from its taps.

    Args:
        taps: One axis ``[T]``, which both axes share, or both axes ``[height, width]``.
        flip: Turn it round, so that the convolution becomes a correlation.
        gain: Sum of the filter over both axes.

    Returns:
        float32, ``[T]`` where one axis of at least eight taps was given, else ``[height, width]``.

    Raises:
        ValueError: If there are no taps, more than two axes, or a sum of zero.
    """
    f = torch.as_tensor(taps, dtype=torch.float32)
    if f.ndim == 0:
        f = f[None]
    if f.ndim > 2 or not f.numel() or (not f.is_meta and float(f.sum()) == 0):
        raise ValueError(
            f"a filter needs [T] or [height, width] taps of a sum other than 0, got {f.tolist()}."
        )
    if f.ndim == 1 and len(f) < _SEPARATE:
        f = torch.outer(f, f)
    f = f / f.sum() * gain ** (f.ndim / 2)
    return f.flip(list(range(f.ndim))) if flip else f


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """``(x, y)`` from one number for both or two."""
    if isinstance(value, int):
        return value, value
    x, y = value
    return int(x), int(y)


def _padding(value: int | Sequence[int]) -> tuple[int, int, int, int]:
    """``(left, right, top, bottom)`` from one number, ``(x, y)`` or all four."""
    if isinstance(value, int):
        return (value,) * 4
    if len(value) == 2:
        return int(value[0]), int(value[0]), int(value[1]), int(value[1])
    left, right, top, bottom = (int(each) for each in value)
    return left, right, top, bottom


def _extent(f: Tensor) -> tuple[int, int]:
    """Width and height of a filter."""
    return int(f.shape[-1]), int(f.shape[0])


def _checked(x: Tensor, f: Tensor, up: Sequence[int], down: Sequence[int], pad: Sequence[int]) -> None:
    if x.ndim != 4 or f.ndim not in (1, 2):
        raise ValueError(
            f"maps must be [B, C, H, W] and filters [T] or [height, width], got {x.shape}, {f.shape}."
        )
    if min(*up, *down) < 1:
        raise ValueError(f"up and down must be at least 1, got {tuple(up)} and {tuple(down)}.")
    for axis, taps in enumerate(_extent(f)):
        size = x.shape[3 - axis] * up[axis] + pad[2 * axis] + pad[2 * axis + 1]
        if size < taps:
            raise ValueError(
                f"{size} values are fewer than the {taps} taps of the filter along axis {'xy'[axis]}."
            )


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Upsample, pad, convolve with ``f * gain``, downsample.

    Args:
        x: ``[B, C, H, W]``; the order of memory is kept.
        f: ``[T]`` along both axes in turn, or ``[height, width]``; see :func:`fir_filter`.
        up: ``up - 1`` zeros follow each sample, the last one too; one number or ``(x, y)``.
        down: Of the result every ``down``-th value from the first on; one number or ``(x, y)``.
        padding: Zeros around the upsampled map: one number, ``(x, y)`` or ``(left, right, top, bottom)``; negative ones
            cut off.
        flip: Correlate instead.
        gain: Times the result.

    Returns:
        ``[B, C, (H up + top + bottom - height) // down + 1, ...]`` in the precision of x.

    Raises:
        ValueError: If the shapes do not fit or nothing would be left.
    """
    steps, strides, pad = pair(up), pair(down), _padding(padding)
    _checked(x, f, steps, strides, pad)
    f = f.to(x.device, x.dtype)
    if not flip:
        f = f.flip(list(range(f.ndim)))
    if torch.is_grad_enabled() and x.requires_grad and not f.requires_grad:
        filtered: Tensor = _Resampled.apply(x, f, steps, strides, pad, gain)
        return filtered
    return _resampled(x, f, steps, strides, pad, gain)


def _resampled(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    pad: tuple[int, int, int, int],
    gain: float,
) -> Tensor:
    """As :func:`upfirdn2d` of a turned filter."""
    if f.ndim == 1:
        across = f[None] * gain**0.5
        left, right, top, bottom = pad
        x = _pass(x, across, (up[0], 1), (down[0], 1), (left, right, 0, 0))
        return _pass(x, across.T, (1, up[1]), (1, down[1]), (0, 0, top, bottom))
    return _pass(x, f * gain, up, down, pad)


class _Resampled(torch.autograd.Function):
    """:func:`_resampled`, whose adjoint is another: with the filter turned, and up and down changed about."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        f: Tensor,
        up: tuple[int, int],
        down: tuple[int, int],
        pad: tuple[int, int, int, int],
        gain: float,
    ) -> Tensor:
        out = _resampled(x, f, up, down, pad, gain)
        ctx.save_for_backward(f)
        ctx.options = up, down, pad, gain, x.shape, out.shape
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (f,) = ctx.saved_tensors
        up, down, pad, gain, before, after = ctx.options
        around: list[int] = []
        for axis, taps in enumerate(_extent(f)):
            first = taps - 1 - pad[2 * axis]
            needed = (before[3 - axis] - 1) * up[axis] + taps
            around += [first, needed - after[3 - axis] * down[axis] - first]
        of_x = upfirdn2d(gradient, f, up=down, down=up, padding=around, gain=gain)
        return of_x, None, None, None, None, None


def _padded(x: Tensor, pad: Sequence[int]) -> Tensor:
    """Zeros around ``x``, then negative sides cut off, which may be more than there was before the zeros."""
    left, right, top, bottom = pad
    if max(pad) > 0:
        x = F.pad(x, [max(side, 0) for side in pad])
    height, width = x.shape[2:]
    return x[:, :, max(-top, 0) : height - max(-bottom, 0), max(-left, 0) : width - max(-right, 0)]


def _pass(
    x: Tensor, kernel: Tensor, up: tuple[int, int], down: tuple[int, int], pad: tuple[int, int, int, int]
) -> Tensor:
    """One depthwise convolution with ``kernel [height, width]``, written as a correlation."""
    channels = x.shape[1]
    left, right, top, bottom = pad
    if up == (1, 1):
        even = left == right >= 0 and top == bottom >= 0
        if not even:
            x = _padded(x, pad)
        around = (top, left) if even else (0, 0)
        weight = kernel.expand(channels, 1, *kernel.shape).contiguous()
        return F.conv2d(x, weight, stride=down[::-1], padding=around, groups=channels)
    # The transposed convolution gives all sums, from the first that a sample takes part in to the last; those that
    # the padding does not reach are cut off. Samples that negative padding removes take part in none of the others.
    height, width = kernel.shape
    start = (width - 1 - left, height - 1 - top)
    end = (width - up[0] - right, height - up[1] - bottom)
    both = [max(0, min(a, b)) for a, b in zip(start, end, strict=True)]
    weight = kernel.flip([0, 1]).expand(channels, 1, height, width).contiguous()
    x = F.conv_transpose2d(x, weight, stride=up[::-1], padding=both[::-1], groups=channels)
    rest = [-(a - cut) for a, b, cut in zip(start, end, both, strict=True) for a in (a, b)]
    if any(rest):
        x = _padded(x, rest)
    return x if down == (1, 1) else x[:, :, :: down[1], :: down[0]]


def upfirdn2d_reference(
    x: Tensor,
    f: Tensor,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """The definition of :func:`upfirdn2d`, by zeros that are really inserted; the same arguments."""
    (up_x, up_y), strides, pad = pair(up), pair(down), _padding(padding)
    _checked(x, f, (up_x, up_y), strides, pad)
    batch, channels, height, width = x.shape
    wide = x.new_zeros(batch, channels, height, up_y, width, up_x)
    wide[:, :, :, 0, :, 0] = x
    padded = _padded(wide.reshape(batch, channels, height * up_y, width * up_x), pad)
    f = f.to(x.device, x.dtype)
    if f.ndim == 1:
        f = torch.outer(f, f)
    kernel = f if flip else f.flip([0, 1])
    rows, columns = kernel.shape
    windows = padded.unfold(2, rows, strides[1]).unfold(3, columns, strides[0])
    return torch.einsum("bchwij,ij->bchw", windows, kernel * gain)


def upsample2d(x: Tensor, f: Tensor, up: int = 2, *, gain: float = 1.0) -> Tensor:
    """``[B, C, H up, W up]``: values keep their size, and their places at the centres of pixels."""
    pad = [side for taps in _extent(f) for side in ((taps + up - 1) // 2, (taps - up) // 2)]
    return upfirdn2d(x, f, up=up, padding=pad, gain=gain * up**2)


def downsample2d(x: Tensor, f: Tensor, down: int = 2, *, gain: float = 1.0) -> Tensor:
    """``[B, C, H / down, W / down]``, as :func:`upsample2d`."""
    pad = [side for taps in _extent(f) for side in ((taps - down + 1) // 2, (taps - down) // 2)]
    return upfirdn2d(x, f, down=down, padding=pad, gain=gain)


def filter2d(x: Tensor, f: Tensor, *, gain: float = 1.0) -> Tensor:
    """Filter and keep the size."""
    pad = [side for taps in _extent(f) for side in (taps // 2, (taps - 1) // 2)]
    return upfirdn2d(x, f, padding=pad, gain=gain)

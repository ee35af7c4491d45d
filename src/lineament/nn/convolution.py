"""Convolutions whose derivatives of any order are convolutions.

A convolution is linear in its maps and in its weights, and so are its gradients in what they are computed from: of the
three, each one's derivatives are the other two. Torch's own second derivative convolves maps with maps in place of the
gradient by the weights, which takes longer, and computes what nobody asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

# Values of a filter's weights from which on their gradient at half the resolution is faster in the usual order of
# memory, copies included; channels last the library then takes three times as long.
_LARGE_WEIGHT = 1 << 16


class Geometry(NamedTuple):
    """How maps and weights meet, as :func:`torch.convolution` takes it."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    transposed: bool
    output_padding: tuple[int, int]
    groups: int


def convolve(
    x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0, transposed: bool = False, groups: int = 1
) -> Tensor:
    """Convolve ``x [B, C, H, W]`` as :func:`torch.nn.functional.conv2d` or ``conv_transpose2d`` do.

    Args:
        x: Maps.
        weight: ``[O, C / groups, k, k]``; transposed ``[C, O / groups, k, k]``.
        stride: Along both axes.
        padding: Zeros on each side; transposed: values cut off.
        transposed: Which of the two.
        groups: As in torch.

    Returns:
        ``[B, O, ...]``, with exact gradients of any order.
    """
    geometry = Geometry((stride,) * 2, (padding,) * 2, (1, 1), transposed, (0, 0), groups)
    # Elsewhere torch's own derivatives are as fast, and mixed precision knows its functions alone.
    ours = x.device.type == "cpu" and groups == 1 and not torch.is_autocast_enabled("cpu")
    if ours and torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        convolved: Tensor = _Convolution.apply(x, weight, geometry)
        return convolved
    if transposed:
        return torch.conv_transpose2d(x, weight, None, stride, padding, 0, groups)
    return torch.conv2d(x, weight, None, stride, padding, 1, groups)


class _Convolution(torch.autograd.Function):
    """Maps and weights to maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return torch.ops.aten.convolution(x, weight, None, *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        return (
            _OfMaps.apply(gradient, weight, x.shape, ctx.geometry) if of_x else None,
            _OfWeight.apply(gradient, x, weight.shape, ctx.geometry) if of_weight else None,
            None,
        )


class _OfMaps(torch.autograd.Function):
    """A gradient and weights to the gradient of the maps."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, shape: torch.Size, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.geometry = geometry
        # The maps count by their size and order of memory alone.
        last = gradient.is_contiguous(memory_format=torch.channels_last)
        order = torch.channels_last if last else torch.contiguous_format
        x = torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=order)
        found: Tensor = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *geometry, (True, False, False)
        )[0]
        return found

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        gradient, weight = ctx.saved_tensors
        return (
            _Convolution.apply(x, weight, ctx.geometry) if ctx.needs_input_grad[0] else None,
            _OfWeight.apply(gradient, x, weight.shape, ctx.geometry) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


class _OfWeight(torch.autograd.Function):
    """A gradient and maps to the gradient of the weights."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, shape: torch.Size, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.geometry = geometry
        weight = gradient.new_empty(shape)
        if geometry.stride != (1, 1) and shape.numel() >= _LARGE_WEIGHT:
            gradient, x = gradient.contiguous(), x.contiguous()
        found: Tensor = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *geometry, (False, True, False)
        )[1]
        return found

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        gradient, x = ctx.saved_tensors
        return (
            _Convolution.apply(x, weight, ctx.geometry) if ctx.needs_input_grad[0] else None,
            _OfMaps.apply(gradient, weight, x.shape, ctx.geometry) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )

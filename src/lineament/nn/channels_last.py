"""Order of values in memory that suits large maps on a CPU, and convolutions that train well in it.

On a CPU convolutions, pooling and batch norms of large maps run up to several times faster where the channels of a
pixel lie beside each other. Small maps have large weights, whose reordering would cost more than it brings. Torch's
batch normalisation sums in single precision in this order and in double precision in the usual one, so deep networks
that normalise a few values (the hourglass of DVE) lose digits by it and keep the usual one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Side in pixels from which on maps are kept channels last.
LARGE = 32
# Side in pixels of the larger of a convolution's maps from which on the gradient of its weights is computed in the
# usual order all the same, where the processor has AVX2 only. The library then takes up to four times as long channels
# last, and the copies are cheap; with AVX-512 there is nothing to gain.
LARGE_GRADIENT = 64 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 1 << 30


def arranged(x: Tensor) -> Tensor:
    """Maps ``[B, C, H, W]`` in the order that suits their size and device; the values are the same."""
    if x.device.type == "cpu" and x.shape[-1] >= LARGE:
        return x.contiguous(memory_format=torch.channels_last)
    return x.contiguous()


class LargeConv2d(nn.Conv2d):
    """A convolution of maps that may be large, without bias, groups, dilation or padding mode."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``[B, C, H, W]``."""
        if not _worth_copies(input, self.weight, input.shape[-1]):
            return super().forward(input)
        convolved: Tensor = _LargeConvolution.apply(input, self.weight, self.stride, self.padding, False)
        return convolved


class LargeConvTranspose2d(nn.ConvTranspose2d):
    """The same for a transposed convolution."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve ``[B, C, H, W]``."""
        largest = input.shape[-1] * int(self.stride[0])
        if output_size is not None or not _worth_copies(input, self.weight, largest):
            return super().forward(input, output_size)
        convolved: Tensor = _LargeConvolution.apply(input, self.weight, self.stride, self.padding, True)
        return convolved


def _worth_copies(x: Tensor, weight: Tensor, largest: int) -> bool:
    """Whether a gradient of the weights will be asked for that is faster in the usual order."""
    on_cpu = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return on_cpu and largest >= LARGE_GRADIENT and torch.is_grad_enabled() and weight.requires_grad


class _LargeConvolution(torch.autograd.Function):
    """The convolution of :class:`LargeConv2d` and :class:`LargeConvTranspose2d`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        transposed: bool,
    ) -> Tensor:
        """Convolve."""
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, (1, 1), transposed, (0, 0), 1)
        return torch.ops.aten.convolution(x, weight, None, *ctx.geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Gradients of the maps, in the order that they have, and of the weights, from copies in the usual order."""
        x, weight = ctx.saved_tensors
        derive = torch.ops.aten.convolution_backward
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = derive(gradient, x, weight, None, *ctx.geometry, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            planes = (gradient.contiguous(), x.contiguous())
            of_weight = derive(*planes, weight, None, *ctx.geometry, (False, True, False))[1]
        return of_x, of_weight, None, None, None

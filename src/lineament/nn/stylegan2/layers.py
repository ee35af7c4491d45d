"""Layers with an equalised learning rate, and what goes between them.

Weights are drawn from a unit normal distribution and scaled when they are used, so that Adam moves all layers alike
(Karras et al. 2018, 4.1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lineament.nn.stylegan2.bias_act import DEFAULT_GAINS, bias_act
from lineament.nn.stylegan2.convolution import conv2d_resample
from lineament.nn.upfirdn import TAPS, fir_filter


def normalize_2nd_moment(x: Tensor) -> Tensor:
    """``[B, C]`` over the root of the mean square of each row."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class EqualizedLinear(nn.Module):
    """A linear layer; weight ``[out, in]`` and bias ``[out]`` are scaled when used.

    Args:
        in_features: Inputs.
        out_features: Outputs.
        activation: ``"linear"`` or ``"lrelu"``.
        lr_mul: Times weights and bias; the weights are drawn the larger for it.
        bias_init: What the stored bias starts at.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: str = "linear",
        lr_mul: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation, self.lr_mul = activation, lr_mul
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))

    def scaled(self) -> tuple[Tensor, Tensor]:
        """Weight ``[out, in]`` and bias ``[out]`` as they are used."""
        weight = self.weight * (self.lr_mul / self.weight.shape[1] ** 0.5)
        return weight, self.bias if self.lr_mul == 1 else self.bias * self.lr_mul

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in]`` to ``[B, out]``."""
        weight, bias = self.scaled()
        out = torch.addmm(bias.to(x.dtype), x, weight.to(x.dtype).T)
        return out if self.activation == "linear" else bias_act(out, None, self.activation)


class EqualizedConv2d(nn.Module):
    """A convolution that may downsample; weight ``[out, in, k, k]``, scaled by ``1 / sqrt(in k k)`` when used.

    Args:
        in_channels: Inputs.
        out_channels: Outputs.
        kernel: Odd side k.
        bias: Whether there is a bias ``[out]``, 0 at the start.
        activation: ``"linear"`` or ``"lrelu"``.
        down: Factor of downsampling.
        clamp: Largest magnitude of the output for a gain of 1; None: not clamped.
    """

    f: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        down: int = 1,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.down, self.clamp, self.padding = activation, down, clamp, kernel // 2
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer("f", fir_filter(TAPS), persistent=False)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Convolve ``[B, in, H, W]``; the result is multiplied by ``gain``, and its clamp with it."""
        return bias_act(self.convolved(x), self.bias, **self.curve(gain))

    def convolved(self, x: Tensor) -> Tensor:
        """The convolution alone."""
        weight = (self.weight * self.weight[0].numel() ** -0.5).to(x.dtype)
        return conv2d_resample(x, weight, self.f, down=self.down, padding=self.padding)

    def curve(self, gain: float = 1.0) -> dict[str, Any]:
        """What :func:`lineament.nn.stylegan2.bias_act.bias_act` is told of activation, gain and clamp."""
        return {
            "activation": self.activation,
            "gain": DEFAULT_GAINS[self.activation] * gain,
            "clamp": None if self.clamp is None else self.clamp * gain,
        }


def minibatch_std(x: Tensor, group: int | None = None, channels: int = 1) -> Tensor:
    """Append how much the samples of a group differ (Karras et al. 2018, 3).

    Args:
        x: ``[B, C, H, W]``; sample ``b`` belongs to group ``b % (B / group)``.
        group: Samples of a group, at most B; None: all. With 1 the appended channel is the root of 1e-8.
        channels: Appended channels, each of C / channels of the map's.

    Returns:
        ``[B, C + channels, H, W]``.

    Raises:
        ValueError: If B is no multiple of the group, or C of channels.
    """
    batch, count, height, width = x.shape
    size = batch if group is None else min(group, batch)
    if batch % size or count % channels:
        raise ValueError(
            f"a batch of {batch} needs groups that divide it, not {size}; {count} channels, {channels}."
        )
    grouped = x.reshape(size, -1, channels, count // channels, height, width)
    std = ((grouped - grouped.mean(dim=0)).square().mean(dim=0) + 1e-8).sqrt().mean(dim=(2, 3, 4))
    appended = std.repeat(size, 1)[:, :, None, None].expand(-1, -1, height, width)
    return torch.cat([x, appended], dim=1)

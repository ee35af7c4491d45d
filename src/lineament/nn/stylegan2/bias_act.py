"""Bias, activation, gain and clamp: the end of StyleGAN2's layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SLOPE = 0.2
# Keeps the second moment of normal values.
DEFAULT_GAINS = {"linear": 1.0, "lrelu": 2**0.5}


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    activation: str = "linear",
    *,
    gain: float | None = None,
    clamp: float | None = None,
    dim: int = 1,
) -> Tensor:
    """``clamp(activation(x + bias) * gain, -clamp, clamp)``.

    Args:
        x: Values of any shape.
        bias: ``[x.shape[dim]]``.
        activation: ``"linear"`` or ``"lrelu"`` (slope 0.2).
        gain: None: 1 for linear, the root of 2 for lrelu.
        clamp: None: not clamped.
        dim: Axis of the channels.

    Returns:
        Like x.
    """
    if bias is not None:
        x = x + bias.to(x.dtype).reshape([-1 if axis == dim else 1 for axis in range(x.ndim)])
    factor = DEFAULT_GAINS[activation] if gain is None else gain
    if activation == "lrelu":
        x = F.leaky_relu(x, SLOPE)
    if factor != 1:
        x = x * factor
    return x if clamp is None else x.clamp(-clamp, clamp)

"""Bias, activation, gain and clamp: the end of StyleGAN2's layers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.ops.threads import run_tasks, shares, spans

SLOPE = 0.2
# Keeps the second moment of normal values.
DEFAULT_GAINS = {"linear": 1.0, "lrelu": 2**0.5}
# A value here takes about an eighth of what a pixel of the kernels takes that `run_tasks` counts in.
_VALUES_OF_A_PIXEL = 8


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

    On a CPU maps in single precision are gone through once where gradients are asked for, and so are the gradients,
    which are exact to any order.

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
    factor = DEFAULT_GAINS[activation] if gain is None else gain
    idle = factor == 1 and activation == "linear" and (bias is None or clamp is None)
    ours = x.device.type == "cpu" and x.dtype == torch.float32 and x.ndim == 4 and dim == 1 and factor > 0
    if idle or not ours or torch.compiler.is_compiling():
        return bias_act_reference(x, bias, activation, gain=gain, clamp=clamp, dim=dim)
    learns = torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad))
    if not learns:
        return _finished(x, bias, activation, factor, clamp)
    added = x.new_zeros(x.shape[1]) if bias is None else bias.to(x.dtype)
    slope = factor * SLOPE if activation == "lrelu" else factor
    if not x.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous()
    curve = _Curve(slope, factor, math.inf if clamp is None else clamp)
    finished: Tensor = _BiasAct.apply(x, added, curve)
    return finished


@torch.no_grad()
def _finished(x: Tensor, bias: Tensor | None, activation: str, factor: float, clamp: float | None) -> Tensor:
    """Without the kernels, whose compiler would take 100 MB that a process which only makes images can do without."""
    if bias is None:
        y = x * factor
    else:
        y = torch.add((bias.to(x.dtype) * factor)[:, None, None], x, alpha=factor)
    if activation == "lrelu":
        F.leaky_relu_(y, SLOPE)
    return y if clamp is None else y.clamp_(-clamp, clamp)


def bias_act_reference(
    x: Tensor,
    bias: Tensor | None = None,
    activation: str = "linear",
    *,
    gain: float | None = None,
    clamp: float | None = None,
    dim: int = 1,
) -> Tensor:
    """The same by one function of torch after the other."""
    if bias is not None:
        x = x + bias.to(x.dtype).reshape([-1 if axis == dim else 1 for axis in range(x.ndim)])
    factor = DEFAULT_GAINS[activation] if gain is None else gain
    if activation == "lrelu":
        x = F.leaky_relu(x, SLOPE)
    if factor != 1:
        x = x * factor
    return x if clamp is None else x.clamp(-clamp, clamp)


def act_slope(
    gradient: Tensor, y: Tensor, activation: str = "linear", *, gain: float, clamp: float | None = None
) -> Tensor:
    """A gradient times the derivative of :func:`bias_act` by x, which its results ``y`` tell; a new tensor.

    Args:
        gradient: Of the shape of y.
        y: What :func:`bias_act` gave.
        activation: As it was told, and the next two.
        gain: Above zero.
        clamp: None: not clamped.
    """
    slope = gain * SLOPE if activation == "lrelu" else gain
    limit = math.inf if clamp is None else clamp
    if y.device.type == "cpu" and y.dtype == torch.float32 and y.ndim == 4:
        found: Tensor = _Slope.apply(gradient, y, _Curve(slope, gain, limit))
        return found
    return torch.where(y > 0, gradient * gain, gradient * slope) * (y.abs() < limit)


class _Curve(NamedTuple):
    """Factors below and above zero, and the largest magnitude."""

    slope: float
    gain: float
    limit: float

    def numbers(self) -> list[np.float32]:
        """In the precision of the kernels."""
        return [np.float32(number) for number in self]


class _BiasAct(torch.autograd.Function):
    """Maps ``[B, C, H, W]`` in either order of memory and a bias ``[C]`` to maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, curve: _Curve) -> Tensor:
        from lineament.ops.numba_cpu.bias_act import bias_act_rows

        out = torch.empty_like(x)
        of_rows = x.is_contiguous()
        arguments = (_rows(x), bias.detach().contiguous().numpy(), _rows(out), of_rows, *curve.numbers())
        _run(bias_act_rows, arguments)
        ctx.save_for_backward(out)
        ctx.curve = curve
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (out,) = ctx.saved_tensors
        of_x: Tensor = _Slope.apply(gradient, out.detach(), ctx.curve)
        return of_x, of_x.sum(dim=(0, 2, 3)) if ctx.needs_input_grad[1] else None, None


class _Slope(torch.autograd.Function):
    """A gradient times the derivative at results; the derivative itself has none."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, out: Tensor, curve: _Curve) -> Tensor:
        from lineament.ops.numba_cpu.bias_act import act_slope_rows

        order = torch.contiguous_format if out.is_contiguous() else torch.channels_last
        gradient = gradient.contiguous(memory_format=order)
        of_x = torch.empty_like(out)
        _run(act_slope_rows, (_rows(gradient), _rows(out), _rows(of_x), *curve.numbers()))
        ctx.save_for_backward(out)
        ctx.curve = curve
        return of_x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (out,) = ctx.saved_tensors
        again: Tensor = _Slope.apply(gradient, out, ctx.curve)
        return again, None, None


def _rows(x: Tensor) -> np.ndarray:
    """The memory of maps as rows: of one map each, or of the channels of a pixel."""
    x = x.detach()
    rows = x.flatten(0, 1).flatten(1) if x.is_contiguous() else x.permute(0, 2, 3, 1).flatten(0, 2)
    return rows.numpy()


def _run(kernel: Any, arguments: tuple[Any, ...]) -> None:
    rows, columns = arguments[0].shape
    parts = spans(rows, max(1, min(rows, 2 * shares(1))))
    run_tasks(kernel, arguments, parts, rows * columns // _VALUES_OF_A_PIXEL)

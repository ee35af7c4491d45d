"""The floor of a piece of work: the time that its convolutions and matrix products take by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lineament.pipeline.bench.timing import measure

_ATEN = torch.ops.aten
_PRODUCTS = {
    _ATEN.convolution,
    _ATEN.convolution_backward,
    _ATEN.mm,
    _ATEN.bmm,
    _ATEN.addmm,
    _ATEN.baddbmm,
}
# Convolutions of the library called by name: what they do with the result besides counts as a part of them.
_POINTWISE = [
    getattr(torch.ops.mkldnn, name)
    for name in ("_convolution_pointwise", "_convolution_pointwise_")
    if hasattr(torch.ops.mkldnn, name)
]
_PRODUCTS.update(_POINTWISE)


def _operations(function: Any, given: Any, named: dict[str, Any], output: Any) -> int:
    """Floating point operations of a call, by torch's own counts where it has them."""
    packet = function.overloadpacket
    if packet in _POINTWISE:
        # Without groups: the weight is the last of the first arguments with four sides (the image and its weight; or
        # three with what the result is added to in front).
        weight = [x for x in given[:3] if isinstance(x, Tensor) and x.ndim == 4][-1]
        return 2 * output.numel() * math.prod(weight.shape[1:])
    return int(flop_registry[packet](*given, **named, out_val=output)) if packet in flop_registry else 0


@dataclass(frozen=True)
class Floor:
    """What cannot be saved but by other networks.

    Attributes:
        ms: Milliseconds that the convolutions and products take, each called by itself on the values and in the order
            of memory that it got: sum over calls of the least time of each kind of call. Processor time; wall-clock
            time on a GPU.
        gflop: Floating point operations in them, in billions; a multiplication and an addition count as two.
        conv3x3_gflops: Billions of operations a second of a 3x3 convolution, 4 maps of 64 channels and 64 x 64 px.
        in_turn_ms: Milliseconds of the same calls one after the other in their order, least of the repeats: weights
            then come from where they lie between two calls, not from the cache that a repeated call finds them in. None
            where it was not asked for.
    """

    ms: float
    gflop: float
    conv3x3_gflops: float
    in_turn_ms: float | None = None

    def figures(self, ms: float) -> dict[str, float]:
        """The floor beside a measured time: share of it, also counted at the speed of the 3x3 convolution."""
        counted = 1e3 * self.gflop / self.conv3x3_gflops
        return {
            "floor_ms": self.ms,
            "share": self.ms / ms,
            "gflop": self.gflop,
            "conv3x3_gflops": self.conv3x3_gflops,
            "counted_floor_ms": counted,
            "counted_share": counted / ms,
        }


class _Recorder(TorchDispatchMode):
    """Keeps the arguments of one call of each kind of product, and how many of the kind there were; all if asked."""

    def __init__(self, in_turn: bool, filters: bool) -> None:
        super().__init__()
        self.in_turn, self.filters = in_turn, filters
        self.calls: dict[Any, tuple[Callable[[], Any], int]] = {}
        self.order: list[Callable[[], Any]] = []
        self.operations = 0

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), options: Any = None) -> Any:
        named = options or {}
        output = function(*given, **named)
        self.operations += _operations(function, given, named, output)
        if function.overloadpacket in _PRODUCTS and (self.filters or not _is_filter(function, given)):
            kind = (function, *map(_signature, given), *map(_signature, named.values()))
            again = lambda: function(*given, **named)  # noqa: E731
            if self.in_turn:
                self.order.append(again)
            call, count = self.calls.get(kind, (again, 0))
            self.calls[kind] = (call, count + 1)
        return output


def measure_floor(
    work: Callable[[], object],
    repeats: int = 5,
    device: str = "cpu",
    *,
    in_turn: bool = False,
    filters: bool = True,
) -> Floor:
    """Record what ``work`` multiplies and time it alone.

    Args:
        work: Called once.
        repeats: Timed calls of each kind, of which the fastest counts.
        device: Where it computes.
        in_turn: Time the calls in their order, too; what they read stays in memory until then.
        filters: Count depthwise convolutions with one kernel a channel, too; resampling filters are such. The number of
            operations always counts them.
    """
    with _Recorder(in_turn, filters) as recorder:
        work()
    ms = sum(count * _least_ms(call, repeats, device) for call, count in recorder.calls.values())
    maps, weight = torch.randn(4, 64, 64, 64, device=device), torch.randn(64, 64, 3, 3, device=device)
    orders = (torch.contiguous_format, torch.channels_last)
    ordered = [maps.contiguous(memory_format=order) for order in orders]
    fastest = min(_least_ms(partial(torch.conv2d, x, weight, padding=1), 20, device) for x in ordered)
    operations = 2 * 9 * 64 * maps.numel()
    ordered_ms = _least_ms(lambda: [call() for call in recorder.order], repeats, device) if in_turn else None
    return Floor(ms, recorder.operations / 1e9, 1e-6 * operations / fastest, ordered_ms)


@torch.no_grad()
def _least_ms(call: Callable[[], Any], repeats: int, device: str) -> float:
    timing = measure(call, repeats=repeats, warm_up=1, device=device)
    return timing.min_ms if device.startswith("cuda") else timing.process_min_ms


def _is_filter(function: Any, given: Any) -> bool:
    """Whether it is a convolution, or its gradient, with as many groups as channels, more than one."""
    if function.overloadpacket is _ATEN.convolution:
        return given[8] > 1 and given[8] == given[0].shape[1]
    return (
        function.overloadpacket is _ATEN.convolution_backward
        and given[9] > 1
        and given[9] == given[1].shape[1]
    )


def _signature(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_mkldnn:
        return (value.shape, value.dtype)
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype)
    return tuple(value) if isinstance(value, list) else value

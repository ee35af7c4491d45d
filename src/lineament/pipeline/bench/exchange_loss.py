"""The descriptor-exchange loss, forward and backward: time, extra memory and distance from the matrix-product floor.

The headline is two pairs of 48 x 48 maps with 64 channels, where the published code takes 4.27 + 12.05 s of one thread
and 3.1 GB. A table over map sizes shows time growing as N^2 and memory as N.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.ops.exchange import exchange_loss
from lineament.pipeline.bench.timing import Timing, measure, report

CHANNELS = 64
HEADLINE = (2, 48)  # pairs, side of the map
SIDES = (24, 35, 48, 70, 96)
# N x N x C products that loss and gradients cannot do without: 3 and 6. (11 when the scores are computed again in a
# backward pass; the Triton kernels do 14.)
PRODUCTS = 9
PUBLISHED_SECONDS, PUBLISHED_MEGABYTES = 4.27 + 12.05, 3118
SLOW_SECONDS = 1.0  # cases slower than this are repeated twice only


@dataclass(frozen=True)
class Cost:
    """Least processor (on a GPU: wall-clock) seconds of a call, and megabytes above the arguments at the peak."""

    forward_s: float
    backward_s: float
    extra_mb: float | None

    @property
    def total_s(self) -> float:
        """Forward and backward together."""
        return self.forward_s + self.backward_s


def maps(pairs: int, side: int, device: str = "cpu", seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random source and target maps at stride 2, true places a few pixels off, and the feature grid."""
    generator = torch.Generator().manual_seed(seed)
    features = 0.5 * torch.randn(2, pairs, CHANNELS, side, side, generator=generator)
    ys, xs = torch.meshgrid(torch.arange(side) * 2.0, torch.arange(side) * 2.0, indexing="ij")
    grid_xy = torch.stack([xs, ys], dim=-1).view(-1, 2)
    target_xy = grid_xy + 3 * torch.randn(pairs, side * side, 2, generator=generator)
    source, target = (part.clone().to(device).requires_grad_() for part in features)
    return source, target, target_xy.to(device), grid_xy.to(device)


def _status_megabytes(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


class PeakMemory:
    """Memory above the level at entry: resident set of the process on Linux, allocated memory on a GPU."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.megabytes: float | None = None

    def __enter__(self) -> PeakMemory:
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated() / 2**20
        elif sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(
                0
            )  # else freed blocks of earlier work are used again, and hide the need
            Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to the present
            self._before = _status_megabytes("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.startswith("cuda"):
            self.megabytes = torch.cuda.max_memory_allocated() / 2**20 - self._before
        elif sys.platform == "linux":
            self.megabytes = _status_megabytes("VmHWM") - self._before


def cost(pairs: int, side: int, *, device: str, repeats: int, normalize: bool, impl: str = "auto") -> Cost:
    """Measure one size; the first call is only looked at for its memory."""
    source, target, target_xy, grid_xy = maps(pairs, side, device)
    on_gpu = device.startswith("cuda")
    clock = time.perf_counter if on_gpu else time.process_time

    def now() -> float:
        if on_gpu:
            torch.cuda.synchronize()
        return clock()

    def call() -> tuple[float, float]:
        source.grad = target.grad = None
        start = now()
        loss = exchange_loss(source, target, None, target_xy, grid_xy, normalize=normalize, impl=impl)
        middle = now()
        loss.backward()
        return middle - start, now() - middle

    with PeakMemory(device) as memory:
        times = [call()]
    times += [call() for _ in range(min(repeats, 2) if sum(times[0]) > SLOW_SECONDS else repeats)]
    return Cost(min(t[0] for t in times[1:]), min(t[1] for t in times[1:]), memory.megabytes)


def growth(table: list[dict[str, Any]], key: str) -> float:
    """Exponent p of ``value ~ N ** p`` by least squares on the logarithms of the rows that have the value."""
    rows = [(math.log(row["points"]), math.log(row[key])) for row in table if row[key]]
    if len(rows) < 2:
        return math.nan
    x, y = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def product_speed(device: str, repeats: int) -> float:
    """Single-precision matrix-product speed, GFLOP/s by the clock that :func:`cost` uses, at 1024 (GPU: 8192) cubed."""
    size = 8192 if device.startswith("cuda") else 1024
    left = torch.randn(size, size, device=device)
    out = torch.empty_like(left)
    timing = measure(lambda: torch.mm(left, left, out=out), repeats=max(repeats, 5), device=device)
    milliseconds = timing.min_ms if device.startswith("cuda") else min(timing.process_ms, timing.min_ms)
    return 2 * size**3 / milliseconds / 1e6


def run(*, device: str = "cpu", repeats: int = 5) -> dict[str, Any]:
    """Measure the loss at the headline size and over map sizes.

    Args:
        device: Where the maps lie.
        repeats: Timed calls per size after one that compiles and measures memory; slow sizes take two.

    Returns:
        Headline figures (``report`` form: median_ms and so on hold the least processor time of forward plus backward),
        the machine's product speed in this run, the floor it implies, ``table`` with one row per map side (one pair),
        and the exponents by which time and memory grow with the number of points over the table.
    """
    cost(1, 8, device=device, repeats=1, normalize=True)  # compiles
    pairs, side = HEADLINE
    speed = product_speed(device, repeats)

    def floor_s(of: int, points: int) -> float:
        return PRODUCTS * 2 * CHANNELS * of * points**2 / speed / 1e9

    headline = cost(pairs, side, device=device, repeats=repeats, normalize=True)
    raw = cost(pairs, side, device=device, repeats=repeats, normalize=False)
    table = []
    for each in SIDES:
        single = cost(1, each, device=device, repeats=repeats, normalize=True)
        table.append(
            {
                "side": each,
                "points": each**2,
                "forward_s": round(single.forward_s, 4),
                "backward_s": round(single.backward_s, 4),
                "total_s": round(single.total_s, 4),
                "ns_per_point_pair": round(single.total_s / each**4 * 1e9, 2),
                "share_of_floor": round(floor_s(1, each**2) / single.total_s, 3),
                "extra_mb": None if single.extra_mb is None else round(single.extra_mb, 1),
            }
        )
    twin = cost(pairs, side, device=device, repeats=1, normalize=True, impl="reference")
    milliseconds = headline.total_s * 1e3
    return report(
        f"{pairs} pairs of {side} x {side} maps, {CHANNELS} channels, normalised, forward and backward",
        Timing(milliseconds, milliseconds, milliseconds, milliseconds),
        forward_s=headline.forward_s,
        backward_s=headline.backward_s,
        extra_mb=headline.extra_mb,
        raw_vectors_s=raw.total_s,
        twin_s=twin.total_s,
        twin_extra_mb=twin.extra_mb,
        published_code_s=PUBLISHED_SECONDS,
        published_code_extra_mb=PUBLISHED_MEGABYTES,
        times_faster_than_published=PUBLISHED_SECONDS / headline.total_s,
        product_gflops=speed,
        floor_s=floor_s(pairs, side**2),
        share_of_floor=floor_s(pairs, side**2) / headline.total_s,
        time_grows_as_points_to=growth(table, "total_s"),
        memory_grows_as_points_to=growth(table, "extra_mb"),
        table=table,
    )

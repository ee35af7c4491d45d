"""GMPI's generator on one thread: a multiplane image beside its bare convolutions and a plain twin, and its memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from lineament.pipeline.bench.floor import measure_floor
from lineament.pipeline.bench.gmpi_memory import build, measure_memory
from lineament.pipeline.bench.gmpi_twin import multiplane
from lineament.pipeline.bench.timing import measure_in_turn, report

SIZE, PLANES = 256, 32
LARGE_SIZE, MANY_PLANES = 1024, 96


@torch.no_grad()
def run(*, device: str = "cpu", repeats: int = 20) -> dict[str, Any]:
    """Measure one image at a time in float32, random weights of the published sizes, alpha conditioned on depth.

    Args:
        device: Where to compute.
        repeats: Timed calls; the twin has a quarter of them.

    Returns:
        Headline: 256 px and 32 planes with their colours, ``[1, 32, 4, 256, 256]``, noise drawn anew, beside the plain
        twin. ``cpu_s``: the least processor time in seconds (wall-clock time on a GPU); ``floor_ms`` and
        ``times_floor``: the bare convolutions and products of the network, resampling filters left out, each repeated
        by itself, and the ratio to them; ``times_in_turn``: to the same calls in their order; ``lean_ms``: alpha,
        colour and background alone. ``memory_mb``: what it takes at its peak above a process with the weights loaded,
        and ``large_peak_mb`` of a whole process that makes 96 planes of 1024 px.
    """
    started = time.perf_counter()
    network, z = build(SIZE, PLANES).to(device), torch.randn(1, 512, device=device)
    with_colours: Callable[[], object] = lambda: network(z).rgba()  # noqa: E731
    timing, lean = measure_in_turn([with_colours, lambda: network(z)], repeats=repeats, device=device)
    (twin,) = measure_in_turn(
        [lambda: multiplane(network, z, network.plane_depths)],
        repeats=max(1, repeats // 4),
        warm_up=1,
        device=device,
    )
    gpu = device.startswith("cuda")
    least = timing.min_ms if gpu else timing.process_min_ms
    bare = measure_floor(with_colours, max(5, repeats // 2), device, in_turn=True, filters=False)
    assert bare.in_turn_ms is not None
    floor = bare.figures(least)
    small, large = (
        (None, None) if gpu else (measure_memory(SIZE, PLANES), measure_memory(LARGE_SIZE, MANY_PLANES))
    )
    return report(
        f"a multiplane image of {SIZE} px and {PLANES} planes, float32, batch 1",
        timing,
        twin,
        cpu_s=least / 1e3,
        twin_cpu_s=(twin.min_ms if gpu else twin.process_min_ms) / 1e3,
        times_floor=1 / floor["share"],
        times_in_turn=least / bare.in_turn_ms,
        lean_ms=lean.min_ms if gpu else lean.process_min_ms,
        **floor,
        **({} if small is None else {"loaded_mb": small[0], "memory_mb": small[1] - small[0]}),
        **({} if large is None else {"large_peak_mb": large[1]}),
        seconds=time.perf_counter() - started,
    )

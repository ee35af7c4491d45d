"""Times a function: warm-up, repeats, median and range."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """Milliseconds per call after the warm-up."""

    median_ms: float
    min_ms: float
    max_ms: float
    process_ms: float  # median processor time of this process, all threads together
    process_min_ms: float = 0.0  # least processor time


def measure(function: Callable[[], object], *, repeats: int, warm_up: int = 3, device: str = "cpu") -> Timing:
    """Time ``function``.

    Args:
        function: Called ``warm_up + repeats`` times; the warm-up also compiles what is compiled on first use.
        repeats: Timed calls, at least 1.
        warm_up: Untimed calls before them.
        device: Where the work runs; a GPU is waited for before each clock reading.

    Returns:
        Median, least and greatest wall-clock time, and the median and least processor time.
    """
    return measure_in_turn([function], repeats=repeats, warm_up=warm_up, device=device)[0]


def measure_in_turn(
    functions: Sequence[Callable[[], object]], *, repeats: int, warm_up: int = 3, device: str = "cpu"
) -> list[Timing]:
    """Time several functions, one call of each after the other, so that a busy machine slows all of them alike.

    Args:
        functions: What to time; the other arguments are those of :func:`measure`.
        repeats: Timed calls of each.
        warm_up: Untimed calls of each.
        device: Where the work runs.
    """
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    for _ in range(warm_up):
        for function in functions:
            function()
    walls: list[list[float]] = [[] for _ in functions]
    processes: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for number, function in enumerate(functions):
            wait()
            wall, process = time.perf_counter(), time.process_time()
            function()
            wait()
            walls[number].append((time.perf_counter() - wall) * 1e3)
            processes[number].append((time.process_time() - process) * 1e3)
    return [
        Timing(statistics.median(wall), min(wall), max(wall), statistics.median(process), min(process))
        for wall, process in zip(walls, processes, strict=True)
    ]


def processor_name() -> str:
    """Model of the processor as the system names it, with the instruction set that torch's kernels use."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        # Virtual machines often hide the model's number; family and model identify the generation.
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if "model name" in facts:
            generation = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
            model = f"{facts['model name']} ({generation})"
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def report(work: str, timing: Timing, reference: Timing | None = None, **extra: Any) -> dict[str, Any]:
    """Figures of one bench in the form that ``lineament bench`` prints.

    Args:
        work: What one call does, with its sizes, for example ``"3 views of 96 x 96"``.
        timing: Of the fast implementation.
        reference: Of the reference twin in the same process; adds ``reference_ms`` and ``ratio`` (reference / ours).
        **extra: More figures.

    Returns:
        A dictionary of numbers rounded to microseconds, and words.
    """
    figures: dict[str, Any] = {
        "median_ms": timing.median_ms,
        "min_ms": timing.min_ms,
        "max_ms": timing.max_ms,
        "process_ms": timing.process_ms,
        "work": work,
    }
    if reference is not None:
        figures |= {"reference_ms": reference.median_ms, "ratio": reference.median_ms / timing.median_ms}
    figures |= extra
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}

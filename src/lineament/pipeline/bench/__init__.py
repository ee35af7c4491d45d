"""Speed measurements, one file per bench.

A bench is a module with ``run(*, device: str, repeats: int) -> dict`` (and ``packs: Path | None`` if it can use the
data packs) that returns :func:`lineament.pipeline.bench.timing.report`.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from lineament.denormals import flush_denormals
from lineament.errors import UsageError, unknown_name

# Name -> (module in this folder, one line of help). Modules are imported only when their bench runs.
BENCHES: dict[str, tuple[str, str]] = {
    "ceilings": ("ceilings", "matrix products and copies: what the device can do at best"),
    "rasterize": ("rasterize", "draw a head mesh in three views of 96 x 96, forward and backward"),
    "facewarp": ("facewarp", "warp one face of 80 x 80 and one of 512 x 512 over 107 triangles"),
    "synth": ("synth", "draw synthetic faces of 128 x 128"),
    "detect": ("detect", "find faces in photos"),
    "crops": ("crops", "prepare face crops, and read them against decoding photos"),
    "dve": ("dve", "a training step on dense descriptors, and pair warps with landmarks"),
    "exchange-loss": ("exchange_loss", "the descriptor exchange loss, forward and backward"),
    "fabrec": ("fabrec", "3FabRec at 256 px: structural loss, a training step, landmarks"),
    "photo": ("photo", "a photo from pixels to landmarks, the first of a process, a tracked video"),
    "landmarks": ("landmarks", "landmarks of faces beside the bare convolutions, and a training step"),
    "mpi": ("mpi", "render a multiplane image of 96 planes, exact, stopped early, and backward"),
    "depthnet": ("depthnet", "training steps of DepthNets and the scoring of 50,400 pairs"),
    "gmpi-generator": (
        "gmpi_generator",
        "a multiplane image of 256 px and 32 planes beside its bare convolutions",
    ),
    "gmpi-step": ("gmpi_step", "a training step of GMPI at 64 px beside its bare convolutions"),
}


def run_bench(
    name: str,
    *,
    device: str = "cpu",
    threads: int | None = None,
    repeats: int = 20,
    packs: Path | None = None,
) -> dict[str, Any]:
    """Run one bench in this process.

    Args:
        name: A key of ``BENCHES``.
        device: ``"cpu"`` or ``"cuda"`` (or ``"cuda:1"`` ...).
        threads: CPU threads during the bench; None keeps torch's setting.
        repeats: Timed repeats after the warm-up, at least 1.
        packs: Folder of the data packs, for benches that use real data.

    Returns:
        The bench's figures and ``name``, ``device``, ``threads``, ``processor`` (its model) and ``flush_to_zero``
        (whether ours and the twin were both measured with subnormal numbers taken for zero, as the command line
        computes; False where the processor cannot); everything JSON can hold.

    Raises:
        UsageError: If the name is unknown, a number too small, or the device absent.
    """
    if name not in BENCHES:
        raise unknown_name("bench", name, BENCHES)
    if repeats < 1 or (threads is not None and threads < 1):
        raise UsageError(f"repeats and threads must be at least 1, got repeats={repeats}, threads={threads}.")
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"device {device!r} cannot be used ({reason}): choose --device cpu.") from error
    from lineament.pipeline.bench.timing import processor_name

    run = importlib.import_module(f"lineament.pipeline.bench.{BENCHES[name][0]}").run
    options: dict[str, Any] = {"device": device, "repeats": repeats, "packs": packs}
    known = inspect.signature(run).parameters
    if device != "cpu" and "device" not in known:
        raise UsageError(f"the bench {name!r} computes on the CPU alone: leave --device {device} out.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with flush_denormals() as flushed:
            figures = run(**{key: value for key, value in options.items() if key in known})
        return {
            "name": name,
            **figures,
            "device": device,
            "threads": torch.get_num_threads(),
            "processor": processor_name(),
            "flush_to_zero": flushed,
        }
    finally:
        torch.set_num_threads(before)

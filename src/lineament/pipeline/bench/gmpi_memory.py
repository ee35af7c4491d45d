"""Peak memory of making one multiplane image, of a process that does nothing else.

``python -m lineament.pipeline.bench.gmpi_memory RESOLUTION PLANES`` prints megabytes: of the process with the weights
loaded, and at its peak while it makes the planes with their colours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from lineament.methods.gmpi.generator import GMPIGenerator

# FFHQ's planes, which lie evenly in one over the distance.
_NEAR, _FAR = 0.95, 1.12


def plane_depths(count: int) -> torch.Tensor:
    """Normalised depths ``[count]`` of planes that lie evenly in one over the distance."""
    distances = 1 / torch.linspace(1 / _NEAR, 1 / _FAR, count)
    return ((distances - _NEAR) / (_FAR - _NEAR)).clamp(0, 1)


def build(resolution: int, planes: int, variant: str = "plane-depth") -> GMPIGenerator:
    """A generator of the published size with random weights, in evaluation mode."""
    base = 16384 if resolution <= 256 else 32768
    network = GMPIGenerator(resolution, plane_depths(planes), variant=variant, channel_base=base)
    return network.eval().requires_grad_(False)


def measure_memory(resolution: int, planes: int) -> tuple[float, float] | None:
    """Megabytes of a fresh process: with the weights loaded, and at its peak; Linux only."""
    if sys.platform != "linux":
        return None
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(resolution), str(planes)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    loaded, peak = map(float, done.stdout.split())
    return loaded, peak


def _megabytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def main(arguments: list[str]) -> None:
    """Make one multiplane image of random latents and print what it took."""
    resolution, planes = map(int, arguments)
    network = build(resolution, planes)
    # Begins the peak anew.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    loaded = _megabytes("VmRSS")
    with torch.no_grad():
        network(torch.randn(1, network.z_dim)).rgba()
    print(loaded, _megabytes("VmHWM"))


if __name__ == "__main__":
    main(sys.argv[1:])

"""What a session of training ran on, for provenance."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import lineament
from lineament.data.sample import Source
from lineament.denormals import flushes_denormals


def source_commit() -> str | None:
    """Return the git commit of Lineament's own checkout, with ``+`` when files differ from it; None outside one."""
    package = Path(lineament.__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(package), *words], capture_output=True, text=True, check=False, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie inside somebody else's repository, whose commit says nothing about this code.
    root = git("rev-parse", "--show-toplevel")
    if root is None or not (Path(root) / "src" / "lineament" / "errors.py").is_file():
        return None
    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "src")
    return f"{commit[:12]}{'+' if changed else ''}" if commit else None


def session_facts(
    device: torch.device, world: int, workers: int, step: int, source: Source[Any]
) -> dict[str, Any]:
    """Return versions, device, threads and commit as JSON values.

    Args:
        device: Where the networks are.
        world: Number of processes.
        workers: Data workers of each.
        step: Steps done when the session starts.
        source: What it trains on.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "first_step": step,
        "lineament": lineament.__version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
        "flush_to_zero": flushes_denormals(),
        "processes": world,
        "workers": workers,
        "data_name": source.name,
        "data_samples": len(source),
        "data_fingerprint": source.fingerprint,
    }

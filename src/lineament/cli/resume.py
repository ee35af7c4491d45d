"""`lineament resume`: go on with an interrupted run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lineament.cli.parse import parse


@dataclass
class Command:
    """Go on with an interrupted run from its newest whole checkpoint, as if it had never stopped."""

    # Run directory that `lineament train` wrote.
    run: tyro.conf.Positional[Path]
    # Where to compute; auto takes a CUDA device when there is one.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Processes that prepare data; 0 prepares it in the training process.
    workers: int = 0


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "resume", arguments)

    from lineament.training.loop import LoopOptions, resume

    run = resume(command.run, options=LoopOptions(device=command.device, workers=command.workers))
    print(run.report)
    return 0

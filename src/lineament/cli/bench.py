"""`lineament bench`: measures one kernel or stage and prints one JSON line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lineament.cli.parse import parse
from lineament.pipeline.bench import BENCHES, run_bench

_NAMES = "; ".join(f"{name} ({summary})" for name, (_, summary) in BENCHES.items())


@dataclass
class Command:
    """Measure speed on this machine and print one JSON line (milliseconds per call)."""

    name: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME", help=f"What to measure: {_NAMES}.")
    ]
    threads: int | None = None
    """CPU threads; by default as many as torch uses."""
    repeats: int = 20
    """Timed calls after the warm-up."""
    device: str = "cpu"
    """Where to run: cpu, cuda, cuda:1 ..."""
    packs: Path | None = None
    """Folder of the real data packs, for benches that can use them."""


def main(arguments: list[str]) -> int:
    """Run the bench and print its figures."""
    command = parse(Command, "bench", arguments)
    figures = run_bench(
        command.name,
        device=command.device,
        threads=command.threads,
        repeats=command.repeats,
        packs=command.packs,
    )
    print(json.dumps(figures))
    return 0

"""`lineament demo`: one real photo with the shipped model, then everything on built-in faces."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from lineament.cli.parse import parse


@dataclass
class Command:
    """Mark a real photo with the shipped model, in seconds; then train, evaluate and draw everything on built-in faces.

    Writes OUT/figures/photo.png first, and OUT/report.html at the end.
    """

    # Folder for runs, figures and report.
    out: Path = Path("runs/demo")
    # Train on the morphable head and the real portraits of the data packs, and measure on held-out portraits.
    real: bool = False
    # Folder of the data packs; when not given LINEAMENT_PACKS, else where `lineament data fetch`
    # writes. Only with --real.
    packs: Path | None = None
    # Seed of faces, training and measurements.
    seed: int = 0
    # Only a few steps on a few faces: shows that everything works, teaches nothing.
    tiny: bool = False
    # Replace an older demo in the same folder.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "demo", arguments)

    from lineament.packs import find_packs
    from lineament.pipeline.demo.run import plan_named, run_demo
    from lineament.progress import progress

    plan = plan_named(real=command.real, tiny=command.tiny)
    packs = find_packs(command.packs) if command.real else None
    words = shlex.join(["lineament", "demo", *arguments])
    report = run_demo(
        plan,
        command.out,
        seed=command.seed,
        packs=packs,
        progress=progress,
        overwrite=command.overwrite,
        command=words,
        tell=lambda words: print(words, flush=True),
    )
    print(report.photo.sentence)
    print(report.path)
    return 0

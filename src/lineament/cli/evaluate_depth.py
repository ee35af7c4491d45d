"""`lineament evaluate depth`: scores depths of keypoints over all pairs of faces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Score runs of DepthNets and AIGN, or depths from a file (MOFA), on faces with known depths.

    Prints DepthCorr and keypoint error as metric cards and writes them into RUN/evaluations, or to --out. Example:
    `lineament evaluate depth runs/depthnet --data 3dfaw-keypoints:/data/3dfaw?split=test --figures figures/`.
    """

    # Run directories, or .npz files with ids and kps (n x 3 or more x 66, depth last).
    subject: Positional[tuple[Path, ...]]
    # Faces: 3dfaw-keypoints:FOLDER?split=test, synthetic-keypoints?split=test&head=ict, ...
    data: str
    # Use only the first so many faces; 0 uses all (the published valid score takes 225).
    count: int = 0
    # Write the predicted depths of all pairs to this .npz (one run only; N x N x 66 numbers).
    dump: Path | None = None
    # Draw the figures of the paper into this folder.
    figures: Path | None = None
    # File for the cards (one subject only).
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "evaluate depth", arguments)
    from lineament.data.registry import open_data
    from lineament.errors import UsageError
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate_depth import draw_figures, grid_text, score_subject

    if not command.subject or command.count < 0:
        raise UsageError("give at least one run or file to score, and a --count of 0 or more.")
    if len(command.subject) > 1 and (command.dump or command.out):
        raise UsageError("--dump and --out name one file: score one run at a time with them.")
    source = open_data(command.data)
    data = re.sub(r"[^\w.-]+", "-", source.name).strip("-") or "data"
    scored = []
    for subject in command.subject:
        result = score_subject(subject, source, command.count, command.dump)
        scored.append(result)
        print(f"== {result.name}")
        for card in result.cards:
            print(card.text())
        if grid_text(result.scores):
            print(grid_text(result.scores))
        beside = subject.with_name(f"{subject.stem}-depth-{data}.cards.json")
        path = command.out or (subject / "evaluations" / f"depth-{data}.json" if subject.is_dir() else beside)
        write_cards(result.cards, path)
        print(f"wrote {path}")
    if command.dump:
        print(f"wrote {command.dump}")
    if command.figures:
        for drawn in draw_figures(scored, command.figures):
            print(f"wrote {drawn}")
    return 0

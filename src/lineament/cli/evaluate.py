"""`lineament evaluate`: scores a run, or a file of predictions, on labelled data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Score a run, or a file of predicted landmarks, on labelled data; prints metric cards.

    Writes the cards as json: into RUN/evaluations, or to --out. Example:
    `lineament evaluate runs/dve-landmarks --data mafl:/data/celeba --protocol landmarks`.
    """

    # Run directory, or a label file (json, csv) with predictions by picture name (landmarks protocol only).
    subject: Positional[Path]
    # Labelled data: a folder, NAME:FOLDER, or NAME?option=value (see `lineament data list`).
    data: str
    # landmarks: error of the landmarks; matching: error of matched landmarks between warps and identities.
    protocol: Literal["landmarks", "matching"] = "landmarks"
    # Use only the first so many samples; 0 uses all.
    count: int = 0
    # Landmark scheme to compare in; the labels' own when not given.
    scheme: str | None = None
    # What errors are divided by: inter-ocular, inter-pupil, box, diagonal.
    normaliser: str = "inter-ocular"
    # Move and scale each face box by up to this share of its side (landmarks protocol).
    box_jitter: float = 0.0
    # Seed of everything random in the protocol.
    seed: int = 0
    # File for the cards.
    out: Path | None = None
    # Where the model runs: cpu or cuda.
    device: str = "cpu"


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "evaluate", arguments)
    from lineament.data.registry import open_data
    from lineament.errors import UsageError
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate import EvaluateOptions, default_card_path, evaluate

    if command.count < 0 or not 0 <= command.box_jitter < 1:
        raise UsageError("--count is at least 0 and --box-jitter in 0..1.")
    options = EvaluateOptions(
        command.protocol,
        command.count,
        command.scheme,
        command.normaliser,
        command.box_jitter,
        command.seed,
        command.device,
    )
    source = open_data(command.data)
    cards = evaluate(command.subject, source, options)
    path = command.out or default_card_path(command.subject, source, options)
    write_cards(cards, path)
    for card in cards:
        print(card.text())
    print(f"wrote {path}")
    return 0

"""`lineament models pack`: a run as a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Write the best weights of a run as a model folder: weights.safetensors, model.json and its card README.md.

    Figures are the metric cards in RUN/evaluations, which `lineament evaluate` writes. Example:
    `lineament models pack runs/marks models/my-marks --card marks.yaml`.
    """

    # Run directory.
    run: Positional[Path]
    # Folder to make; its name is the model's.
    folder: Positional[Path]
    # What people should know, a YAML file: summary, licence, data, training, limits, tags.
    card: Path | None = None
    # Replace an older model there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "models pack", arguments)

    from lineament.training.model_card import ModelCard, read_card
    from lineament.training.model_folder import write_model
    from lineament.training.run import open_run

    card = ModelCard() if command.card is None else read_card(command.card)
    model = write_model(open_run(command.run), command.folder, card, overwrite=command.overwrite)
    sizes = model.facts["sizes"]
    print(
        f"{model.folder}: {model.summary}, {sizes['parameters']:,} parameters, {sizes['bytes'] / 1e6:.1f} MB"
    )
    return 0

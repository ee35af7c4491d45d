"""`lineament models pack`: a run as a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Write the best weights of a run as a model folder: weights.safetensors, model.json and its card README.md.

    Figures are the metric cards in RUN/evaluations, which `lineament evaluate` writes. --faces measures how uncertain
    the points of a face may be; what is less certain is taken for no face. Example:
    `lineament models pack runs/marks models/my-marks --card marks.yaml --faces 'synthetic:faces/?split=val'`.
    """

    # Run directory.
    run: Positional[Path]
    # Folder to make; its name is the model's.
    folder: Positional[Path]
    # What people should know, a YAML file: summary, licence, data, training, limits, tags.
    card: Path | None = None
    # Held-out faces, one in each image, named as for --data of `lineament train`; of a landmark model.
    faces: tuple[str, ...] = ()
    # Replace an older model there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "models pack", arguments)

    from lineament.training.model_card import ModelCard, read_card
    from lineament.training.model_folder import write_model
    from lineament.training.run import open_run

    card = ModelCard() if command.card is None else read_card(command.card)
    run = open_run(command.run)
    limit = _limit(command.run, command.faces) if command.faces else None
    model = write_model(run, command.folder, card, limit=limit, overwrite=command.overwrite)
    sizes = model.facts["sizes"]
    if limit is not None:
        print(
            f"uncertainty of {limit['faces']:,} faces: {100 * limit['typical']:.2f} % of the box or less for "
            f"{100 * limit['quantile']:g} % of them; above {100 * limit['value']:.2f} % it is taken for no face."
        )
    print(
        f"{model.folder}: {model.summary}, {sizes['parameters']:,} parameters, {sizes['bytes'] / 1e6:.1f} MB"
    )
    return 0


def _limit(run: Path, faces: tuple[str, ...]) -> dict[str, Any]:
    from lineament.inference import load
    from lineament.pipeline.evaluate.uncertainty import measure_limit
    from lineament.progress import progress
    from lineament.training.sources import open_joined

    return measure_limit(load(run), open_joined(faces), faces, progress=progress).to_json()

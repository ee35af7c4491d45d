"""`lineament models`: the models that can be named."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lineament.cli.parse import parse


@dataclass
class Command:
    """List the models that can be named with --model and --base: those of the package and of LINEAMENT_MODELS.

    LINEAMENT_MODELS names folders of model folders, separated as in PATH. `lineament models pack` makes a model folder.
    """

    # Print JSON instead of a table.
    json: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "models", arguments)

    from lineament.pipeline.list_models import list_models, models_table

    models = list_models()
    if command.json:
        print(json.dumps([model.to_json() for model in models], indent=1, ensure_ascii=False))
    elif models:
        print(models_table(models))
    else:
        print("no models come with this version of lineament, and LINEAMENT_MODELS names none.")
    return 0

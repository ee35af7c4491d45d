"""`lineament train`: train a recipe; the fields of its config are the options."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from lineament.cli.parse import begin_work

HELP = """usage: lineament train RECIPE [--data DATA ...] [--preset NAME] [--field value ...]

Train a recipe into a run directory. `lineament recipes` lists what can be trained;
`lineament train RECIPE --help` shows every option of one recipe.
"""


@dataclass(frozen=True)
class TrainOptions:
    """What every recipe can be told besides its own fields."""

    # Data to train on: folders, NAME:FOLDER, or NAME?option=value (see `lineament data list`); several are joined.
    data: tuple[str, ...] = ()
    # Data for evaluation and figures; the training data when none is given.
    validation: tuple[str, ...] = ()
    # Label file of the data, of any tool (docs/labels.md): only its labelled faces take part.
    annotations: Path | None = None
    # Run directory to make; runs/RECIPE when not given.
    run: Path | None = None
    # Named set of field values to start from.
    preset: str | None = None
    # Where to compute; auto takes a CUDA device when there is one.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # 32-true, or bf16-mixed: the networks compute in bfloat16 where that is safe.
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    # Processes that prepare data; 0 prepares it in the training process.
    workers: int = 0
    # Replace an older run in the same directory.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP)
        return 0 if arguments else 2

    from lineament.data.registry import with_labels
    from lineament.errors import UsageError
    from lineament.faces.schemes import as_scheme
    from lineament.methods import register_all

    name, *rest = arguments
    if name.startswith("-"):
        raise UsageError(f"the recipe comes first, before {name!r}: lineament train RECIPE --field value.")
    if "/" in name or Path(name).exists():
        raise UsageError(
            f"{name!r} is a path and no recipe, which comes first: lineament train RECIPE --data {name} "
            "(`lineament recipes` lists them)."
        )
    register_all()
    from lineament.training.config import config_from_dict
    from lineament.training.registry import get_recipe, preset_fields
    from lineament.training.sources import labels_scheme, open_joined

    cls = get_recipe(name)
    start = config_from_dict(cls.config_class, preset_fields(cls, _given_preset(rest)))
    command, config = _parse(name, cls.config_class, start, rest)

    begin_work()
    # Imported after the words are understood: Lightning Fabric takes seconds, a typing error should not.
    from lineament.training.loop import LoopOptions, train

    data = command.data or (cls.default_data,)
    if command.annotations is not None:
        data = tuple(with_labels(text, command.annotations) for text in data)
    source = open_joined(data)
    if hasattr(config, "scheme") and not any(word.partition("=")[0] == "--scheme" for word in rest):
        found = labels_scheme(source, config.scheme)
        if found != config.scheme:
            print(f"learning the scheme of the labels: {as_scheme(found).name}")
            config = dataclasses.replace(config, scheme=found)
    validation = open_joined(command.validation) if command.validation else None
    run = train(
        cls(config),
        source,
        command.run or Path("runs") / name,
        validation=validation,
        options=LoopOptions(command.device, command.precision, command.workers),
        data=data,
        validation_data=command.validation,
        overwrite=command.overwrite,
    )
    print(run.report)
    return 0


def _given_preset(arguments: list[str]) -> str | None:
    """Find the preset before the options are parsed: it sets the defaults that --help shows."""
    for i, word in enumerate(arguments):
        if word.startswith("--preset="):
            return word.partition("=")[2]
        if word == "--preset" and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def _parse(name: str, config_class: type, start: Any, arguments: list[str]) -> tuple[TrainOptions, Any]:
    """Parse the options of one recipe: those of training and the fields of its config side by side."""
    import tyro

    from lineament.training.config import field_comments

    # A recipe that only changes the default of a common field need not repeat its comment: it is looked up here.
    comments = field_comments(config_class)
    hints: dict[str, Any] = get_type_hints(config_class)
    fields: list[Any] = [("training", tyro.conf.OmitArgPrefixes[TrainOptions], TrainOptions())]
    for field in dataclasses.fields(config_class):
        shown = tyro.conf.arg(help=comments.get(field.name, ""))
        helped = Annotated[hints[field.name], shown]  # type: ignore[valid-type,name-defined]
        fields.append((field.name, helped, dataclasses.field(default=getattr(start, field.name))))
    command = dataclasses.make_dataclass("Command", fields, frozen=True)
    parsed: Any = tyro.cli(
        command, args=arguments, prog=f"lineament train {name}", description=f"Train {name}."
    )
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(config_class)}
    return parsed.training, config_class(**values)

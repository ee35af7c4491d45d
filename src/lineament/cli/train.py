"""`lineament train`: train a recipe; the fields of its config are the options."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_type_hints

from lineament.cli.parse import begin_work, refuse_missing_values
from lineament.training.registry import RecipeEntry

HELP = """usage: lineament train RECIPE [--data DATA ...] [--preset NAME] [--field value ...]

Train a recipe into a run directory. `lineament recipes` lists what can be trained;
`lineament train RECIPE --help` shows every option of one recipe.
"""

C = TypeVar("C")


@dataclass(frozen=True)
class TrainOptions:
    """What every recipe can be told besides its own fields."""

    # Data to train on: folders, NAME:FOLDER, or NAME?option=value (see `lineament data list`); several are joined.
    data: tuple[str, ...] = ()
    # Label file of the data, of any tool (docs/labels.md): only its labelled faces take part.
    annotations: Path | None = None
    # Data for evaluation and figures; the training data when none is given.
    validation: tuple[str, ...] = ()
    # Run directory to make; runs/RECIPE when not given.
    run: Path | None = None
    # Named set of field values to start from.
    preset: str | None = None
    # Settings of an older program to take fields from (GMPI's gmpi.yml or config.pth: the variant); --field goes first.
    config: Path | None = None
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

    from lineament.errors import UsageError
    from lineament.faces.schemes import as_scheme
    from lineament.training.registry import get_recipe

    name, *rest = arguments
    if name.startswith("-"):
        raise UsageError(f"the recipe comes first, before {name!r}: lineament train RECIPE --field value.")
    if "/" in name or Path(name).exists():
        raise UsageError(
            f"{name!r} is a path and no recipe, which comes first: lineament train RECIPE --data {name} "
            "(`lineament recipes` lists them)."
        )
    entry = get_recipe(name)
    preset, settings = _given("preset", rest), _given("config", rest)
    told = entry.recipe_class.fields_of_settings(Path(settings)) if settings else {}
    options, config = _parse(entry, entry.config(preset, **told), rest)
    # Built twice where labels bring their scheme: what is wrong with the fields is said before data are read.
    recipe = entry.build(config, preset=preset)
    data = _data(options, entry)

    begin_work()
    from lineament.training.sources import labels_scheme, open_joined

    source = open_joined(data)
    if hasattr(config, "scheme") and not any(word.partition("=")[0] == "--scheme" for word in rest):
        found = labels_scheme(source, recipe.config.scheme)
        if found != recipe.config.scheme:
            print(f"learning the scheme of the labels: {as_scheme(found).name}")
            recipe = entry.build(replace(config, scheme=found), preset=preset)
    validation = open_joined(options.validation) if options.validation else None
    # Imported after the words are understood: Lightning Fabric takes seconds, a typing error should not.
    from lineament.training.loop import LoopOptions, train

    run = train(
        recipe,
        source,
        options.run or Path("runs") / name,
        validation=validation,
        options=LoopOptions(options.device, options.precision, options.workers),
        data=data,
        validation_data=options.validation,
        overwrite=options.overwrite,
    )
    print(run.report)
    return 0


def _given(option: str, arguments: list[str]) -> str | None:
    """Find an option before the others are parsed: the preset and old settings set the defaults that --help shows."""
    for i, word in enumerate(arguments):
        if word.startswith(f"--{option}="):
            return word.partition("=")[2]
        if word == f"--{option}" and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def _data(options: TrainOptions, entry: RecipeEntry) -> tuple[str, ...]:
    """What to train on, as :func:`lineament.data.registry.parse_data` reads it."""
    from lineament.data.registry import with_labels

    if not options.data and entry.data != "none":
        faces = "drawn faces" if entry.data.startswith("synthetic") else "the recipe's own data set"
        print(f"no --data is given: training on {entry.data} ({faces}).", file=sys.stderr)
    data = options.data or (entry.data,)
    if options.annotations is not None:
        data = tuple(with_labels(text, options.annotations) for text in data)
    return data


@dataclass(frozen=True)
class _Command(Generic[C]):
    """The options of training and the fields of a config, side by side."""

    training: TrainOptions
    config: C


def _parse(entry: RecipeEntry, start: Any, arguments: list[str]) -> tuple[TrainOptions, Any]:
    """Parse the options of one recipe; the fields of ``start`` are the defaults that --help shows."""
    import tyro

    verb = f"train {entry.name}"
    for part in (TrainOptions, entry.config_class):
        refuse_missing_values(part, verb, arguments)
    parsed: Any = tyro.cli(
        _Command[entry.config_class],  # type: ignore[name-defined]
        args=_spelt_out(entry.config_class, arguments),
        default=_Command(TrainOptions(), start),
        prog=f"lineament {verb}",
        description=f"Train {entry.name}: {entry.summary}.",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return parsed.training, parsed.config


def _spelt_out(config_class: type, arguments: list[str]) -> list[str]:
    """Let ``--flag`` and ``--no-flag`` stand for True and False where a truth value may also be None."""
    hints = get_type_hints(config_class)
    switches = {
        f.name.replace("_", "-")
        for f in fields(config_class)
        if set(get_args(hints[f.name])) == {bool, type(None)}
    }
    words: list[str] = []
    for i, word in enumerate(arguments):
        name = word.removeprefix("--").removeprefix("no-")
        given = arguments[i + 1] if i + 1 < len(arguments) else ""
        if word.startswith("--") and name in switches and given not in ("True", "False", "None"):
            words += [f"--{name}", str(not word.startswith("--no-"))]
        else:
            words.append(word)
    return words

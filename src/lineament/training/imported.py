"""Run directories made from checkpoints of other programs: what a reader of such a file gives, and how it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lineament.errors import CheckpointError, LineamentError
from lineament.files import replacing_folder
from lineament.training.checkpoint import Checkpoint, save_checkpoint
from lineament.training.config import config_from_dict, config_hash, config_to_dict
from lineament.training.recipe import Recipe
from lineament.training.registry import get_recipe
from lineament.training.run import Run, create_run, open_run
from lineament.training.weights import load_weights, present_networks

# In place of the fingerprint of training data, which an old checkpoint does not tell.
NO_DATA = "imported"


@dataclass(frozen=True)
class ImportedModel:
    """An old checkpoint in this package's terms.

    Attributes:
        recipe: Recipe whose networks the weights fit.
        config: Fields of the recipe's config that differ from its defaults.
        weights: Tensors by ``network/parameter``.
        step: Optimiser steps it was trained for, as far as the file tells.
        found: What the file says, for people: name -> value.
        ignored: What was left out: name -> reason.
        averages: Weights of the recipe's moving averages, by name of the average.
    """

    recipe: str
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    step: int
    found: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    averages: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


def write_imported_run(
    folder: Path, model: ImportedModel, origin: Mapping[str, Any], *, overwrite: bool = False
) -> Run:
    """Write an imported model as a run directory that loads like any other.

    Args:
        folder: The run directory to make; it appears whole or not at all where it did not exist before.
        model: What was read.
        origin: Facts about the file, kept in ``environment.json`` with what was found and left out.
        overwrite: Replace an older run in ``folder``.

    Raises:
        CheckpointError: If the weights do not fit the recipe's networks exactly.
        LineamentError: If the folder is in use or cannot be written.
    """
    entry = get_recipe(model.recipe)
    values = {**entry.defaults, **model.config, "steps": model.step}
    recipe = entry.build(config_from_dict(entry.config_class, values), restored=True)
    checkpoint = _checkpoint(recipe, model)
    # Networks are built once here so that what is written is known to load.
    networks = present_networks(recipe.networks(), checkpoint, recipe.training_only)
    load_weights(networks, checkpoint, "networks")
    averages = recipe.averages(networks)
    for name in model.averages:
        load_weights({each: networks[each] for each in averages[name].networks}, checkpoint, name)
    facts = {
        "first_step": model.step,
        "lineament": version("lineament"),
        "imported": {**origin, "found": dict(model.found), "ignored": dict(model.ignored)},
    }
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        run = create_run(folder, recipe, "32-true", overwrite=overwrite)
        _fill(run, checkpoint, facts)
        return run
    try:
        with replacing_folder(folder) as temporary:
            _fill(create_run(temporary, recipe, "32-true"), checkpoint, facts)
    except OSError as error:
        raise LineamentError(
            f"cannot make the run directory {folder}: {error.strerror or error}; choose another with --run."
        ) from error
    return open_run(folder)


@dataclass(frozen=True)
class UnwrittenRun(Run):
    """An imported model that a training begins with, without a run directory: ``folder`` is its file.

    Attributes:
        weights: Tensors by ``network/parameter``.
    """

    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def load_networks(self, which: str | int = "best", *, average: bool = True) -> dict[str, nn.Module]:
        """The networks with these weights; there is only one set of them, whichever is asked for."""
        networks = self.build_recipe().networks()
        load_weights(networks, Checkpoint(0, {"networks": dict(self.weights)}, {}), "networks")
        for network in networks.values():
            network.eval()
        return networks


def unwritten_run(file: Path, model: ImportedModel) -> UnwrittenRun:
    """A model that was read from a file, as a run to build on."""
    entry = get_recipe(model.recipe)
    config = {**entry.defaults, **model.config, "steps": model.step}
    return UnwrittenRun(file, model.recipe, entry.method, config, "32-true", weights=model.weights)


def imported_origin(folder: Path) -> dict[str, Any] | None:
    """What :func:`write_imported_run` kept about the file behind a run; None where the run was not imported."""
    try:
        sessions = open_run(folder).environment()
    except (LineamentError, ValueError):
        return None
    return sessions[0].get("imported") if len(sessions) == 1 else None


def _fill(run: Run, checkpoint: Checkpoint, facts: dict[str, Any]) -> None:
    save_checkpoint(run.checkpoints, checkpoint)
    run.add_session(facts)


def _checkpoint(recipe: Recipe[Any, Any], model: ImportedModel) -> Checkpoint:
    settings = {"recipe": recipe.name, "precision": "32-true", **config_to_dict(recipe.config)}
    state = {
        "recipe": recipe.name,
        "method": recipe.method,
        "seed": recipe.config.seed,
        "position": 0,
        "settings": settings,
        "settings_hash": config_hash(settings),
        "data_fingerprint": NO_DATA,
        "best": None,
        "optimisers": {},
        "schedules": {},
        "scaler": {},
        "random": [],
        "tensors": {},
    }
    averages = {name: dict(weights) for name, weights in model.averages.items()}
    return Checkpoint(model.step, {"networks": dict(model.weights), **averages}, state)


def checked(model: ImportedModel, networks: Mapping[str, Mapping[str, Tensor]]) -> ImportedModel:
    """Compare an imported model with the state its networks expect and take over their number types.

    Args:
        model: What was read.
        networks: For each network its expected state (tensors may be without memory).

    Raises:
        CheckpointError: Naming the first weight that is missing, too many, of another shape, or not finite.
    """
    wanted = {f"{name}/{key}": value for name, state in networks.items() for key, value in state.items()}
    for key in sorted(wanted.keys() ^ model.weights.keys()):
        name = key.partition("/")[2]
        raise CheckpointError(
            f"it lacks the weight {name!r}"
            if key in wanted
            else f"it has a weight {name!r} that does not belong there"
        )
    weights = {}
    for key, like in wanted.items():
        tensor, name = model.weights[key], key.partition("/")[2]
        if tensor.shape != like.shape:
            raise CheckpointError(
                f"its weight {name!r} has the shape {tuple(tensor.shape)} where {tuple(like.shape)} is expected"
            )
        if tensor.is_floating_point() != like.is_floating_point():
            raise CheckpointError(f"its weight {name!r} holds {tensor.dtype} where {like.dtype} is expected")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"its weight {name!r} holds values that are not finite")
        weights[key] = tensor.to(like.dtype)
    return replace(model, weights=weights)

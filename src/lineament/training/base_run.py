"""Runs that build on a run: which one it may be, which fields of the config it decides, and its weights.

A field that the base decides has the type :data:`Inherited` and the default :data:`INHERIT`. It is ``None`` until
:func:`resolve_config` has filled it in, which the constructor of a recipe does; nobody else meets the ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from torch import nn

from lineament.errors import CheckpointError, UsageError
from lineament.training.models import open_trained
from lineament.training.registry import RANDOM_BASE
from lineament.training.run import Run

T = TypeVar("T")
if TYPE_CHECKING:
    Inherited = Annotated[T, "None takes the base's"]
else:
    Inherited = T | None

# Default of an inherited field.
INHERIT: Any = None

C = TypeVar("C")


@dataclass(frozen=True)
class BaseKind:
    """What a recipe builds on.

    Attributes:
        wanted: What the base must hold, for messages: "dense descriptors".
        give: Which runs hold it, for messages: "a run of dve-smallnet-16d or one of its siblings".
        accepts: Whether a run is of that kind.
        defaults: The fields that the base decides, with their values where there is no base run.
        free: Those of them that a user may set otherwise; another value of the others is refused.
        fields: The values of a base run.
        required: Whether a base (or :data:`RANDOM_BASE`) must be given.
        read_file: Reads a file of another program as such a run; None: a base is a run of ours.
    """

    wanted: str
    give: str
    accepts: Callable[[Run], bool]
    defaults: Mapping[str, Any]
    free: Collection[str] = ()
    fields: Callable[[Run], Mapping[str, Any]] = lambda run: run.config
    required: bool = False
    read_file: Callable[[Path], Run] | None = None


def has_base_run(config: Any) -> bool:
    """Whether a config names a run to build on."""
    return getattr(config, "base", "") not in ("", RANDOM_BASE)


def open_base(base: str, kind: BaseKind) -> Run:
    """Open the run or model to build on.

    Args:
        base: A run directory, a model folder, the name of a model, or a file that the kind reads.
        kind: What can be built on.

    Raises:
        LineamentError: If there is none.
        CheckpointError: If the file is damaged or holds something else.
        UsageError: If it is of another kind.
    """
    if kind.read_file is not None and Path(base).is_file():
        return kind.read_file(Path(base))
    run = open_trained(base)
    if not kind.accepts(run):
        raise UsageError(f"the base run {base} holds {run.recipe}, not {kind.wanted}: give {kind.give}.")
    return run


def resolve_config(config: C, kind: BaseKind, recipe: str) -> tuple[C, tuple[str, ...]]:
    """Fill in the fields that the base decides.

    Args:
        config: A config with the field ``base`` and the fields of ``kind.defaults``.
        kind: What can be built on.
        recipe: Name of the recipe that asks, for messages.

    Returns:
        The config without ``None`` in inherited fields, and the names of the fields that were filled in.

    Raises:
        LineamentError: If there is no such run.
        UsageError: If a base is needed and none is given, it is of another kind, or a field that was given has
            another value there.
    """
    given: Any = config
    if not given.base and kind.required:
        raise UsageError(f"{recipe} builds on {kind.wanted}: give --base RUN, {kind.give}.")
    known = dict(kind.defaults)
    if has_base_run(config):
        fields = kind.fields(open_base(given.base, kind))
        known |= {name: fields[name] for name in known if name in fields}
        for name, value in known.items():
            wished = getattr(given, name)
            # A run's file has lists where a config has tuples.
            same = wished == (tuple(value) if isinstance(value, list) else value)
            if wished is not None and not same and name not in kind.free:
                flag = name.replace("_", "-")
                raise UsageError(
                    f"the base run {given.base} has {name} {value}, not {wished}: leave --{flag} out."
                )
    return _filled(given, known)


def fill_config(config: C, kind: BaseKind) -> C:
    """Fill in inherited fields that are still ``None`` without looking at the base, for a config that was resolved."""
    return _filled(config, kind.defaults)[0]


def _filled(config: Any, known: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    absent = {name: value for name, value in known.items() if getattr(config, name) is None}
    return replace(config, **absent), tuple(absent)


def load_matching_weights(
    networks: Mapping[str, nn.Module], run: Run, names: Iterable[str], *, optional: Collection[str] = ()
) -> list[str]:
    """Start networks from the weights of a run (of its moving average where it has one).

    Args:
        networks: Networks to fill.
        run: The run.
        names: Which of them.
        optional: Networks of which single tensors, or all of them, may be missing or have another shape (another number
            of landmarks): these keep their values.

    Returns:
        Names of what was not taken: ``network``, or ``network/tensor``.

    Raises:
        CheckpointError: If a network that is not optional lacks a tensor, or has one of another shape.
    """
    trained = run.load_networks()
    left = []
    for name in names:
        mine = networks[name].state_dict()
        theirs = trained[name].state_dict() if name in trained else {}
        fitting = {
            key: value for key, value in theirs.items() if key in mine and mine[key].shape == value.shape
        }
        missing = [key for key in mine if key not in fitting]
        if missing and name not in optional:
            raise CheckpointError(
                f"the base run {run.folder} cannot start the network {name!r}: it has no tensor {missing[0]!r} of the "
                f"shape {tuple(mine[missing[0]].shape)}."
            )
        left += [f"{name}/{key}" for key in missing] if fitting else [name]
        networks[name].load_state_dict(fitting, strict=False)
    return left


def check_base_stays(folder: Path, config: Any) -> None:
    """Refuse to make a run where its own base lies, before anything is removed.

    Raises:
        UsageError: If the base is the run directory or lies inside it.
    """
    if not has_base_run(config):
        return
    run, base = folder.resolve(), Path(config.base).resolve()
    if run == base or run in base.parents:
        raise UsageError(
            f"the base run {config.base} lies in the run directory {folder}, whose contents would be replaced: choose "
            "another with --run."
        )


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Names of weights with commas between; of many the first ones and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")

"""The run that another one builds on: its view and network, and its weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from lineament.errors import UsageError
from lineament.training.run import open_run

# The word for a base network with random weights, for tests and as a baseline.
RANDOM_BASE = "random"
RANDOM_FIELDS = {"backbone": "smallnet", "channels": 16, "image_size": 100, "crop": 15, "view": 1.2}


def base_fields(base: str, recipe: str, names: Iterable[str]) -> dict[str, Any]:
    """Fields that a config takes over from its base.

    Args:
        base: Run directory of descriptors, trained here or imported, or :data:`RANDOM_BASE`.
        recipe: Name of the recipe that asks, for messages.
        names: Names of the fields.

    Raises:
        UsageError: If no base is given, or it is not a run of dense descriptors.
        LineamentError: If there is no such run.
    """
    if not base:
        raise UsageError(f"{recipe} needs the descriptors to build on: give --base RUN.")
    if base == RANDOM_BASE:
        return {name: RANDOM_FIELDS[name] for name in names if name in RANDOM_FIELDS}
    run = open_run(base)
    if run.method != "dve" or "exchange" not in run.config:
        raise UsageError(
            f"the base run {base} holds {run.recipe}, not dense descriptors: give a run of dve-smallnet-16d "
            "or its siblings."
        )
    frame = run.build_recipe().config.frame
    # A base that was trained on published crops looks on photographs where these lie.
    known = {**run.config, "view": frame.view, "view_shift": frame.shift}
    return {name: known[name] for name in names if name in known}


def load_base(descriptor: nn.Module, base: str) -> None:
    """Copy the base's descriptor weights into a network of the same form."""
    descriptor.load_state_dict(open_run(base).load_networks()["descriptor"].state_dict())

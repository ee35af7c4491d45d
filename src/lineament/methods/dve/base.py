"""What fine-tuning and landmarks build on: a run of dense descriptors, whose network and view they take over."""

from __future__ import annotations

from typing import Any

from lineament.training.base_run import BaseKind
from lineament.training.run import Run

# Values where the base is "random".
_NETWORK = {"backbone": "smallnet", "channels": 16, "luma": False}
_VIEW = {"image_size": 100, "crop": 15, "view": 1.2, "view_shift": 0.0}


def _holds_descriptors(run: Run) -> bool:
    return run.method == "dve" and "exchange" in run.config


def _fields(run: Run) -> dict[str, Any]:
    frame = run.build_recipe().config.frame
    # A base that was trained on published crops looks on images where these lie.
    return {**run.config, "view": frame.view, "view_shift": frame.shift}


def descriptor_base(**more: Any) -> BaseKind:
    """A run of dense descriptors, which decides the form of the network and, unless told otherwise, its view.

    Args:
        **more: Further fields that it decides unless told otherwise, with their values for the base "random".
    """
    return BaseKind(
        wanted="dense descriptors",
        give="a run of dve-smallnet-16d or one of its siblings",
        accepts=_holds_descriptors,
        defaults={**_NETWORK, **_VIEW, **more},
        free=(*_VIEW, *more),
        fields=_fields,
        required=True,
    )

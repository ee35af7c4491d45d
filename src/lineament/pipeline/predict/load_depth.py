"""Loads a trained run as something that gives the depth of keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lineament.errors import CheckpointError
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.training.run import open_run


def load_depth(run: str | Path) -> DepthPredictor:
    """Load a run of a DepthNets recipe, trained here or imported.

    Raises:
        LineamentError: If there is no such run.
        CheckpointError: If its checkpoint is damaged, or of another method.
    """
    from lineament.methods import register_all

    register_all()
    opened = open_run(run)
    if opened.method != "depthnet":
        raise CheckpointError(
            f"the run {opened.folder} is of the method {opened.method!r}, which predicts no depth of keypoints: give a "
            "run of a depthnet recipe (`lineament recipes`)."
        )
    recipe: Any = opened.build_recipe()
    return recipe.predictor(opened.load_networks())

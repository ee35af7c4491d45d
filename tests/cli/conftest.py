"""A small trained run for the verbs that need one."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def descriptor_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Descriptors after three steps: good for nothing but exercising the verbs."""
    from lineament.methods.dve.recipe import DveConfig
    from lineament.synthetic.source import SyntheticFaces
    from lineament.training.loop import LoopOptions, train
    from lineament.training.registry import get_recipe

    folder = tmp_path_factory.mktemp("runs") / "descriptors"
    entry = get_recipe("dve-smallnet-16d")
    assert issubclass(entry.config_class, DveConfig)
    config = entry.config(steps=3, batch_size=2, image_size=44, crop=6, evaluate_count=2)
    train(entry.build(config), SyntheticFaces(0, 6, 64), folder, options=LoopOptions(progress=False))
    return folder


@pytest.fixture(scope="session")
def landmark_run(descriptor_run: Path) -> Path:
    """Landmarks on those descriptors."""
    from lineament.methods.dve.recipe_landmarks import LandmarkConfig, LandmarkRecipe
    from lineament.synthetic.source import SyntheticFaces
    from lineament.training.loop import LoopOptions, train

    folder = descriptor_run.with_name("landmarks")
    config = LandmarkConfig(base=str(descriptor_run), steps=2, batch_size=4)
    train(LandmarkRecipe(config), SyntheticFaces(0, 6, 64), folder, options=LoopOptions(progress=False))
    return folder

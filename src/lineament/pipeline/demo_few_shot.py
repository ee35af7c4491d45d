"""The demo's few-shot plot: a small autoencoder on the demo's faces, then landmark errors against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineament.data.sample import FaceSource
from lineament.data.subset import Subset
from lineament.pipeline.few_shot import Cell, FewShotPlan, Judge, run_few_shot
from lineament.pipeline.progress import Progress
from lineament.training.loop import LoopOptions, train
from lineament.training.registry import get_recipe
from lineament.training.run import Run


@dataclass(frozen=True)
class DemoFewShotPlan:
    """How much of everything.

    Attributes:
        preset: Preset of `fabrec-ae`.
        autoencoder: Fields of its config that differ from the preset's.
        study: What is compared.
        test: Faces to measure on, at most.
    """

    preset: str = "small"
    # Part of a minute: no time for the image discriminator.
    autoencoder: Mapping[str, Any] = field(
        default_factory=lambda: {"steps": 120, "gan_from": -1, "evaluate_every": 0, "figures_every": 0}
    )
    study: FewShotPlan = field(
        default_factory=lambda: FewShotPlan(
            counts=(1, 10, 50), seeds=(0,), ways=("dve", "fabrec-modern", "supervised"), steps=40
        )
    )
    test: int = 60


@dataclass(frozen=True)
class DemoFewShot:
    """What came out.

    Attributes:
        autoencoder: Its run.
        plan: What was compared.
        cells: The errors.
        judges: What was measured on.
    """

    autoencoder: Run
    plan: FewShotPlan
    cells: Sequence[Cell]
    judges: Sequence[Judge]


def train_autoencoder(
    plan: DemoFewShotPlan,
    source: FaceSource,
    validation: FaceSource,
    folder: Path,
    *,
    seed: int,
    data: Sequence[str],
    validation_data: Sequence[str],
    overwrite: bool,
) -> Run:
    """Train the small autoencoder on the demo's faces, without labels."""
    recipe = get_recipe("fabrec-ae")
    config = recipe.config_class(**{**recipe.presets[plan.preset], **plan.autoencoder, "seed": seed})
    return train(
        recipe(config),
        source,
        folder,
        validation=validation,
        options=LoopOptions(report=True),
        data=data,
        validation_data=validation_data,
        overwrite=overwrite,
    )


def study_demo(
    plan: DemoFewShotPlan,
    autoencoder: Run,
    descriptors: Run,
    labelled: FaceSource,
    test: FaceSource,
    folder: Path,
    progress: Progress,
) -> DemoFewShot:
    """Compare descriptors, autoencoder and labels alone on the demo's labelled faces."""
    judged = Subset(test, range(min(plan.test, len(test))))
    judges = [Judge("unseen synthetic people", judged)]
    bases = {"fabrec": autoencoder.folder, "dve": descriptors.folder}
    cells = run_few_shot(plan.study, bases, labelled, judges, folder, progress=progress)
    return DemoFewShot(autoencoder, plan.study, cells, judges)

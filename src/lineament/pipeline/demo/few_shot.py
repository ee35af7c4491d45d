"""The demo's few-shot plot: a small autoencoder on the demo's faces, then landmark errors against labels.

All of it is done by helpers, beside the training of the descriptors: networks as small as these gain next to nothing
from a second thread.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lineament.data.subset import Subset
from lineament.pipeline.demo.data import DemoFaces
from lineament.pipeline.evaluate.few_shot import Cell, FewShotTestSet, run_few_shot
from lineament.pipeline.evaluate.few_shot_plan import VARIANTS, FewShotPlan
from lineament.progress import Progress
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
    # Part of a minute: thin networks, and no time for the image discriminator.
    autoencoder: Mapping[str, Any] = field(
        default_factory=lambda: {
            "width": 8,
            "code": 48,
            "steps": 150,
            "gan_from": -1,
            "evaluate_every": 0,
            "figures_every": 0,
        }
    )
    # With so few steps, landmarks need three times the usual rate to leave the mean shape behind.
    study: FewShotPlan = field(
        default_factory=lambda: FewShotPlan(
            counts=(1, 10, 50),
            seeds=(0,),
            variants=("dve", "fabrec-modern", "supervised"),
            steps=120,
            rate=6e-3,
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
        test_sets: What was measured on.
    """

    autoencoder: Run
    plan: FewShotPlan
    cells: Sequence[Cell]
    test_sets: Sequence[FewShotTestSet]


@dataclass(frozen=True)
class FewShotWork:
    """The study in parts that helpers can do, each in a process of its own.

    Attributes:
        plan: How much of everything.
        faces: What to learn from and to measure on.
        out: Folder of the demo; gets the run ``autoencoder`` and the folder ``few-shot``.
        seed: Seed of the autoencoder.
        overwrite: Replace an older run.
    """

    plan: DemoFewShotPlan
    faces: DemoFaces
    out: Path
    seed: int
    overwrite: bool

    def learn(self) -> tuple[Run, float]:
        """Train the autoencoder without labels, then the variants without descriptors; give its run and seconds."""
        start = time.perf_counter()
        recipe = get_recipe("fabrec-ae")
        config = recipe.config(self.plan.preset, **self.plan.autoencoder, seed=self.seed)
        run = train(
            recipe.build(config, preset=self.plan.preset),
            self.faces.unlabelled(),
            self.out / "autoencoder",
            validation=self.faces.open("test"),
            options=LoopOptions(progress=False),
            data=self.faces.data,
            validation_data=self.faces.test_data,
            overwrite=self.overwrite,
        )
        self.compare({"fabrec": run.folder}, self.ways_on("", "fabrec"))
        return run, time.perf_counter() - start

    def learn_from_descriptors(self, descriptors: Path) -> float:
        """Train the variants on descriptors; give the seconds."""
        start = time.perf_counter()
        self.compare({"dve": descriptors}, self.ways_on("dve"))
        return time.perf_counter() - start

    @property
    def variants(self) -> tuple[str, ...]:
        """What is compared."""
        return self.plan.study.variants

    def ways_on(self, *bases: str) -> list[str]:
        """What of it builds on runs of these methods; "" stands for no run."""
        return [variant for variant in self.variants if VARIANTS[variant].base in bases]

    def test_sets(self) -> list[FewShotTestSet]:
        """What is measured on."""
        test = self.faces.open("test")
        return [
            FewShotTestSet("unseen synthetic people", Subset(test, range(min(self.plan.test, len(test)))))
        ]

    def compare(self, bases: Mapping[str, Path], variants: Sequence[str]) -> list[Cell]:
        """Train and measure some variants; what is there already is read."""
        if not variants:
            return []
        study = replace(self.plan.study, variants=tuple(variants))
        return run_few_shot(
            study,
            bases,
            self.faces.open("labelled"),
            self.test_sets(),
            self.out / "few-shot",
            unlabelled=self.faces.open("unlabelled"),
            overwrite=True,
        )

    def gather(self, autoencoder: Run, descriptors: Run) -> DemoFewShot:
        """Join the parts."""
        cells = self.compare({"fabrec": autoencoder.folder, "dve": descriptors.folder}, self.variants)
        return DemoFewShot(autoencoder, self.plan.study, cells, self.test_sets())

    def wait_for(self, parts: Sequence[Future[Any]], progress: Progress) -> None:
        """Wait for helpers, showing how many models of the study are done; raises what they raise."""
        study = self.plan.study
        total = len(study.counts) * len(study.seeds) * len(study.variants)
        shown = self._models()
        with progress("few-shot study", total, "models", shown) as advance:
            while True:
                finished = wait(parts, timeout=1, return_when=FIRST_EXCEPTION)
                for part in finished.done:
                    part.result()
                models = self._models()
                for _ in range(models - shown):
                    advance()
                shown = models
                if not finished.not_done:
                    return

    def _models(self) -> int:
        return len(list((self.out / "few-shot" / "cells").glob("*.json")))

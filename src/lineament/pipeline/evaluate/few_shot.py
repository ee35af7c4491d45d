"""The few-shot study: how landmark error falls with the number of labels, for several variants of learning from them.

Every variant sees the same labelled faces for one number and seed. The cells of the study are kept as files, so that an
interrupted study goes on where it stopped; the trained networks are not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lineament.capabilities import LandmarkPredictor
from lineament.data.sample import FaceSource
from lineament.data.subset import Subset
from lineament.errors import DataError, UsageError
from lineament.evaluation.landmarks import score_landmarks
from lineament.faces.schemes import scheme_word
from lineament.files import write_text
from lineament.inference import load
from lineament.pipeline.evaluate.few_shot_plan import SIZES, VARIANTS, FewShotPlan
from lineament.pipeline.predict.results import first_difference, other_settings
from lineament.progress import Progress, silent
from lineament.training.loop import LoopOptions, train
from lineament.training.models import open_trained
from lineament.training.recipe import Recipe
from lineament.training.registry import get_recipe
from lineament.training.stopping import TrainingInterrupted

# Folder of the cells inside that of a study.
CELLS = "cells"


@dataclass(frozen=True)
class FewShotTestSet:
    """A test set of labelled faces.

    Attributes:
        title: For tables and plots.
        source: The faces; where they have labels of another scheme, that is compared.
        which: Scheme to compare in; the labels' own when None.
        normalise_by: Name of the normaliser.
    """

    title: str
    source: FaceSource
    which: str | None = None
    normalise_by: str = "inter-ocular"


@dataclass(frozen=True)
class Cell:
    """One trained model's errors.

    Attributes:
        variant: Name in :data:`VARIANTS`.
        count: Labelled faces.
        seed: Seed.
        errors: Mean error in % by title of the test set.
        seconds: Time to train.
    """

    variant: str
    count: int
    seed: int
    errors: dict[str, float]
    seconds: float


def draw_labels(source: FaceSource, count: int, seed: int) -> Subset:
    """``count`` labelled faces, drawn by the seed; a larger count of the same seed holds the smaller one.

    Raises:
        DataError: If there are not so many.
    """
    if count > len(source):
        raise DataError(
            f"{count} labelled faces are asked for, but {source.name} holds {len(source)}: lower --counts."
        )
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return Subset(source, order[:count].tolist(), f"{source.name}[{count} by seed {seed}]")


def run_few_shot(
    plan: FewShotPlan,
    bases: Mapping[str, Path],
    labelled: FaceSource,
    test_sets: Sequence[FewShotTestSet],
    folder: Path,
    *,
    unlabelled: FaceSource | None = None,
    sizes: Mapping[str, int] | None = None,
    progress: Progress = silent,
    device: str = "cpu",
    overwrite: bool = False,
) -> list[Cell]:
    """Train and measure every cell that is not there yet.

    A folder holds cells of one setting: more numbers of labels, seeds and variants may be added to it by later calls.

    Args:
        plan: What is compared; where it names no variants, those that the runs are for.
        bases: Runs to build on by method: ``fabrec``, ``dve``, ``landmarks``.
        labelled: The faces that labels are drawn from.
        test_sets: Faces to measure on; never seen in training, nor used to choose between checkpoints.
        folder: Gets ``cells/*.json``.
        unlabelled: Faces whose labels are not seen, for variants that learn from such faces beside the labelled ones.
        sizes: Fields of networks without a base (``size``, ``width``, ``code``); those of the run that they are like
            when None.
        progress: Shows how many cells are done.
        device: Where to train.
        overwrite: Remove cells that were measured with other settings, instead of refusing to join them.

    Returns:
        The cells of the plan.

    Raises:
        UsageError: If a variant lacks the run it builds on, or the unlabelled faces it learns from, or the folder holds
            cells that were measured with other settings; then nothing is written.
        DataError: If there are fewer labels than asked for.
    """
    plan = plan.settled(bases, unlabelled is not None)
    missing = sorted({VARIANTS[variant].base for variant in plan.variants} - {"", *bases})
    if missing:
        raise UsageError(
            f"the variants {', '.join(plan.variants)} need a run of {' and of '.join(missing)} to build on."
        )
    alone = [variant for variant in plan.variants if VARIANTS[variant].semi_supervised and unlabelled is None]
    if alone:
        raise UsageError(
            f"the variants {', '.join(alone)} learn from unlabelled faces beside the labelled ones: give --unlabelled, "
            "or take the variants supervised and no-unlabelled, which learn from labels alone."
        )
    study = _Study(plan, bases, labelled, test_sets, folder, unlabelled, sizes, device)
    todo = [
        (variant, count, seed) for count in plan.counts for seed in plan.seeds for variant in plan.variants
    ]
    draw_labels(labelled, max(plan.counts), 0)
    study.join(overwrite)
    cells = []
    with progress("few-shot study", len(todo), "models") as advance:
        for variant, count, seed in todo:
            path = folder / CELLS / f"{variant}-{count}-{seed}.json"
            if path.is_file():
                cell = _read_cell(path)[0]
            else:
                cell = study.train_cell(variant, count, seed)
                facts = study.facts(variant)
                write_text(path, json.dumps({"facts": facts, "cell": asdict(cell)}, indent=1) + "\n")
            cells.append(cell)
            advance()
    return cells


def read_cells(folder: Path) -> list[Cell]:
    """All cells of a study, those of earlier calls included.

    Raises:
        DataError: If one is damaged.
    """
    cells = [_read_cell(path)[0] for path in sorted((folder / CELLS).glob("*.json"))]
    return [cell for cell in cells if cell.variant in VARIANTS]


def covering(plan: FewShotPlan, cells: Sequence[Cell]) -> FewShotPlan:
    """A plan widened to the numbers of labels, seeds and variants of more cells than its own."""
    counts = {*plan.counts, *(cell.count for cell in cells)}
    seeds = {*plan.seeds, *(cell.seed for cell in cells)}
    variants = {*plan.variants, *(cell.variant for cell in cells)}
    return replace(
        plan,
        counts=tuple(sorted(counts)),
        seeds=tuple(sorted(seeds)),
        variants=tuple(name for name in VARIANTS if name in variants),
    )


def _weights_digest(run: Path) -> str:
    """Hash of a run's trained weights."""
    networks = open_trained(run).load_networks()
    state = hashlib.sha256()
    for name in sorted(networks):
        for key, value in networks[name].state_dict().items():
            state.update(f"{name}/{key}".encode())
            state.update(value.numpy().tobytes())
    return state.hexdigest()[:16]


@dataclass(frozen=True)
class _Study:
    """All that the cells of one study share; see :func:`run_few_shot`."""

    plan: FewShotPlan
    bases: Mapping[str, Path]
    labelled: FaceSource
    test_sets: Sequence[FewShotTestSet]
    folder: Path
    unlabelled: FaceSource | None
    sizes: Mapping[str, int] | None
    device: str

    @cached_property
    def digests(self) -> dict[str, str]:
        """Hash of the trained weights of each run that is built on."""
        return {method: _weights_digest(run) for method, run in self.bases.items()}

    @cached_property
    def scheme(self) -> str | None:
        """Scheme of the labels, as a config names it."""
        found = self.labelled[0].scheme
        return None if found is None else scheme_word(found)

    def companions(self, variant: str) -> FaceSource | None:
        """The unlabelled faces that take part in a variant, if any."""
        return self.unlabelled if VARIANTS[variant].semi_supervised else None

    def sizes_of(self, variant: str) -> Mapping[str, int] | None:
        """Fields of the networks of a variant without a base; None where nothing tells."""
        like = VARIANTS[variant].like
        if self.sizes is not None or like not in self.bases:
            return self.sizes
        config = open_trained(self.bases[like]).config
        return {key: config[key] for key in SIZES[like]}

    def facts(self, variant: str) -> dict[str, Any]:
        """What a cell depends on: kept with it, so that a cell of another study is not taken for one of this."""
        companions, base = self.companions(variant), VARIANTS[variant].base
        return {
            "recipe": VARIANTS[variant].recipe,
            "preset": VARIANTS[variant].preset,
            "fields": {**VARIANTS[variant].fields, **self.rates(variant)},
            "steps": self.plan.steps,
            "box_jitter": self.plan.box_jitter,
            "base": self.digests.get(base, ""),
            "sizes": {} if base else dict(self.sizes_of(variant) or {}),
            "labelled": self.labelled.fingerprint,
            "unlabelled": companions.fingerprint if companions else "",
            "test_sets": {
                test_set.title: [test_set.source.fingerprint, test_set.which, test_set.normalise_by]
                for test_set in self.test_sets
            },
        }

    def join(self, overwrite: bool) -> None:
        """Refuse cells in the folder that were measured with other settings, or remove them.

        Raises:
            UsageError: Naming the first setting that differs.
        """
        other = []
        for path in sorted((self.folder / CELLS).glob("*.json")):
            try:
                cell, before = _read_cell(path)
            except FileNotFoundError:
                # Another process of the same study removed it.
                continue
            if cell.variant in VARIANTS and (why := self._difference(cell.variant, before)):
                other.append((path, why))
        if other and not overwrite:
            raise other_settings(other)
        for path, _ in other:
            path.unlink(missing_ok=True)

    def _difference(self, variant: str, before: Mapping[str, Any]) -> str | None:
        """Which fact of a cell differs from what this study would do; None where none is known to."""
        wanted = self.facts(variant)
        # A cell of a run that is not given this time may be of any.
        if VARIANTS[variant].base not in self.bases:
            del wanted["base"]
        if not VARIANTS[variant].base and self.sizes_of(variant) is None:
            del wanted["sizes"]
        if VARIANTS[variant].semi_supervised and self.unlabelled is None:
            del wanted["unlabelled"]
        return first_difference(before, wanted)

    def rates(self, variant: str) -> dict[str, float]:
        """Fields of a variant's config that the study's learning rate sets."""
        chosen = VARIANTS[variant]
        if not (chosen.rates and self.plan.rate):
            return {}
        defaults = get_recipe(chosen.recipe).config(chosen.preset)
        first, *others = chosen.rates
        share = self.plan.rate / getattr(defaults, first)
        return {first: self.plan.rate, **{name: share * getattr(defaults, name) for name in others}}

    def recipe(self, variant: str, seed: int) -> Recipe[Any, Any]:
        """What trains one cell."""
        chosen, companions = VARIANTS[variant], self.companions(variant)
        fields: dict[str, Any] = dict(chosen.fields)
        if chosen.base:
            fields["base"] = str(self.bases[chosen.base])
        else:
            fields |= self.sizes_of(variant) or {}
        if chosen.learns_scheme and self.scheme is not None:
            fields["scheme"] = self.scheme
        # One evaluation, at the end and on the labelled faces themselves: nothing is chosen on test faces.
        fields |= {"evaluate_count": 4, "evaluate_every": 0, **self.rates(variant)}
        if chosen.rates and self.plan.steps:
            fields |= {"steps": self.plan.steps, "checkpoint_every": self.plan.steps}
        further: dict[str, Any] = {}
        if companions is not None:
            further["unlabelled"] = companions
            # As many labelled faces a step as in the other variants.
            fields["batch_size"] *= 2
        entry, preset = get_recipe(chosen.recipe), chosen.preset
        return entry.build(entry.config(preset, **fields, seed=seed), preset=preset, **further)

    def train_cell(self, variant: str, count: int, seed: int) -> Cell:
        """Train one model and measure it; the model is not kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".training-", dir=self.folder))
        try:
            start = time.perf_counter()
            # A few steps per cell would be all bar and no work: the study's own bar shows the progress.
            options = LoopOptions(self.device, progress=False, report=False, figures=False)  # type: ignore[arg-type]
            labels = draw_labels(self.labelled, count, seed)
            run = train(self.recipe(variant, seed), labels, work / "run", options=options)
            seconds = time.perf_counter() - start
            predictor = load(run.folder, self.device).capability(LandmarkPredictor)
            errors = {test_set.title: self._error(predictor, test_set) for test_set in self.test_sets}
        except TrainingInterrupted as stop:
            # Its own message names a run that is about to be removed.
            raise TrainingInterrupted(
                f"stopped; the models done are kept in {self.folder}, the same command goes on."
            ) from stop
        finally:
            shutil.rmtree(work)
        return Cell(variant, count, seed, errors, seconds)

    def _error(self, predictor: LandmarkPredictor, test_set: FewShotTestSet) -> float:
        scores = score_landmarks(
            predictor,
            test_set.source,
            which=test_set.which,
            normalise_by=test_set.normalise_by,
            box_jitter=self.plan.box_jitter,
            seed=0,
        )
        if scores is None:
            raise DataError(f"{test_set.source.name} has no landmarks to compare with.")
        return 100 * scores.mean


def _read_cell(path: Path) -> tuple[Cell, dict[str, Any]]:
    """A cell and what it was measured with."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Cell(**kept["cell"]), dict(kept["facts"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete it to measure it again.") from error


def errors_of(cells: Sequence[Cell], variant: str, count: int, test_set: str) -> list[float]:
    """One variant's errors in %, of every seed that was measured."""
    return [cell.errors[test_set] for cell in cells if (cell.variant, cell.count) == (variant, count)]

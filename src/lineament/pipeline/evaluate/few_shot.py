"""The few-shot study: how landmark error falls with the number of labels, for several variants of learning from them.

Every variant sees the same labelled faces for one number and seed. The cells of the study are kept as files, so that an
interrupted study goes on where it stopped; the trained networks are not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from lineament.capabilities import LandmarkPredictor
from lineament.data.sample import FaceSource
from lineament.data.subset import Subset
from lineament.errors import DataError, UsageError, unknown_name
from lineament.evaluation.landmarks import score_landmarks
from lineament.files import write_text
from lineament.inference import load
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.recipe_modern import ModernLandmarkConfig, ModernLandmarkRecipe
from lineament.progress import Progress, silent
from lineament.training.loop import LoopOptions, train
from lineament.training.recipe import Recipe
from lineament.training.registry import RANDOM_BASE, get_recipe
from lineament.training.run import open_run
from lineament.training.stopping import TrainingInterrupted


@dataclass(frozen=True)
class Variant:
    """One way of learning landmarks from labels, a row of the study.

    Attributes:
        title: For tables and plots.
        recipe: Which recipe.
        base: Method of the run it builds on, ``fabrec`` or ``dve``; "" for none.
        fields: Fields of the recipe's config.
        preset: Preset of the recipe that these fields change; "" for its defaults.
        semi_supervised: Whether unlabelled faces take part.
        stepwise: Whether it learns by gradient descent, for as many steps as the study says.
        by_default: Whether a study that names no variants has it; the others are ablations.
    """

    title: str
    recipe: str
    base: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    preset: str = ""
    semi_supervised: bool = False
    stepwise: bool = True
    by_default: bool = True


_PUBLISHED = LandmarkConfig()

VARIANTS = {
    "fabrec": Variant("autoencoder, frozen", "fabrec-landmarks", "fabrec"),
    "fabrec-tuned": Variant(
        "autoencoder, encoder tuned", "fabrec-landmarks", "fabrec", {"tune_encoder": True}
    ),
    "fabrec-modern": Variant(
        "autoencoder, all tuned (modern)", "fabrec-modern", "fabrec", {"batch_size": 10}, semi_supervised=True
    ),
    "fabrec-faithful": Variant(
        "autoencoder, frozen, published head", "fabrec-landmarks", "fabrec", preset="paper"
    ),
    "supervised": Variant("same networks, labels alone", "fabrec-supervised"),
    # What of the modern variant is due to the autoencoder, and what to unlabelled faces beside the labelled ones.
    "no-autoencoder": Variant(
        "labels and unlabelled faces, no autoencoder",
        "fabrec-modern",
        "",
        {"base": RANDOM_BASE, "batch_size": 10},
        semi_supervised=True,
        by_default=False,
    ),
    "no-unlabelled": Variant(
        "autoencoder, all tuned, labels alone",
        "fabrec-modern",
        "fabrec",
        {"batch_size": 10},
        by_default=False,
    ),
    # What the published head learns by, but from random weights: what of a frozen autoencoder's result is its own.
    "plain": Variant(
        "same networks, labels alone, published loss and moves",
        "fabrec-supervised",
        "",
        {
            "lateral": _PUBLISHED.lateral,
            "loss": _PUBLISHED.loss,
            "sigma": _PUBLISHED.sigma,
            "augmentation": _PUBLISHED.augmentation,
            "looks": _PUBLISHED.looks,
            "schedule": _PUBLISHED.schedule,
            "learning_rate": _PUBLISHED.learning_rate,
            "encoder_rate": _PUBLISHED.learning_rate,
        },
        by_default=False,
    ),
    # Sixteen looks at every labelled face pin the detectors down, as in the demo.
    "dve": Variant("descriptors (DVE)", "dve-landmarks", "dve", {"steps": 16}, stepwise=False),
}


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
class FewShotPlan:
    """What is compared.

    Attributes:
        counts: Numbers of labelled faces.
        seeds: Seeds; each draws other labels, other starts and other moves.
        variants: Names in :data:`VARIANTS`.
        steps: Steps of the variants that learn by gradient descent; 0 leaves each recipe's own.
        rate: Learning rate of the transfer layers of those variants, to which that of the encoder keeps its ratio; 0
            leaves each recipe's own.
        box_jitter: Boxes of test faces are moved and scaled by up to this share of their side.
    """

    counts: tuple[int, ...] = (1, 5, 10, 50, 500)
    seeds: tuple[int, ...] = (0, 1, 2)
    variants: tuple[str, ...] = tuple(VARIANTS)
    steps: int = 750
    rate: float = 0.0
    box_jitter: float = 0.0

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on unknown variants or impossible numbers."""
        for variant in self.variants:
            if variant not in VARIANTS:
                raise unknown_name("variant", variant, VARIANTS)
        negative = min(self.steps, self.rate) < 0
        if not self.counts or not self.seeds or not self.variants or min(self.counts) < 1 or negative:
            raise UsageError(
                "give at least one count of 1 or more, one seed and one variant, and no negative steps or rate."
            )


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


def default_variants(bases: Collection[str], unlabelled: bool) -> tuple[str, ...]:
    """Variants of a study that names none: only what the given runs and faces are for.

    Args:
        bases: Methods of the given runs, ``fabrec`` or ``dve``.
        unlabelled: Whether there are unlabelled faces.

    Raises:
        UsageError: If no run is given.
    """
    if not bases:
        raise UsageError(
            "nothing to compare: give a run to build on with --fabrec or --dve, or name the variants with --variants."
        )
    # Variants without a base have the networks of the fabrec run, which they are compared with.
    return tuple(
        name
        for name, variant in VARIANTS.items()
        if variant.by_default
        and (variant.base or "fabrec") in bases
        and (unlabelled or not variant.semi_supervised)
    )


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
) -> list[Cell]:
    """Train and measure every cell that is not there yet.

    Args:
        plan: What is compared.
        bases: Runs to build on by method: ``fabrec``, ``dve``.
        labelled: The faces that labels are drawn from.
        test_sets: Faces to measure on; never seen in training, nor used to choose between checkpoints.
        folder: Gets ``cells/*.json``.
        unlabelled: Faces whose labels are not seen, for variants that learn from such faces beside the labelled ones.
        sizes: Fields of networks without a base (``size``, ``width``, ``code``); those of the fabrec base when None.
        progress: Shows how many cells are done.
        device: Where to train.

    Returns:
        All cells.

    Raises:
        UsageError: If a variant lacks the run it builds on, or the unlabelled faces it learns from.
        DataError: If there are fewer labels than asked for.
    """
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
    if sizes is None and "fabrec" in bases:
        config = open_run(bases["fabrec"]).config
        sizes = {key: config[key] for key in ("size", "width", "code", "linear")}
    study = _Study(plan, bases, labelled, test_sets, folder, unlabelled, sizes or {}, device)
    todo = [
        (variant, count, seed) for count in plan.counts for seed in plan.seeds for variant in plan.variants
    ]
    draw_labels(labelled, max(plan.counts), 0)
    digests = {method: _weights_digest(run) for method, run in bases.items()}
    cells = []
    with progress("few-shot study", len(todo), "models") as advance:
        for variant, count, seed in todo:
            facts = study.facts(variant, digests)
            path = folder / "cells" / f"{variant}-{count}-{seed}.json"
            cell = _read_cell(path, facts)
            if cell is None:
                cell = study.train_cell(variant, count, seed)
                write_text(path, json.dumps({"facts": facts, "cell": asdict(cell)}, indent=1) + "\n")
            cells.append(cell)
            advance()
    return cells


def _weights_digest(run: Path) -> str:
    """Hash of a run's trained weights."""
    networks = open_run(run).load_networks()
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
    sizes: Mapping[str, int]
    device: str

    def companions(self, variant: str) -> FaceSource | None:
        """The unlabelled faces that take part in a variant, if any."""
        return self.unlabelled if VARIANTS[variant].semi_supervised else None

    def facts(self, variant: str, digests: Mapping[str, str]) -> dict[str, Any]:
        """What a cell depends on: kept with it, so that a cell of another study is not taken for one of this."""
        companions = self.companions(variant)
        return {
            "recipe": VARIANTS[variant].recipe,
            "preset": VARIANTS[variant].preset,
            "fields": {**VARIANTS[variant].fields, **self.rates(variant)},
            "steps": self.plan.steps,
            "box_jitter": self.plan.box_jitter,
            "base": digests.get(VARIANTS[variant].base, ""),
            "sizes": {} if VARIANTS[variant].base else dict(self.sizes),
            "labelled": self.labelled.fingerprint,
            "unlabelled": companions.fingerprint if companions else "",
            "test_sets": {
                test_set.title: [test_set.source.fingerprint, test_set.which, test_set.normalise_by]
                for test_set in self.test_sets
            },
        }

    def rates(self, variant: str) -> dict[str, float]:
        """Fields of a variant's config that the study's learning rate sets."""
        if not (VARIANTS[variant].stepwise and self.plan.rate):
            return {}
        defaults: Any = get_recipe(VARIANTS[variant].recipe).config()
        rates = {"learning_rate": self.plan.rate}
        # A frozen encoder has no rate.
        if VARIANTS[variant].fields.get("tune_encoder", defaults.tune_encoder):
            rates["encoder_rate"] = self.plan.rate * defaults.encoder_rate / defaults.learning_rate
        return rates

    def recipe(self, variant: str, seed: int) -> Recipe[Any, Any]:
        """What trains one cell."""
        chosen, companions = VARIANTS[variant], self.companions(variant)
        entry, preset = get_recipe(chosen.recipe), chosen.preset
        fields: dict[str, Any] = dict(chosen.fields)
        if chosen.base:
            fields["base"] = str(self.bases[chosen.base])
        else:
            fields |= self.sizes
        # One evaluation, at the end and on the labelled faces themselves: nothing is chosen on test faces.
        fields |= {"evaluate_count": 4, "evaluate_every": 0, **self.rates(variant)}
        if chosen.stepwise and self.plan.steps:
            fields |= {"steps": self.plan.steps, "checkpoint_every": self.plan.steps}
        if companions is None:
            return entry.build(entry.config(preset, **fields, seed=seed), preset=preset)
        # As many labelled faces a step as in the other variants.
        fields["batch_size"] *= 2
        return ModernLandmarkRecipe(ModernLandmarkConfig(**fields, seed=seed), unlabelled=companions)

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


def _read_cell(path: Path, facts: Mapping[str, Any]) -> Cell | None:
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Cell(**kept["cell"]) if kept["facts"] == facts else None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete it to measure it again.") from error


def over_seeds_of(cells: Sequence[Cell], variant: str, count: int, test_set: str) -> tuple[float, float]:
    """Mean and population standard deviation over the seeds of one variant's errors."""
    errors = [cell.errors[test_set] for cell in cells if (cell.variant, cell.count) == (variant, count)]
    return statistics.fmean(errors), statistics.pstdev(errors)

"""Training and measuring for the demo: descriptors without labels, then landmarks from a few labelled faces."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineament.data.cache import WITHOUT_MAPS, CachedSource
from lineament.data.registry import open_data
from lineament.data.sample import FaceSource
from lineament.data.subset import Concat
from lineament.data.synthetic.dataset import World, write_faces
from lineament.methods.dve.evaluate import matching_cards, prepare_faces
from lineament.methods.dve.landmarks import LandmarkPredictor, MeanShape
from lineament.methods.dve.model import describe
from lineament.metrics.card import MetricCard
from lineament.pipeline.demo_few_shot import DemoFewShot, DemoFewShotPlan, study_demo, train_autoencoder
from lineament.pipeline.few_shot import FewShotPlan
from lineament.pipeline.portraits import Portraits, portrait_pack, read_portraits
from lineament.pipeline.progress import Progress
from lineament.report.landmark_cards import landmark_cards
from lineament.training.loop import LoopOptions, train
from lineament.training.registry import get_recipe
from lineament.training.run import Run

BOX_JITTER = 0.1


@dataclass(frozen=True)
class DemoPlan:
    """How much of everything.

    Attributes:
        head: Head of the synthetic faces, ``builtin`` or ``ict``.
        unlabelled: Synthetic faces to learn descriptors from.
        labelled: How many of them are then shown with landmarks.
        test: Faces of unseen people to measure on.
        size: Side of the drawn pictures in pixels.
        recipe: Which descriptors to learn.
        descriptors: Fields of that recipe's config.
        landmarks: Fields of the ``dve-landmarks`` config.
        few_shot: Autoencoder and study behind the few-shot plot.
    """

    head: str = "builtin"
    unlabelled: int = 1500
    labelled: int = 50
    test: int = 200
    size: int = 128
    recipe: str = "dve-modern"
    descriptors: dict[str, Any] = field(default_factory=dict)
    landmarks: dict[str, Any] = field(default_factory=dict)
    few_shot: DemoFewShotPlan = field(default_factory=DemoFewShotPlan)


# Without exchange: matches between people are coarser, but landmarks from few labels closer, after so few steps.
_DESCRIPTORS = {"exchange": False}
_TINY = {
    **_DESCRIPTORS,
    "steps": 8,
    "batch_size": 4,
    "image_size": 44,
    "crop": 6,
    "evaluate_every": 4,
    "evaluate_count": 4,
}
# Eight looks at each labelled face pin the detectors down.
_LANDMARKS = {"steps": 16}
_TINY_LANDMARKS = {"steps": 4, "batch_size": 4}
_TINY_FEW_SHOT = DemoFewShotPlan(
    "tiny", {}, FewShotPlan((1, 4), (0,), ("dve", "fabrec-modern", "supervised"), steps=2), test=3
)
PLANS = {
    "full": DemoPlan(
        unlabelled=1000,
        test=150,
        descriptors={**_DESCRIPTORS, "steps": 750, "evaluate_every": 250, "checkpoint_every": 250},
        landmarks=_LANDMARKS,
    ),
    "tiny": DemoPlan(
        "builtin", 12, 8, 6, 64, descriptors=_TINY, landmarks=_TINY_LANDMARKS, few_shot=_TINY_FEW_SHOT
    ),
    "real": DemoPlan(
        "ict",
        1000,
        descriptors={**_DESCRIPTORS, "steps": 1200, "evaluate_every": 400, "checkpoint_every": 400},
        landmarks=_LANDMARKS,
    ),
    "real-tiny": DemoPlan(
        "ict", 12, 8, 6, 64, descriptors=_TINY, landmarks=_TINY_LANDMARKS, few_shot=_TINY_FEW_SHOT
    ),
}


@dataclass
class DemoResult:
    """What the demo made.

    Attributes:
        descriptors: Run of the descriptors.
        landmarks: Run of the landmarks.
        cards: Every number, by the row of the report's table that shows it.
        seconds: Time of each stage.
        mean_shape: The line to beat, from the same labelled faces.
        test: The unseen synthetic faces.
        few_shot: Errors against the number of labels.
        portraits: Held-out portraits with the detector's five points as landmarks; None in the built-in demo.
    """

    descriptors: Run
    landmarks: Run
    cards: dict[str, MetricCard]
    seconds: dict[str, float]
    mean_shape: MeanShape
    test: FaceSource
    few_shot: DemoFewShot
    portraits: FaceSource | None

    def predictor(self) -> LandmarkPredictor:
        """The trained landmark model."""
        return predictor_of(self.landmarks)


def predictor_of(run: Run) -> LandmarkPredictor:
    """Load the landmark predictor of a ``dve-landmarks`` run."""
    return LandmarkPredictor(run.build_recipe().config, run.load_networks())


def train_demo(
    plan: DemoPlan, out: Path, *, seed: int, packs: Path | None, progress: Progress, overwrite: bool = False
) -> DemoResult:
    """Train both stages and measure them.

    Args:
        plan: How much of everything.
        out: Folder that gets the run directories ``descriptors``, ``landmarks`` and ``autoencoder``.
        seed: Seed of the worlds, of training and of the measurements.
        packs: Folder of the real data packs; None trains on built-in faces alone.
        progress: Shows how far the drawing and detecting is.
        overwrite: Replace older runs.

    Raises:
        DataError: If the packs lack the portraits or the head.
    """
    seconds: dict[str, float] = {}
    folders = _timed(
        seconds, "draw faces", lambda: _draw(plan, out / "faces", seed, packs, progress, overwrite)
    )
    texts = [str(folder) for folder in folders]
    faces, labelled, test = (CachedSource(open_data(text), fields=WITHOUT_MAPS) for text in texts)
    portraits = None
    source: FaceSource = faces
    if packs is not None:
        portraits = _timed(seconds, "read portraits", lambda: read_portraits(portrait_pack(packs), progress))
        source = Concat([faces, portraits.unlabelled])
    options = LoopOptions(report=True)
    learner = get_recipe(plan.recipe)
    config = learner.config_class(seed=seed, **plan.descriptors)
    descriptors = _timed(
        seconds,
        "learn descriptors without labels",
        lambda: train(
            learner(config),
            source,
            out / "descriptors",
            validation=test,
            options=options,
            # With portraits the data lies in memory only; without, `lineament resume` can open it again.
            data=texts[:1] if portraits is None else (),
            validation_data=texts[2:],
            overwrite=overwrite,
        ),
    )
    fields = {**plan.landmarks, "seed": seed, "base": str(descriptors.folder)}
    recipe = get_recipe("dve-landmarks")
    landmarks = _timed(
        seconds,
        f"fit landmarks to {len(labelled)} labelled faces",
        lambda: train(
            recipe(recipe.config_class(**fields)),
            labelled,
            out / "landmarks",
            validation=test,
            options=options,
            data=texts[1:2],
            validation_data=texts[2:],
            overwrite=overwrite,
        ),
    )
    mean = MeanShape([labelled[i] for i in range(len(labelled))], landmarks.config["scheme"], BOX_JITTER)
    cards = _timed(seconds, "measure", lambda: _measure(descriptors, landmarks, mean, test, portraits, seed))
    few = plan.few_shot
    autoencoder = _timed(
        seconds,
        "learn an autoencoder without labels",
        lambda: train_autoencoder(
            few,
            source,
            test,
            out / "autoencoder",
            seed=seed,
            data=texts[:1] if portraits is None else (),
            validation_data=texts[2:],
            overwrite=overwrite,
        ),
    )
    study = _timed(
        seconds,
        "compare ways to learn from few labels",
        lambda: study_demo(few, autoencoder, descriptors, labelled, test, out / "few-shot", progress),
    )
    judged = portraits.judged if portraits else None
    return DemoResult(descriptors, landmarks, cards, seconds, mean, test, study, judged)


def _timed(seconds: dict[str, float], stage: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    seconds[stage] = time.perf_counter() - start
    return result


def _draw(
    plan: DemoPlan, folder: Path, seed: int, packs: Path | None, progress: Progress, overwrite: bool
) -> tuple[Path, Path, Path]:
    """Draw the unlabelled, the labelled and the test faces into folders; two seeds share no person."""
    counts = {"unlabelled": plan.unlabelled, "labelled": plan.labelled, "test": plan.test}
    with progress("drawing faces", sum(counts.values()), "faces") as advance:
        for number, (part, count) in enumerate(counts.items()):
            world = World(seed=len(counts) * seed + number, size=plan.size, head=plan.head)

            def finished(number: int) -> None:
                for _ in range(number):
                    advance()

            write_faces(folder / part, world, count, packs, overwrite=overwrite, advance=finished)
    return folder / "unlabelled", folder / "labelled", folder / "test"


def _measure(
    descriptors: Run,
    landmarks: Run,
    mean: MeanShape,
    test: FaceSource,
    portraits: Portraits | None,
    seed: int,
) -> dict[str, MetricCard]:
    """Every number of the report, each beside the mean shape."""
    predictor = predictor_of(landmarks)
    cards: dict[str, MetricCard] = {}

    def both(key: str, source: FaceSource, title: str, which: str | None = None) -> None:
        for who, model in (("model", predictor), ("mean shape", mean)):
            cards[f"{key}: {who}"] = landmark_cards(
                model,
                source,
                which=which,
                normalise_by="inter-ocular" if which != "5" else "inter-pupil",
                box_jitter=BOX_JITTER,
                seed=seed,
                title=f"{title}, {who}",
            )[0]

    both("unseen people", test, "landmark error on unseen synthetic people")
    if portraits is not None:
        title = "disagreement with the detector's five points on held-out portraits"
        both("portraits", portraits.judged, title, "5")
        both("portraits, boxes of the pack", portraits.judged_pack_boxes, title, "5")
    recipe = descriptors.build_recipe()
    network = descriptors.load_networks()["descriptor"]
    frame = recipe.config.frame
    faces = prepare_faces(test, frame, range(min(len(test), 100)))
    same, other = matching_cards(lambda x: describe(network, x), faces, frame, test, seed=seed)
    cards["matching, same person"], cards["matching, another person"] = same, other
    return cards

"""Training and measuring for the demo: descriptors without labels, then landmarks from a few labelled faces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineament.capabilities import DenseDescriptor, LandmarkPredictor
from lineament.data.sample import FaceSource
from lineament.evaluation.landmark_cards import landmark_cards
from lineament.evaluation.matching import matching_cards, prepare_faces
from lineament.evaluation.mean_shape import MeanShape
from lineament.inference import load
from lineament.metrics.card import MetricCard
from lineament.parallel import helpers, leaving_a_core
from lineament.pipeline.demo.data import DemoFaces, draw_faces
from lineament.pipeline.demo.few_shot import DemoFewShot, DemoFewShotPlan, FewShotWork
from lineament.pipeline.evaluate.few_shot_plan import FewShotPlan
from lineament.pipeline.evaluate.portraits import Portraits, portrait_pack, read_portraits
from lineament.progress import Progress
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
        size: Side of the drawn images in pixels.
        recipe: Which descriptors to learn.
        descriptors: Fields of that recipe's config.
        landmarks: Fields of the ``dve-landmarks`` config.
        few_shot: Autoencoder and study behind the few-shot plot.
        workers: Processes that prepare data for the descriptors; where portraits lie in memory, 0.
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
    workers: int = 0


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
        unlabelled=800,
        test=100,
        # More steps of fewer faces: as much work, and landmarks that hold on a photo too.
        descriptors={
            **_DESCRIPTORS,
            "steps": 690,
            "batch_size": 5,
            "evaluate_every": 230,
            "checkpoint_every": 230,
        },
        landmarks=_LANDMARKS,
        workers=1,
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
        seconds: Time of each stage, one after the other.
        beside: Time of what helpers did at the same time.
        mean_shape: The line to beat, from the same labelled faces.
        test: The unseen synthetic faces.
        few_shot: Errors against the number of labels.
        portraits: Held-out portraits with the detector's five points as landmarks; None in the built-in demo.
    """

    descriptors: Run
    landmarks: Run
    cards: dict[str, MetricCard]
    seconds: dict[str, float]
    beside: dict[str, float]
    mean_shape: MeanShape
    test: FaceSource
    few_shot: DemoFewShot
    portraits: FaceSource | None

    def predictor(self) -> LandmarkPredictor:
        """The trained landmark model."""
        return load(self.landmarks.folder).capability(LandmarkPredictor)


def train_demo(
    plan: DemoPlan, out: Path, *, seed: int, packs: Path | None, progress: Progress, overwrite: bool = False
) -> DemoResult:
    """Train both stages and measure them; helpers do the few-shot study beside that.

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
    # Missing packs are told before minutes of drawing.
    pack = None if packs is None else portrait_pack(packs)
    with helpers(2, "close other programs and start again") as side, leaving_a_core():
        counts = {"unlabelled": plan.unlabelled, "labelled": plan.labelled, "test": plan.test}
        with timed(seconds, "draw faces"):
            faces = draw_faces(
                out / "faces",
                counts,
                seed=seed,
                size=plan.size,
                head=plan.head,
                packs=packs,
                progress=progress,
                overwrite=overwrite,
                side=side,
            )
        work = FewShotWork(plan.few_shot, faces, out, seed, overwrite)
        autoencoder = side.submit(work.learn)
        portraits = None
        if pack is not None:
            with timed(seconds, "read portraits"):
                portraits = read_portraits(pack, progress)
        with timed(seconds, "learn descriptors without labels"):
            descriptors = _learn_descriptors(plan, faces, portraits, out, seed, overwrite)
        cells = side.submit(work.learn_from_descriptors, descriptors.folder)
        with timed(seconds, f"fit landmarks to {plan.labelled} labelled faces"):
            landmarks = _fit_landmarks(plan, faces, descriptors, out, seed, overwrite)
        labelled, test = faces.open("labelled"), faces.open("test")
        mean = MeanShape([labelled[i] for i in range(len(labelled))], landmarks.config["scheme"], BOX_JITTER)
        with timed(seconds, "measure"):
            cards = _measure(descriptors, landmarks, mean, test, portraits, seed)
        with timed(seconds, "wait for the few-shot study"):
            work.wait_for([autoencoder, cells], progress)
            study = work.gather(autoencoder.result()[0], descriptors)
    beside = {
        "learn an autoencoder without labels, then landmarks from few labels": autoencoder.result()[1],
        "learn landmarks from few labels on the descriptors": cells.result(),
    }
    test_set = portraits.test_set if portraits else None
    return DemoResult(descriptors, landmarks, cards, seconds, beside, mean, test, study, test_set)


def _learn_descriptors(
    plan: DemoPlan, faces: DemoFaces, portraits: Portraits | None, out: Path, seed: int, overwrite: bool
) -> Run:
    recipe = get_recipe(plan.recipe)
    return train(
        recipe.build(recipe.config(seed=seed, **plan.descriptors)),
        faces.unlabelled(portraits.unlabelled if portraits else None),
        out / "descriptors",
        validation=faces.open("test"),
        options=LoopOptions(workers=plan.workers),
        data=faces.data,
        validation_data=faces.test_data,
        overwrite=overwrite,
    )


def _fit_landmarks(
    plan: DemoPlan, faces: DemoFaces, descriptors: Run, out: Path, seed: int, overwrite: bool
) -> Run:
    recipe = get_recipe("dve-landmarks")
    fields = {**plan.landmarks, "seed": seed, "base": str(descriptors.folder)}
    return train(
        recipe.build(recipe.config(**fields)),
        faces.open("labelled"),
        out / "landmarks",
        validation=faces.open("test"),
        options=LoopOptions(),
        data=faces.labelled_data,
        validation_data=faces.test_data,
        overwrite=overwrite,
    )


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note how long the body takes."""
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def _measure(
    descriptors: Run,
    landmarks: Run,
    mean: MeanShape,
    test: FaceSource,
    portraits: Portraits | None,
    seed: int,
) -> dict[str, MetricCard]:
    """Every number of the report, each beside the mean shape."""
    predictor = load(landmarks.folder).capability(LandmarkPredictor)
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
        both("portraits", portraits.test_set, title, "5")
        if len(portraits.test_set_pack_boxes):
            both("portraits, boxes of the pack", portraits.test_set_pack_boxes, title, "5")
    descriptor = load(descriptors.folder).capability(DenseDescriptor)
    frame = descriptors.build_recipe().config.frame
    faces = prepare_faces(test, frame, range(min(len(test), 100)))
    same, other = matching_cards(descriptor.describe_views, faces, frame, test, seed=seed)
    cards["matching, same person"], cards["matching, another person"] = same, other
    return cards

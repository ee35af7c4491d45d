"""Scores a run, or predictions of any tool from a file, on labelled data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError
from lineament.faces.keypoints import read_keypoints
from lineament.faces.normalisers import normaliser
from lineament.methods.dve.evaluate import matching_cards, prepare_faces
from lineament.methods.dve.landmarks import FilePredictions, landmark_cards
from lineament.methods.dve.model import describe
from lineament.metrics.card import MetricCard
from lineament.pipeline.load import LandmarkModel, load


@dataclass(frozen=True)
class EvaluateOptions:
    """How to score.

    Attributes:
        protocol: ``landmarks`` or ``matching``.
        count: Use only the first so many samples; 0 uses all.
        scheme: Scheme to compare in, or None for the labels' own.
        normaliser: Name of the normaliser.
        box_jitter: Largest move and scaling of the boxes, as a share of their side.
        seed: Seed of everything random.
        device: Where the model runs.
    """

    protocol: Literal["landmarks", "matching"] = "landmarks"
    count: int = 0
    scheme: str | None = None
    normaliser: str = "inter-ocular"
    box_jitter: float = 0.0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on an unknown normaliser."""
        normaliser(self.normaliser)


def evaluate(subject: Path, source: FaceSource, options: EvaluateOptions) -> list[MetricCard]:
    """Score a run directory or a label file of predictions.

    Raises:
        UsageError: If the subject cannot be scored by the protocol.
        DataError: If the data has no landmarks or a prediction is missing.
    """
    count = min(len(source), options.count) if options.count else len(source)
    if subject.suffix.lower() in (".json", ".csv") and subject.is_file():
        if options.protocol != "landmarks":
            raise UsageError("a file of predictions can be scored by --protocol landmarks only.")
        labels = read_keypoints(subject)
        if labels.scheme is None:
            raise DataError(f"{subject} holds no landmarks.")
        best: dict[str, Tensor] = {}
        for face in labels.faces:
            if face.landmarks is not None:
                best.setdefault(face.image, face.landmarks)
        predictor: LandmarkModel | FilePredictions = FilePredictions(labels.scheme, best, str(subject))
        return _landmarks(predictor, source, count, options)
    model = load(subject, options.device)
    if options.protocol == "landmarks":
        if not isinstance(model, LandmarkModel):
            model(torch.zeros(3, 1, 1))  # says what the run lacks
        assert isinstance(model, LandmarkModel)
        return _landmarks(model, source, count, options)
    faces = prepare_faces(source, model.frame, range(count))
    if len(faces) < 2:
        raise DataError(f"{source.name} has {len(faces)} samples with landmarks, matching needs two or more.")

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            return describe(model.network, images.to(model.device)).cpu()

    return list(matching_cards(features, faces, model.frame, source, seed=options.seed))


def _landmarks(
    subject: LandmarkModel | FilePredictions, source: FaceSource, count: int, options: EvaluateOptions
) -> list[MetricCard]:
    predictor = subject.predictor if isinstance(subject, LandmarkModel) else subject
    cards = landmark_cards(
        predictor,
        source,
        range(count),
        which=options.scheme,
        normalise_by=options.normaliser,
        box_jitter=options.box_jitter,
        seed=options.seed,
    )
    if not cards:
        raise DataError(f"{source.name} has no landmarks to compare with.")
    return cards


def default_card_path(subject: Path, source: FaceSource, options: EvaluateOptions) -> Path:
    """Where the cards go when nothing is said: into the run, or beside the file of predictions."""
    data = re.sub(r"[^\w.-]+", "-", source.name).strip("-") or "data"
    if subject.is_dir():
        return subject / "evaluations" / f"{options.protocol}-{data}.json"
    return subject.with_name(f"{subject.stem}-{options.protocol}-{data}.cards.json")

"""Scores a run, the runs of several seeds, predictions or features from a file, or a function, on labelled data."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError
from lineament.faces.normalisers import normaliser
from lineament.methods.dve.evaluate import (
    Describe,
    PairFeatures,
    matching_cards,
    matching_pairs,
    prepare_faces,
)
from lineament.methods.dve.evaluate_landmarks import published_landmark_card
from lineament.methods.dve.frame import Frame, PreparedFace
from lineament.methods.dve.model import describe
from lineament.methods.dve.protocol import get_protocol, protocol_for
from lineament.methods.fabrec.evaluate import reconstruction_cards
from lineament.metrics.card import MetricCard, over_seeds
from lineament.metrics.landmark import AreaRule
from lineament.pipeline.evaluate.features import (
    FileFeatures,
    checked_function,
    import_function,
    is_feature_file,
    write_features,
    write_pictures,
)
from lineament.pipeline.predict.load import load, load_landmarks
from lineament.pipeline.predict.models import DescriptorModel, LandmarkModel
from lineament.report.landmark_cards import cards_of
from lineament.report.landmark_scores import (
    Predictor,
    TablePredictions,
    read_predictions,
    score_landmarks,
)
from lineament.training.run import open_run

# How faces are cut: as published where the data set has a published way, else by the face box; always by the box.
AUTO, BOX = "auto", "box"
# Fields in which the runs of several seeds may differ.
FREE_FIELDS = ("seed", "base")
# What is scored: a run, a file of predictions or features, the name of a function, or a function.
Subject = str | Path | Callable[[Tensor], Any]


@dataclass(frozen=True)
class EvaluateOptions:
    """How to score.

    Attributes:
        protocol: ``landmarks``, ``matching``, or ``reconstruction`` (of the faces by an autoencoder).
        count: Use only the first so many samples; 0 uses all.
        scheme: Scheme to compare in, or None for the labels' own.
        normaliser: Name of the normaliser.
        box_jitter: Largest move and scaling of the boxes, as a share of their side.
        seed: Seed of everything random.
        device: Where the model runs.
        crops: ``auto``, ``box``, or a published preprocessing (celeba, aflw-m, aflw-r, 300w, 300w-bicubic).
        image_size: For features from elsewhere: side of the picture before the crop.
        crop: For features from elsewhere: pixels cut off each side.
        view: For features from elsewhere, cut by the box: side of what is seen, in box sides.
        features_out: Write the features of the matching evaluation there.
        pictures_out: Write the pictures of the matching evaluation into this folder.
        tables: Write tables and curves of the landmark evaluation into this folder.
        area: How the area under the cumulative curve is taken.
    """

    protocol: Literal["landmarks", "matching", "reconstruction"] = "landmarks"
    count: int = 0
    scheme: str | None = None
    normaliser: str | None = None
    box_jitter: float = 0.0
    seed: int = 0
    device: str = "cpu"
    crops: str = AUTO
    image_size: int = 100
    crop: int = 15
    view: float = 1.2
    features_out: Path | None = None
    pictures_out: Path | None = None
    tables: Path | None = None
    area: AreaRule = "exact"

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on an unknown normaliser or preprocessing, or a crop that leaves nothing."""
        if self.normaliser is not None:
            normaliser(self.normaliser)
        if self.crops not in (AUTO, BOX):
            get_protocol(self.crops)
        if self.crop < 0 or self.image_size - 2 * self.crop < 8:
            raise UsageError(
                f"cutting {self.crop} px off each side of {self.image_size} px leaves too little."
            )
        if (self.features_out or self.pictures_out) and self.protocol != "matching":
            raise UsageError("--features-out and --pictures-out belong to --protocol matching.")
        if self.tables and self.protocol != "landmarks":
            raise UsageError("--tables belongs to --protocol landmarks.")


def evaluate(subject: Subject, source: FaceSource, options: EvaluateOptions) -> list[MetricCard]:
    """Score one subject.

    Args:
        subject: A run directory; a label file of predicted landmarks (json, csv); a file of dense features (npz,
            safetensors, folder of npy); ``package.module:function``, or a function, from pictures ``[B, 3, H, W]`` in
            0..1 to features ``[B, C, h, w]``.
        source: Labelled faces.
        options: How.

    Raises:
        UsageError: If the subject cannot be scored by the protocol.
        DataError: If the data has no landmarks, or a prediction or feature is missing or unusable.
    """
    indices = range(min(len(source), options.count) if options.count else len(source))
    if options.protocol == "reconstruction":
        return _reconstruction(subject, source, indices, options)
    if callable(subject):
        return _matching(
            checked_function(subject, "the function"), _frame(options, source), source, indices, options
        )
    path = Path(subject)
    if path.suffix.lower() in (".json", ".csv") and path.is_file():
        _only(options, "landmarks", "a file of predictions")
        return _landmarks(read_predictions(path), source, indices, options)
    if is_feature_file(path):
        return _matching(FileFeatures(path), _frame(options, source), source, indices, options)
    if ":" in str(subject) and not path.exists():
        function = checked_function(import_function(str(subject)), str(subject))
        return _matching(function, _frame(options, source), source, indices, options)
    model = load(path, options.device)
    if model.run.method != "dve":
        _only(options, "landmarks", f"a run of {model.run.recipe}")
        return _landmarks(load_landmarks(path, options.device).predictor, source, indices, options)
    frame = _frame(options, source, model)
    if options.protocol == "matching":
        return _matching(_features_of(model), frame, source, indices, options)
    if not isinstance(model, LandmarkModel):
        model(torch.zeros(3, 1, 1))  # says what the run lacks
    assert isinstance(model, LandmarkModel)
    if frame.protocol and options.scheme is None:
        if options.tables is not None:
            _landmarks(model.predictor, source, indices, options)
        return [published_landmark_card(model.networks, source, frame, indices, model.scheme.name)]
    return _landmarks(model.predictor, source, indices, options)


def evaluate_seeds(runs: Sequence[Path], source: FaceSource, options: EvaluateOptions) -> list[MetricCard]:
    """Score the runs of several seeds of one configuration: cards of the mean, with the deviation over the seeds.

    Raises:
        UsageError: If the runs differ in more than seed and base, or two have the same seed.
    """
    configs = [(open_run(run).recipe, open_run(run).config) for run in runs]
    first = configs[0]
    for run, (recipe, config) in zip(runs, configs, strict=True):
        changed = [
            f"{key} ({first[1].get(key)} and {config.get(key)})"
            for key in sorted({*first[1], *config})
            if key not in FREE_FIELDS and first[1].get(key) != config.get(key)
        ]
        if recipe != first[0]:
            changed = [f"the recipe ({first[0]} and {recipe})"]
        if changed:
            raise UsageError(
                f"{runs[0]} and {run} differ in {', '.join(changed)}: a deviation over seeds needs runs of one "
                "configuration."
            )
    seeds = [config.get("seed") for _, config in configs]
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"the runs have the seeds {seeds}: a deviation over seeds needs different ones.")
    scored = [evaluate(run, source, options) for run in runs]
    merged = []
    for cards in zip(*scored, strict=True):
        card = over_seeds(replace(each, seed=seed) for each, seed in zip(cards, seeds, strict=True))
        merged.append(replace(card, details={**card.details, "runs": [str(run) for run in runs]}))
    return merged


def _features_of(model: DescriptorModel) -> Describe:
    def features(pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return describe(model.network, pictures.to(model.device)).cpu()

    return features


def _frame(options: EvaluateOptions, source: FaceSource, model: DescriptorModel | None = None) -> Frame:
    """How faces are cut: by the data's published preprocessing where it has one, unless the options say otherwise."""
    published = {AUTO: protocol_for(source.name), BOX: ""}.get(options.crops, options.crops)
    if model is not None:
        return replace(model.frame, protocol=published)
    return Frame(options.image_size, options.crop, options.view, protocol=published)


def _matching(
    features: Describe | PairFeatures,
    frame: Frame,
    source: FaceSource,
    indices: range,
    options: EvaluateOptions,
) -> list[MetricCard]:
    _only(options, "matching", "features")
    faces = _faces(source, frame, indices)
    if options.pictures_out is not None:
        _write_pictures(faces, frame, source, options)
    if options.features_out is not None:
        if isinstance(features, PairFeatures):
            raise UsageError(
                "--features-out writes the features of a run or a function; these are in a file already."
            )
        pairs = matching_pairs(faces, frame, seed=options.seed, eight_bit=True)
        write_features(options.features_out, features, pairs)
    # Eight bits, as published, so that features of the written pictures score alike.
    return list(matching_cards(features, faces, frame, source, seed=options.seed, eight_bit=True))


def write_matching_pictures(source: FaceSource, options: EvaluateOptions) -> Path:
    """Write the pictures of the matching evaluation, for a program that will describe them; scores nothing.

    Raises:
        UsageError: If no folder is named.
        DataError: If fewer than two samples have landmarks.
    """
    if options.pictures_out is None:
        raise UsageError(
            "give what is to be scored, or --pictures-out FOLDER to get the pictures to describe."
        )
    _only(options, "matching", "pictures")
    indices = range(min(len(source), options.count) if options.count else len(source))
    frame = _frame(options, source)
    return _write_pictures(_faces(source, frame, indices), frame, source, options)


def _faces(source: FaceSource, frame: Frame, indices: range) -> Sequence[PreparedFace]:
    faces = prepare_faces(source, frame, indices)
    if len(faces) < 2:
        raise DataError(f"{source.name} has {len(faces)} samples with landmarks, matching needs two or more.")
    return faces


def _write_pictures(
    faces: Sequence[PreparedFace], frame: Frame, source: FaceSource, options: EvaluateOptions
) -> Path:
    assert options.pictures_out is not None
    facts = {
        "data": source.name,
        "fingerprint": source.fingerprint,
        "seed": options.seed,
        "side": frame.seen,
        "crops": frame.protocol or BOX,
    }
    pairs = matching_pairs(faces, frame, seed=options.seed, eight_bit=True)
    return write_pictures(options.pictures_out, pairs, facts)


def _only(options: EvaluateOptions, protocol: str, what: str) -> None:
    if options.protocol != protocol:
        raise UsageError(f"{what} can be scored by --protocol {protocol} only.")


def _landmarks(
    predictor: Predictor | TablePredictions, source: FaceSource, indices: range, options: EvaluateOptions
) -> list[MetricCard]:
    """Score every face once, for the cards and, where they are asked for, for the tables."""
    scores = score_landmarks(
        predictor,
        source,
        indices,
        which=options.scheme,
        normalise_by=options.normaliser,
        box_jitter=options.box_jitter,
        seed=options.seed,
    )
    if scores is None:
        raise DataError(f"{source.name} has no landmarks to compare with.")
    if options.tables is not None:
        from lineament.report.landmark_tables import write_landmark_tables  # loads the plotting library

        write_landmark_tables(scores, options.tables, options.area)
    return cards_of(scores, source, box_jitter=options.box_jitter, seed=options.seed, area=options.area)


def _reconstruction(
    subject: Subject, source: FaceSource, indices: range, options: EvaluateOptions
) -> list[MetricCard]:
    """Score what an autoencoder makes of faces."""
    path = Path(str(subject))
    if callable(subject) or not path.is_dir() or open_run(path).method != "fabrec":
        raise UsageError(
            f"--protocol reconstruction needs a run of fabrec-ae or fabrec-landmarks, not {subject}."
        )
    run = open_run(path)
    recipe: Any = run.build_recipe()
    networks = {name: network.to(options.device).eval() for name, network in run.load_networks().items()}
    return reconstruction_cards(networks, source, recipe.config.view, indices)


def default_card_path(subjects: Sequence[str | Path], source: FaceSource, options: EvaluateOptions) -> Path:
    """Where the cards go when nothing is said: into the (first) run, beside a file, or into the current folder."""
    data = re.sub(r"[^\w.-]+", "-", source.name).strip("-") or "data"
    first = Path(subjects[0])
    several = f"-{len(subjects)}-seeds" if len(subjects) > 1 else ""
    if first.is_dir() and not is_feature_file(first):
        return first / "evaluations" / f"{options.protocol}-{data}{several}.json"
    name = re.sub(r"[^\w.-]+", "-", first.stem if first.exists() else str(subjects[0]))
    folder = first.parent if first.exists() else Path()
    return folder / f"{name}-{options.protocol}-{data}.cards.json"

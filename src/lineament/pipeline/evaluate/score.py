"""Scores a run, the runs of several seeds, predictions or features from a file, or a function, on labelled data."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lineament.capabilities import DenseDescriptor, LandmarkPredictor, Reconstructor
from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError
from lineament.evaluation.landmark_cards import cards_of
from lineament.evaluation.landmarks import (
    LandmarkScores,
    PublishedLandmarks,
    read_predictions,
    score_landmarks,
)
from lineament.evaluation.matching import (
    Describe,
    PairFeatures,
    matching_cards,
    matching_pairs,
    prepare_faces,
)
from lineament.evaluation.published import protocol_for
from lineament.evaluation.reconstruction import reconstruction_cards
from lineament.faces.frame import Frame, PreparedFace
from lineament.inference import Model, load
from lineament.metrics.card import MetricCard, over_seeds
from lineament.metrics.landmark import AreaRule
from lineament.pipeline.evaluate.features import (
    FileFeatures,
    checked_function,
    import_function,
    is_feature_file,
    write_features,
    write_images,
)
from lineament.pipeline.evaluate.options import AUTO, BOX, GMPI, EvaluateOptions
from lineament.training.models import open_trained
from lineament.training.run import Run

# Fields in which the runs of several seeds may differ.
FREE_FIELDS = ("seed", "base")
# What is scored: a run, a file of predictions or features, the name of a function, or a function.
Subject = str | Path | Callable[[Tensor], Any]
# What the cards of a run that learnt from the very faces it is scored on must say.
TRAINED_ON = "measured on the faces that it was trained on"


def evaluate(subject: Subject, source: FaceSource, options: EvaluateOptions) -> list[MetricCard]:
    """Score one subject.

    Args:
        subject: A run directory; a label file of predicted landmarks (json, csv); a file of dense features (npz,
            safetensors, folder of npy); ``package.module:function``, or a function, from images ``[B, 3, H, W]`` in
            0..1 to features ``[B, C, h, w]``.
        source: Labelled faces.
        options: How.

    Raises:
        UsageError: If the options contradict each other, the subject cannot be scored by the protocol, or an option has
            no effect on it.
        DataError: If the data has no landmarks, or a prediction or feature is missing or unusable.
    """
    options.check()
    if options.protocol == GMPI:
        raise UsageError(
            f"the protocol {GMPI} is that of pipeline.evaluate.generator.evaluate_generator: call it."
        )
    indices = range(min(len(source), options.count) if options.count else len(source))
    if callable(subject):
        return _features(checked_function(subject, "the function"), source, indices, options)
    path = Path(subject)
    if path.suffix.lower() in (".json", ".csv") and path.is_file():
        _only(options, "landmarks", "a file of predictions")
        options.refuse("a file of predictions", "crops", "box_jitter", "image_size", "crop", "view")
        scores = _score(read_predictions(path), source, indices, options)
        return _landmark_cards(scores, source, options)
    if is_feature_file(path):
        return _features(FileFeatures(path), source, indices, options)
    if ":" in str(subject) and not path.exists():
        function = checked_function(import_function(str(subject)), str(subject))
        return _features(function, source, indices, options)
    return _run(load(path, options.device), source, indices, options)


def _run(model: Model, source: FaceSource, indices: range, options: EvaluateOptions) -> list[MetricCard]:
    """Score a run by one of its capabilities."""
    run = model.run
    what = f"the run {run.label} ({run.recipe})"
    note = TRAINED_ON if trained_on(run, source) else ""
    if options.protocol == "reconstruction":
        predictor = model.capability(Reconstructor)
        options.refuse(f"{what}, whose own crop is reconstructed", "crops", "image_size", "crop", "view")
        return reconstruction_cards(predictor, source, indices, note)
    if options.protocol == "matching":
        descriptor = model.capability(DenseDescriptor)
        frame = getattr(descriptor, "frame", None)
        if frame is None:
            frame = options.frame
        else:
            options.refuse(f"{what}, which has a view of its own", "image_size", "crop", "view")
        frame = replace(frame, protocol=_crops(options, protocol_for(source.name)))
        return _matching(descriptor.describe_views, frame, source, indices, options, note)
    options.refuse(f"the landmarks of {what}", "image_size", "crop", "view")
    marks = model.capability(LandmarkPredictor)
    crops = _crops(
        options, marks.published_crops(source.name) if isinstance(marks, PublishedLandmarks) else ""
    )
    if not crops:
        return _landmark_cards(_score(marks, source, indices, options), source, options, note)
    if not isinstance(marks, PublishedLandmarks):
        raise UsageError(
            f"{what} finds landmarks in the face box alone and was never measured on the crops {crops}: leave --crops "
            "out, or give --crops box."
        )
    own = f"published crops ({crops}), which bring a box and a normaliser of their own, unlike --crops box"
    options.refuse(own, "normaliser", "box_jitter")
    scores = marks.published_scores(source, crops, indices, options.scheme)
    return _landmark_cards(scores, source, options, note, "landmark error, published protocol")


def trained_on(run: Run, source: FaceSource) -> bool:
    """Whether a session of a run learnt from the very faces of a source."""
    return any(session.get("data_fingerprint") == source.fingerprint for session in run.environment())


def evaluate_seeds(
    runs: Sequence[Path],
    source: FaceSource,
    options: EvaluateOptions,
    score: Callable[[Path], list[MetricCard]] | None = None,
) -> list[MetricCard]:
    """Score the runs of several seeds of one configuration: cards of mean and standard deviation.

    Args:
        runs: Run directories.
        source: Labelled faces.
        options: How.
        score: Scores one of them; None: :func:`evaluate`.

    Raises:
        UsageError: If the runs differ in more than seed and base, or two have the same seed.
    """
    configs = [(opened.recipe, opened.config) for opened in map(open_trained, runs)]
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
                f"{runs[0]} and {run} differ in {', '.join(changed)}: a standard deviation over seeds needs "
                "runs of one configuration."
            )
    seeds = [config.get("seed") for _, config in configs]
    if len(set(seeds)) < len(seeds):
        raise UsageError(
            f"the runs have the seeds {seeds}: a standard deviation over seeds needs different ones."
        )
    scored = [evaluate(run, source, options) if score is None else score(run) for run in runs]
    merged = []
    # What one run lacks (no face was found in what it draws) has no mean over all.
    shared = set.intersection(*({card.name for card in cards} for cards in scored))
    kept = [[card for card in cards if card.name in shared] for cards in scored]
    for cards in zip(*kept, strict=True):
        card = over_seeds(replace(each, seed=seed) for each, seed in zip(cards, seeds, strict=True))
        merged.append(replace(card, details={**card.details, "runs": [str(run) for run in runs]}))
    return merged


def _crops(options: EvaluateOptions, published: str) -> str:
    """Published preprocessing by which faces are cut, "" for the face box."""
    return {None: published, AUTO: published, BOX: ""}.get(options.crops, options.crops or "")


def _frame(options: EvaluateOptions, source: FaceSource) -> Frame:
    """The view of features from elsewhere on this data."""
    crops = _crops(options, protocol_for(source.name))
    if crops:
        options.refuse(f"published crops ({crops}), unlike --crops box", "view")
    return replace(options.frame, protocol=crops)


def _features(
    features: Describe | PairFeatures, source: FaceSource, indices: range, options: EvaluateOptions
) -> list[MetricCard]:
    """Score features that come from elsewhere."""
    _only(options, "matching", "features")
    frame = _frame(options, source)
    return _matching(features, frame, source, indices, options)


def _matching(
    features: Describe | PairFeatures,
    frame: Frame,
    source: FaceSource,
    indices: range,
    options: EvaluateOptions,
    note: str = "",
) -> list[MetricCard]:
    faces = _faces(source, frame, indices)
    if options.pictures_out is not None:
        _write_images(faces, frame, source, options)
    if options.features_out is not None:
        if isinstance(features, PairFeatures):
            raise UsageError(
                "--features-out writes the features of a run or a function; these are in a file already."
            )
        pairs = matching_pairs(faces, frame, seed=options.seed, eight_bit=True)
        write_features(options.features_out, features, pairs)
    # Eight bits, as published, so that features of the written images score alike.
    cards = matching_cards(features, faces, frame, source, seed=options.seed, eight_bit=True, note=note)
    return list(cards)


def write_matching_images(source: FaceSource, options: EvaluateOptions) -> Path:
    """Write the images of the matching evaluation, for a program that will describe them; scores nothing.

    Raises:
        UsageError: If no folder is named.
        DataError: If fewer than two samples have landmarks.
    """
    options.check()
    if options.pictures_out is None:
        raise UsageError("give what is to be scored, or --pictures-out FOLDER to get the images to describe.")
    _only(options, "matching", "images")
    indices = range(min(len(source), options.count) if options.count else len(source))
    frame = _frame(options, source)
    return _write_images(_faces(source, frame, indices), frame, source, options)


def _faces(source: FaceSource, frame: Frame, indices: range) -> Sequence[PreparedFace]:
    faces = prepare_faces(source, frame, indices)
    if len(faces) < 2:
        raise DataError(f"{source.name} has {len(faces)} samples with landmarks, matching needs two or more.")
    return faces


def _write_images(
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
    return write_images(options.pictures_out, pairs, facts)


def _only(options: EvaluateOptions, protocol: str, what: str) -> None:
    if options.protocol != protocol:
        raise UsageError(f"{what} can be scored by --protocol {protocol} only.")


def _score(
    predictor: Any, source: FaceSource, indices: range, options: EvaluateOptions
) -> LandmarkScores | None:
    """Score every face once, cut by its box."""
    return score_landmarks(
        predictor,
        source,
        indices,
        which=options.scheme,
        normalise_by=options.normaliser,
        box_jitter=options.box_jitter,
        seed=options.seed,
    )


def _landmark_cards(
    scores: LandmarkScores | None,
    source: FaceSource,
    options: EvaluateOptions,
    note: str = "",
    title: str = "landmark error",
) -> list[MetricCard]:
    """Cards and, where they are asked for, tables of the same scores."""
    if scores is None:
        raise DataError(f"{source.name} has no landmarks to compare with.")
    area: AreaRule = options.area or "exact"
    if options.tables is not None:
        from lineament.evaluation.landmark_tables import write_landmark_tables  # loads the plotting library

        write_landmark_tables(scores, options.tables, area)
    seed = options.seed if options.box_jitter else None
    return cards_of(scores, source, seed=seed, title=title, area=area, note=note)


def default_card_path(subjects: Sequence[str | Path], source: FaceSource, options: EvaluateOptions) -> Path:
    """Where the cards go when nothing is said: into the (first) run, beside a file, or into the current folder."""
    data = re.sub(r"[^\w.-]+", "-", source.name).strip("-") or "data"
    several = f"-{len(subjects)}-seeds" if len(subjects) > 1 else ""
    return card_path(subjects[0], f"{options.protocol}-{data}{several}")


def card_path(subject: str | Path, words: str) -> Path:
    """Where cards of a subject go: into a run, beside a file, or, for a model's name, into the current folder."""
    first = Path(subject)
    if first.is_dir() and not is_feature_file(first):
        return first / "evaluations" / f"{words}.json"
    name = re.sub(r"[^\w.-]+", "-", first.stem if first.exists() else str(subject))
    folder = first.parent if first.exists() else Path()
    return folder / f"{name}-{words}.cards.json"

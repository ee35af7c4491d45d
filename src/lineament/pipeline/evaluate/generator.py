"""Scores runs that draw images or multiplane images: their distance from real images, their geometry."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from lineament.capabilities import ImageGenerator, MultiplaneGenerator, PooledFeatures
from lineament.data.sample import FaceSource
from lineament.errors import UsageError
from lineament.evaluation.arcface import ArcFace
from lineament.evaluation.face_geometry import Observer, look_at
from lineament.evaluation.feature_distances import Extractor, RealImages, feature_cards
from lineament.evaluation.generated import Draws
from lineament.evaluation.geometry_cards import (
    DEPTH,
    POSE,
    PUBLISHED_POSE,
    geometry_cards,
    published_pose_card,
)
from lineament.evaluation.inception_features import InceptionFeatures
from lineament.evaluation.people import DrawnPeople, SyntheticPeople
from lineament.evaluation.view_cards import CONSISTENCY, IDENTITY, consistency_card, identity_card
from lineament.heads.load import load_head
from lineament.inference import Model, load
from lineament.metrics.card import MetricCard
from lineament.pipeline.evaluate.deep3d_angles import Deep3DAngles
from lineament.pipeline.evaluate.generator_options import GeneratorOptions, default_planes
from lineament.progress import Progress, silent

# The model whose features are compared, and which finds landmarks: it comes with the package.
FACE_MODEL = "face-68"
# Synthetic people, whose truth is known, that are looked at for comparison.
TRUE_PEOPLE = 64


def evaluate_generator(
    run: str | Path,
    source: FaceSource,
    options: GeneratorOptions,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[list[MetricCard], list[str]]:
    """Score a run that draws images (``stylegan2``) or multiplane images (``gmpi-folder``).

    Args:
        run: Run directory, model folder, or name of a model.
        source: Real images like those that it learnt from.
        options: How.
        seed: Other seeds draw other images.
        device: Where the networks run.
        progress: How it is shown.

    Returns:
        The cards, and a line for each thing that was left out and why.

    Raises:
        UsageError: If the run draws no images, or an option contradicts it.
        DataError: If there are too few real images, or one cannot be used.
        CheckpointError: If the file of a network holds another.
    """
    said = options.settled()
    assert said.generated is not None and said.real is not None and said.rounding is not None
    model, faces = load(run, device), load(FACE_MODEL, device)
    draws = _draws(model, options, seed)
    left_out: list[str] = []
    extractors = [Extractor.of_model(faces.capability(PooledFeatures), FACE_MODEL)]
    if said.inception is not None:
        extractors.append(Extractor.inception(InceptionFeatures(said.inception, device)))
    else:
        left_out.append("FID and KID: need the Inception network of FID (--inception FILE)")
    observer = _observer(model, faces, said)
    resize = said.resize or bool(model.run.config.get("resize"))
    real = RealImages.choose(source, said.real, draws.generator.resolution, resize)
    # One process computes on a GPU.
    workers = said.workers if device == "cpu" else 1
    cards = feature_cards(
        draws,
        said.generated,
        real,
        extractors,
        rounding=said.rounding,
        workers=workers,
        progress=progress,
    )
    if not model.has(MultiplaneGenerator):
        left_out.append(f"geometry and views: {model.run.label} draws images without depth")
    elif observer is None:
        left_out.append("geometry and views: --people 0")
    else:
        of_people, missing = _of_people(draws, observer, said, workers, progress)
        cards += of_people
        left_out += missing
    return cards, left_out


def _observer(model: Model, faces: Model, options: GeneratorOptions) -> Observer | None:
    """What looks at generated people; None where nobody is to be looked at. Files of networks are read here."""
    if not options.people:
        return None
    arcface = None if options.arcface is None else ArcFace(options.arcface, options.arcface_levels)
    angles = None if options.deep3d is None else Deep3DAngles(options.deep3d)
    if not model.has(MultiplaneGenerator):
        return None
    return Observer(faces, load_head(options.head), arcface, angles)


def _of_people(
    draws: Draws, observer: Observer, options: GeneratorOptions, workers: int, progress: Progress
) -> tuple[list[MetricCard], list[str]]:
    """Cards of people that are looked at from several sides, and what was left out."""
    assert options.people is not None and isinstance(draws.generator, MultiplaneGenerator)
    assert options.identity_views is not None
    sides = options.identity_views
    people = DrawnPeople(draws, sides)
    known = SyntheticPeople(
        observer.head, people.side, draws.generator.poses, people.cameras.fov, people.sideways, sides
    )
    look = partial(look_at, observer=observer, workers=workers, progress=progress)
    found = look(people, options.people, title="generated people")
    truth = look(known, min(options.people, TRUE_PEOPLE), title="synthetic people")
    how, seed = draws.words, draws.seed
    seen = f"{math.degrees(people.sideways):.0f} degrees to either side"
    if sides == "random":
        seen = "two cameras of the training's spread"
    cards = geometry_cards(found, truth, how=how, head=options.head, seed=seed)
    missing = [name for name in (DEPTH, POSE) if name not in {card.name for card in cards}]
    left_out = [f"{name}: no face was found in any of {len(found)} people" for name in missing]
    identity, why = identity_card(
        found,
        truth,
        by="ArcFace embeddings" if observer.embed else "shape coefficients of fitted heads",
        seen=seen,
        how=how,
        required=observer.embed is None,
        seed=seed,
    )
    consistency = consistency_card(found, how=how, seen=seen, seed=seed)
    cards += [card for card in (identity, consistency) if card is not None]
    if why:
        left_out.append(f"{IDENTITY}: {why}")
    if consistency is None:
        left_out.append(f"{CONSISTENCY}: no pixel is seen twice")
    if observer.angles is None:
        left_out.append(f"{PUBLISHED_POSE}: needs its network (--deep3d FILE)")
    elif (published := published_pose_card(found, truth, how=how, seed=seed)) is not None:
        cards.append(published)
    else:
        left_out.append(f"{PUBLISHED_POSE}: no face was found in any of {len(found)} people")
    left_out.append(
        "depth against Deep3DFaceRecon's mesh: the Basel face model cannot be read here; the fitted head stands for it"
    )
    return cards, left_out


def _draws(model: Model, options: GeneratorOptions, seed: int) -> Draws:
    """What the run draws."""
    if model.has(MultiplaneGenerator):
        generator = model.capability(MultiplaneGenerator)
        planes = default_planes(generator.any_planes, len(generator.planes), options.planes)
        return Draws(generator, planes, options.truncation, seed)
    plain = model.capability(ImageGenerator, "train one with `lineament train stylegan2` or `gmpi-folder`")
    for name in ("planes", "people", "arcface", "deep3d", "identity_views"):
        if (value := getattr(options, name)) not in (None, 0):
            flag = f"--{name.replace('_', '-')} {value}"
            raise UsageError(f"{model.run.label} draws images without planes or views: leave {flag} out.")
    return Draws(plain, None, options.truncation, seed)

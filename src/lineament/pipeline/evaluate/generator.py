"""Scores runs that draw images or multiplane images: their distance from real images, their geometry."""

from __future__ import annotations

from pathlib import Path

from lineament.capabilities import ImageGenerator, MultiplaneGenerator, PooledFeatures
from lineament.data.sample import FaceSource
from lineament.errors import UsageError
from lineament.evaluation.face_geometry import Observer, look_at
from lineament.evaluation.feature_distances import Extractor, RealImages, feature_cards
from lineament.evaluation.generated import Draws
from lineament.evaluation.geometry_cards import DEPTH, POSE, geometry_cards
from lineament.evaluation.inception_features import InceptionFeatures
from lineament.evaluation.people import DrawnPeople, SyntheticPeople
from lineament.heads.load import load_head
from lineament.inference import Model, load
from lineament.metrics.card import MetricCard
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
        CheckpointError: If the Inception network's file is none.
    """
    said = options.settled()
    assert said.generated is not None and said.real is not None and said.rounding is not None
    model, faces = load(run, device), load(FACE_MODEL, device)
    draws = _draws(model, said, seed)
    left_out: list[str] = []
    extractors = [Extractor.of_model(faces.capability(PooledFeatures), FACE_MODEL)]
    if said.inception is not None:
        extractors.append(Extractor.inception(InceptionFeatures(said.inception, device)))
    else:
        left_out.append("FID and KID: need the Inception network of FID (--inception FILE)")
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
        left_out.append(f"geometry: {model.run.label} draws images without depth")
    elif not said.people:
        left_out.append("geometry: --people 0")
    else:
        of_people, missing = _geometry(draws, faces, said, workers, progress)
        cards += of_people
        left_out += missing
    return cards, left_out


def _geometry(
    draws: Draws, faces: Model, options: GeneratorOptions, workers: int, progress: Progress
) -> tuple[list[MetricCard], list[str]]:
    """Cards of people that are looked at from several sides, and what was left out."""
    assert options.people is not None and isinstance(draws.generator, MultiplaneGenerator)
    observer = Observer(faces, load_head(options.head))
    people, cameras = DrawnPeople(draws), draws.generator.cameras
    known = SyntheticPeople(observer.head, people.side, draws.generator.poses, cameras.fov, people.sideways)
    found = look_at(
        people, options.people, observer, workers=workers, title="generated people", progress=progress
    )
    truth = look_at(
        known,
        min(options.people, TRUE_PEOPLE),
        observer,
        workers=workers,
        title="synthetic people",
        progress=progress,
    )
    cards = geometry_cards(found, truth, how=draws.words, head=options.head, seed=draws.seed)
    missing = [name for name in (DEPTH, POSE) if name not in {card.name for card in cards}]
    return cards, [f"{name}: no face was found in any of {len(found)} people" for name in missing]


def _draws(model: Model, options: GeneratorOptions, seed: int) -> Draws:
    """What the run draws."""
    if model.has(MultiplaneGenerator):
        generator = model.capability(MultiplaneGenerator)
        planes = default_planes(generator.any_planes, len(generator.planes), options.planes)
        return Draws(generator, planes, options.truncation, seed)
    plain = model.capability(ImageGenerator, "train one with `lineament train stylegan2` or `gmpi-folder`")
    if options.planes is not None:
        raise UsageError(
            f"{model.run.label} draws images without planes: leave --planes {options.planes} out."
        )
    return Draws(plain, None, options.truncation, seed)

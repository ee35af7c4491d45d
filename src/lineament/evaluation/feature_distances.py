"""How far the images of a generator are from real ones: Frechet and kernel distances of what networks see in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from lineament.capabilities import PooledFeatures
from lineament.data.sample import FaceSource
from lineament.data.square_images import square_image
from lineament.errors import DataError
from lineament.evaluation.generated import Draws, Rounding, drawn_in_chunks, in_eight_bits
from lineament.metrics.card import MetricCard
from lineament.metrics.feature_distance import (
    SUBSET_SEED,
    SUBSET_SIZE,
    SUBSETS,
    frechet_distance,
    kernel_distance,
    moments,
)
from lineament.progress import Progress, silent

# Images of either kind in published tables, and the seed of which real ones are taken.
PUBLISHED_COUNT, REAL_SEED = 50_000, 123


@dataclass(frozen=True)
class Extractor:
    """A network whose features are compared.

    Attributes:
        network: Makes them.
        features: What they are, for names of cards.
        frechet: Name of their Frechet distance.
        kernel: Name of their kernel distance.
        published: Whether published tables hold these distances.
    """

    network: PooledFeatures
    features: str
    frechet: str
    kernel: str
    published: bool = False

    @staticmethod
    def of_model(network: PooledFeatures, name: str) -> Extractor:
        """Distances that are called by a model's name."""
        return Extractor(
            network,
            f"pooled features of {name}",
            f"Frechet distance ({name} features)",
            f"kernel distance ({name} features)",
        )

    @staticmethod
    def inception(network: PooledFeatures) -> Extractor:
        """FID and KID."""
        return Extractor(network, "pooled features of Inception v3", "FID", "KID", published=True)


@dataclass(frozen=True)
class RealImages:
    """The real images that a generator is compared with.

    Attributes:
        source: Where they come from.
        indices: Which of them, in the order in which they are taken.
        side: Pixels of a side.
        resize: Cut images of another size to their middle square and scale it, as the training does.
    """

    source: FaceSource
    indices: Sequence[int]
    side: int
    resize: bool

    @staticmethod
    def choose(source: FaceSource, most: int, side: int, resize: bool) -> RealImages:
        """Take at most so many images, at random, always the same; 0 takes all.

        Raises:
            DataError: If there are fewer than two.
        """
        if len(source) < 2:
            raise DataError(
                f"{source.name} has {len(source)} images: a distance of sets of images needs two or more."
            )
        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(REAL_SEED)).tolist()
        return RealImages(source, order[: most or None], side, resize)

    def image(self, index: int) -> torch.Tensor:
        """``[3, side, side]``, multiples of 1/255.

        Raises:
            DataError: If it cannot be read, or is of another size and not to be resized; it is named.
        """
        sample = self.source[index]
        return square_image(sample.image, self.side, self.resize, sample.id)


def feature_cards(
    draws: Draws,
    count: int,
    real: RealImages,
    extractors: Sequence[Extractor],
    *,
    rounding: Rounding = "nearest",
    workers: int = 1,
    progress: Progress = silent,
) -> list[MetricCard]:
    """Frechet and kernel distance of generated images from real ones, for each network.

    Args:
        draws: The generated images.
        count: Their number.
        real: The real images.
        extractors: The networks.
        rounding: How generated images get their 8 bits.
        workers: Processes.
        progress: How it is shown.

    Raises:
        DataError: If there are too few images, or one cannot be used.
    """
    theirs = _features(
        partial(_real_features, real, extractors), real.indices, workers, "real images", progress
    )
    made = partial(_drawn_features, draws, rounding, extractors)
    ours = _features(made, range(count), workers, "generated images", progress)
    cards = []
    for extractor, drawn, true in zip(extractors, ours, theirs, strict=True):
        cards += _cards(extractor, drawn, true, draws, real, rounding)
    return cards


def _features(
    work: partial[list[list[np.ndarray]]],
    numbers: Sequence[int],
    workers: int,
    title: str,
    progress: Progress,
) -> list[np.ndarray]:
    """Features ``[N, C]`` of each network."""
    with drawn_in_chunks(work, numbers, workers, title, "images", progress) as found:
        rows = list(found)
    return [np.stack(each) for each in zip(*rows, strict=True)]


def _real_features(
    real: RealImages, extractors: Sequence[Extractor], indices: Sequence[int]
) -> list[list[np.ndarray]]:
    return _seen(torch.stack([real.image(index) for index in indices]), extractors)


def _drawn_features(
    draws: Draws, rounding: Rounding, extractors: Sequence[Extractor], numbers: Sequence[int]
) -> list[list[np.ndarray]]:
    return _seen(in_eight_bits(draws.images(numbers), rounding), extractors)


def _seen(images: torch.Tensor, extractors: Sequence[Extractor]) -> list[list[np.ndarray]]:
    """For each image the features of each network."""
    features = [each.network.pooled_features(images).numpy() for each in extractors]
    return [[each[row] for each in features] for row in range(len(images))]


def _cards(
    extractor: Extractor,
    drawn: np.ndarray,
    true: np.ndarray,
    draws: Draws,
    real: RealImages,
    rounding: Rounding,
) -> list[MetricCard]:
    """The two cards of one network."""
    source = real.source
    half = len(true) // 2
    dropped = "rounded to the nearest level" if rounding == "nearest" else "fractions of a level dropped"
    resized = ", images of other sizes cut to their middle square and scaled" if real.resize else ""
    protocol = (
        f"{len(drawn)} generated images ({draws.image_words}; {dropped}) against {len(true)} of {len(source)} real "
        f"ones (chosen with seed {REAL_SEED}{resized}), {real.side} px, {extractor.features} ({drawn.shape[1]} numbers)"
    )
    facts = {
        "generated": len(drawn),
        "real": len(true),
        "real_there": len(source),
        "features": drawn.shape[1],
        "rounding": rounding,
    }
    common: dict[str, Any] = {"count": len(drawn), "data": source.name, "fingerprint": source.fingerprint}
    halves = f"real images against real ones, two halves of {half}"
    seen, known = moments(drawn), moments(true)
    frechet: dict[str, float] = {}
    if half >= 2:
        one, two = moments(true[:half]), moments(true[half : 2 * half])
        frechet["real_halves"] = frechet_distance(one, two)
        if len(drawn) >= half:
            frechet["same_count"] = frechet_distance(drawn[:half], one)
            halves += f" ({half} generated ones against the first half: {frechet['same_count']:.4g})"
    cards = [
        MetricCard(
            name=extractor.frechet,
            value=frechet_distance(seen, known),
            unit="(smaller is better)",
            definition="|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of mean and covariance of the features",
            protocol=protocol,
            seed=draws.seed,
            baseline=frechet.get("real_halves"),
            baseline_name=halves if "real_halves" in frechet else None,
            note=_warning(extractor, drawn, true),
            details={**facts, **frechet},
            **common,
        )
    ]
    kernel = kernel_distance(drawn, true)
    between = kernel_distance(true[:half], true[half : 2 * half]) if half >= 2 else None
    small = "" if kernel.size == SUBSET_SIZE else f"subsets of {kernel.size} images, not {SUBSET_SIZE}"
    cards.append(
        MetricCard(
            name=extractor.kernel,
            value=100 * kernel.mean,
            unit="x 0.01 (smaller is better)",
            definition="unbiased squared maximum mean discrepancy of the features x, y under (x.y / C + 1)^3",
            protocol=f"{protocol}; mean over {SUBSETS} subsets of {kernel.size} images of each",
            seed=SUBSET_SEED,
            std=100 * kernel.std,
            std_over="subsets",
            baseline=None if between is None else 100 * between.mean,
            baseline_name=None if between is None else f"real images against real ones, two halves of {half}",
            note=small,
            details={**facts, "subset_size": kernel.size, "subsets": SUBSETS},
            **common,
        )
    )
    return cards


def _warning(extractor: Extractor, drawn: np.ndarray, true: np.ndarray) -> str:
    """What makes a Frechet distance another one than it seems."""
    fewest = min(len(drawn), len(true))
    if fewest <= drawn.shape[1]:
        return (
            f"too few images: {fewest} of one kind, no more than features, leave the covariance undetermined"
        )
    if extractor.published and fewest < PUBLISHED_COUNT:
        return f"of {fewest} images of one kind: not to be compared with published ones of {PUBLISHED_COUNT}"
    return ""

"""Distances between two sets of images, measured on the features that a network makes of each image.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium" (NeurIPS 2017), for
the Frechet distance; Binkowski et al., "Demystifying MMD GANs" (ICLR 2018), for the kernel distance. They are called
FID and KID where the features are those of the Inception network alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lineament.errors import DataError

Features = np.ndarray
# As published: subsets, their size, and the seed of who is in them.
SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1000, 2020


class Moments(NamedTuple):
    """What the Frechet distance knows of a set of images.

    Attributes:
        mean: ``[C]`` float64.
        covariance: ``[C, C]`` float64, unbiased.
    """

    mean: np.ndarray
    covariance: np.ndarray


class KernelDistance(NamedTuple):
    """What :func:`kernel_distance` found.

    Attributes:
        mean: Over the subsets.
        std: Over the subsets, of the population.
        size: Images of a subset.
    """

    mean: float
    std: float
    size: int


def moments(features: Features) -> Moments:
    """Mean and covariance of features ``[N, C]``.

    Raises:
        DataError: If there are fewer than two images, or a feature is not a finite number.
    """
    _check(features)
    values = features.astype(np.float64)
    return Moments(values.mean(0), np.atleast_2d(np.cov(values, rowvar=False)))


def frechet_distance(one: Features | Moments, two: Features | Moments) -> float:
    """Squared Frechet (2-Wasserstein) distance of the normal distributions that have the moments of two sets.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` in double precision. The trace of the root is the sum of the roots
    of the eigenvalues of ``S1^(1/2) S2 S1^(1/2)``, which is symmetric: they are real whatever the covariances are.

    Args:
        one: Features ``[N, C]`` of one set, or their moments.
        two: Of the other one, ``[M, C]``.

    Raises:
        DataError: As :func:`moments` does, or if the features have different lengths.
    """
    a, b = (each if isinstance(each, Moments) else moments(each) for each in (one, two))
    if a.mean.shape != b.mean.shape:
        raise DataError(
            f"features of {len(a.mean)} and {len(b.mean)} numbers cannot be compared: take both from one network."
        )
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(np.square(a.mean - b.mean).sum() + traces - 2 * shared)


def squared_mmd(one: Features, two: Features) -> float:
    """Unbiased squared maximum mean discrepancy of two sets of equal size under the kernel ``(x.y / C + 1)^3``.

    Args:
        one: ``[N, C]``.
        two: ``[N, C]``.

    Raises:
        DataError: If there are fewer than two images, or the shapes differ.
    """
    if one.shape != two.shape or one.ndim != 2 or len(one) < 2:
        raise DataError(
            f"the kernel distance needs two or more images of both sets, equally many, got {one.shape} and {two.shape}."
        )
    a, b = one.astype(np.float64), two.astype(np.float64)
    count, channels = a.shape
    within = sum(_kernel(x, x, channels).sum() - _diagonal(x, channels).sum() for x in (a, b))
    return float(within / (count * (count - 1)) - 2 * _kernel(a, b, channels).mean())


def kernel_distance(
    one: Features,
    two: Features,
    subsets: int = SUBSETS,
    size: int = SUBSET_SIZE,
    seed: int = SUBSET_SEED,
) -> KernelDistance:
    """Mean of :func:`squared_mmd` over random subsets, as published: that of ``one`` is drawn before that of ``two``.

    Args:
        one: Features ``[N, C]`` of the generated images.
        two: Of the real images, ``[M, C]``.
        subsets: How many.
        size: Images of a subset; fewer where a set has fewer.
        seed: Of who is in a subset.

    Raises:
        DataError: If a set has fewer than two images, or a feature is not a finite number.
    """
    _check(one)
    _check(two)
    draws = np.random.RandomState(seed)
    size = min(size, len(one), len(two))
    found = [
        squared_mmd(*(each[draws.choice(len(each), size, replace=False)] for each in (one, two)))
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(found)), float(np.std(found)), size)


def _kernel(one: np.ndarray, two: np.ndarray, channels: int) -> np.ndarray:
    shared: np.ndarray = one @ two.T
    shared /= channels
    shared += 1
    # A power by an exponent would take ten times longer than the products.
    return shared * shared * shared


def _diagonal(x: np.ndarray, channels: int) -> np.ndarray:
    own: np.ndarray = np.square(x).sum(1) / channels + 1
    return own**3


def _check(features: Features) -> None:
    if features.ndim != 2 or len(features) < 2:
        raise DataError(
            f"a distance of sets of images needs two or more images of each, got features {list(features.shape)}."
        )
    if not np.isfinite(features).all():
        raise DataError("a feature is not a finite number: an image, or a weight of the network, is none.")

"""Frechet and kernel distances against closed forms and a well-kept library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import maximum_mean_discrepancy, poly_kernel

from lineament.errors import DataError
from lineament.metrics.feature_distance import (
    Moments,
    frechet_distance,
    kernel_distance,
    moments,
    squared_mmd,
)


def features(seed: int, count: int = 60, channels: int = 8, shift: float = 0.0) -> np.ndarray:
    draws = np.random.default_rng(seed)
    return draws.normal(size=(count, channels)) @ draws.normal(size=(channels, channels)) + shift


def test_equal_sets_are_no_distance_apart_and_a_shift_is_its_square():
    one = features(0)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, one + 0.5) == pytest.approx(8 * 0.25, rel=1e-9)
    # Normal distributions of variances a^2 and b^2 along each axis: the sum of (a - b)^2.
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.0])
    found = frechet_distance(*(Moments(np.zeros(3), np.diag(each**2)) for each in (a, b)))
    assert found == pytest.approx(10.0, rel=1e-9)


@pytest.mark.parametrize("count", [60, 5])
def test_distances_are_those_of_torchmetrics(count: int):
    """Also of fewer images than features, where covariances have no full rank."""
    one, two = features(1, count), features(2, count, shift=0.3)
    (m1, s1), (m2, s2) = ([torch.from_numpy(each) for each in moments(values)] for values in (one, two))
    assert frechet_distance(one, two) == pytest.approx(float(_compute_fid(m1, s1, m2, s2)), rel=1e-5)
    a, b = torch.from_numpy(one), torch.from_numpy(two)
    kernels = [poly_kernel(x, y, 3, None, 1.0) for x, y in ((a, a), (a, b), (b, b))]
    theirs = float(maximum_mean_discrepancy(*kernels))
    assert squared_mmd(one, two) == pytest.approx(theirs, rel=1e-9)


def test_subsets_are_drawn_by_the_published_seed():
    one, two = features(3, 50), features(4, 40)
    draws = np.random.RandomState(2020)
    found = [
        squared_mmd(one[draws.choice(50, 12, replace=False)], two[draws.choice(40, 12, replace=False)])
        for _ in range(7)
    ]
    distance = kernel_distance(one, two, subsets=7, size=12)
    assert (distance.mean, distance.std) == pytest.approx((np.mean(found), np.std(found)))
    # Fewer images than a subset should have: all of the smaller set.
    assert kernel_distance(one, two, subsets=1).size == 40


def test_what_cannot_be_compared_is_refused():
    one = features(0, 4)
    with pytest.raises(DataError, match="two or more images"):
        frechet_distance(one[:1], one)
    with pytest.raises(DataError, match="8 and 5 numbers"):
        frechet_distance(one, features(0, 4, 5))
    broken = one.copy()
    broken[1, 2] = np.nan
    with pytest.raises(DataError, match="not a finite number"):
        kernel_distance(one, broken)

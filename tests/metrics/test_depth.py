"""DepthCorr: closed forms, parts that are merged, keypoints that do not vary."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.metrics.depth import PearsonSums, depth_correlation


def rows(seed: int, count: int = 40, keypoints: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = torch.randn(count, keypoints, generator=generator, dtype=torch.float64)
    return true + torch.randn(count, keypoints, generator=generator, dtype=torch.float64), true


def test_correlations_are_those_of_numpy_and_their_sizes_are_summed():
    predicted, true = rows(0)
    predicted[:, 1] *= -3.0
    single = [float(np.corrcoef(predicted[:, k], true[:, k])[0, 1]) for k in range(5)]
    assert single[1] < 0
    sums = PearsonSums(5)
    sums.add(predicted, true)
    assert sums.correlations().tolist() == pytest.approx(single)
    # The sign of a depth without a critic is not known: its size counts.
    assert depth_correlation(predicted, true) == pytest.approx(sum(map(abs, single)))


def test_perfect_mirrored_and_constant_depths():
    _, true = rows(1)
    assert depth_correlation(2 * true + 7, true) == pytest.approx(5)
    assert depth_correlation(-true, true) == pytest.approx(5)
    flat = true.clone()
    flat[:, 2] = 4.0
    assert depth_correlation(flat, true) == pytest.approx(4)
    assert depth_correlation(true, flat) == pytest.approx(4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_parts_may_be_merged_in_any_cut(seed: int, cuts: list[int]):
    """Means of parts differ, so the moments between them count: far from zero, of different sizes."""
    predicted, true = rows(seed)
    predicted = predicted + 100.0 * (torch.arange(40) > 25)[:, None]
    whole, merged = PearsonSums(5), PearsonSums(5)
    whole.add(predicted, true)
    edges = [0, *sorted(cuts), 40]
    for first, end in pairwise(edges):
        part = PearsonSums(5)
        part.add(predicted[first:end], true[first:end])
        merged.merge(part)
    assert merged.count == 40
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.moments, whole.moments)
    torch.testing.assert_close(merged.correlations(), whole.correlations())


def test_no_rows_have_no_correlation():
    assert PearsonSums(3).correlations().tolist() == [0.0, 0.0, 0.0]

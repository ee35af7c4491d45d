"""Moments of softmaxed heatmaps against closed forms."""

from __future__ import annotations

import pytest
import torch

from lineament.nn.soft_argmax import corner_aligned, edge_aligned, soft_argmax, soft_moments


def test_a_peak_lies_at_its_own_cell():
    scores = torch.full((1, 1, 5, 9), -1e4)
    scores[0, 0, 1, 6] = 0.0
    torch.testing.assert_close(soft_argmax(scores)[0, 0], torch.tensor([2 * 6 / 8 - 1, 2 * 1 / 4 - 1]))
    mean, variance = soft_moments(scores, edge_aligned)
    torch.testing.assert_close(mean[0, 0], torch.tensor([6.5 / 9, 1.5 / 5]))
    assert float(variance) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("coordinates", [corner_aligned, edge_aligned])
def test_a_flat_map_has_the_moments_of_a_uniform_distribution(coordinates):
    mean, variance = soft_moments(torch.zeros(2, 3, 4, 6, dtype=torch.float64), coordinates)
    across, down = (coordinates(n, mean) for n in (6, 4))
    torch.testing.assert_close(mean, torch.stack([across.mean(), down.mean()]).expand(2, 3, 2))
    torch.testing.assert_close(variance, (across.var(correction=0) + down.var(correction=0)).expand(2, 3))


def test_two_equal_peaks_have_the_mean_between_and_a_quarter_of_their_square():
    scores = torch.full((1, 1, 7, 7), -1e4, dtype=torch.float64)
    scores[0, 0, 1, 1] = scores[0, 0, 5, 4] = 3.0
    mean, variance = soft_moments(scores, edge_aligned)
    torch.testing.assert_close(mean[0, 0], torch.tensor([3.0 / 7, 3.5 / 7]).double())
    assert float(variance) == pytest.approx((3**2 + 4**2) / 4 / 7**2)


def test_both_functions_give_the_same_mean():
    scores = torch.randn(2, 3, 8, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(soft_argmax(scores), soft_moments(scores)[0])

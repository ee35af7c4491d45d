"""Random warps: identity without noise, exact carrying of points, spread as asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from lineament.geometry import tps_warp as warp

STILL = warp.WarpSpread(0, 0, 0, 0, 0)


def drawn(count: int, spread: warp.WarpSpread = warp.TRAINING, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([warp.random_weights(spread, generator) for _ in range(count)])


def test_a_warp_without_noise_is_the_identity():
    images = torch.rand(2, 3, 20, 24)
    points = torch.tensor([[[3.0, 4.0], [23.0, 19.0]]]).expand(2, 2, 2)
    weights = drawn(2, STILL)
    pair = warp.warp_pair(images, weights, weights, 0, points)
    torch.testing.assert_close(pair.first, images, atol=2e-5, rtol=0)
    torch.testing.assert_close(pair.second, images, atol=2e-5, rtol=0)
    assert float(pair.flow().abs().max()) < 1e-4
    assert torch.equal(pair.first_points, points)


def test_the_first_view_is_the_second_one_warped_again():
    images = torch.rand(1, 3, 30, 30)
    first, second = drawn(2)
    pair = warp.warp_pair(images, first[None], second[None])
    torch.testing.assert_close(warp.resample(pair.second, pair.grid), pair.first)


def test_cropping_keeps_the_grid_consistent():
    images = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 5), (40, 40), mode="bicubic")
    weights = drawn(2)
    pair = warp.warp_pair(images, weights[:1], weights[1:], crop=8)
    again = warp.resample(pair.second, pair.grid)
    inside = (pair.grid.abs() <= 1).all(-1)[:, None].expand_as(again)
    torch.testing.assert_close(again[inside], pair.first[inside], atol=1e-5, rtol=0)
    assert 0.5 < float(inside.double().mean()) <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(20, 20), (18, 31)]))
def test_carried_points_equal_those_of_a_tree(seed: int, size: tuple[int, int]):
    height, width = size
    grid = warp.warp_grid(drawn(2, seed=seed), height, width)
    points = torch.rand(2, 7, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
        [width, height]
    )
    carried = warp.carry_points(points, grid)
    unit = warp.grid_from_pixels(points.double(), height, width).numpy()
    for item in range(2):
        values = grid[item].reshape(-1, 2).double().numpy()
        distance, _ = cKDTree(values).query(unit[item])
        index = (carried[item, :, 1] * width + carried[item, :, 0]).long().numpy()
        # Equal distances may name another pixel; the distance itself must be the smallest.
        np.testing.assert_allclose(np.linalg.norm(values[index] - unit[item], axis=1), distance, atol=1e-12)


def test_smoothly_carried_points_come_back_through_the_grid():
    grid = warp.warp_grid(drawn(4, seed=3), 40, 40)
    points = 10 + 20 * torch.rand(4, 6, 2, generator=torch.Generator().manual_seed(0))
    carried = warp.carry_points_smoothly(points, grid)
    unit = warp.grid_from_pixels(carried, 40, 40)[:, None]
    sources = warp.pixels_from_grid(
        warp.resample(grid.permute(0, 3, 1, 2), unit)[:, :, 0].transpose(1, 2), 40, 40
    )
    assert float((sources - points).abs().max()) < 0.05
    # The pixel they are near to is the published, snapped answer.
    assert float((carried - warp.carry_points(points, grid)).abs().max()) < 1.0


def test_points_far_outside_are_missing():
    grid = warp.warp_grid(drawn(1, STILL), 20, 20)
    carried = warp.carry_points_smoothly(torch.tensor([[[-9.0, 5.0], [5.0, 5.0]]]), grid)
    assert torch.isnan(carried[0, 0]).all()
    torch.testing.assert_close(carried[0, 1], torch.tensor([5.0, 5.0]), atol=1e-3, rtol=0)


def test_draws_have_the_asked_spread_and_follow_the_generator():
    weights = drawn(300)
    kernel, shift = weights[:, :100], weights[:, 100]
    expected = np.sqrt((warp.TRAINING.kernel_all**2 + warp.TRAINING.kernel_subset**2) / 2)
    assert float(kernel.std()) == pytest.approx(expected, rel=0.05)
    assert float(shift.std()) == pytest.approx(warp.TRAINING.translation, rel=0.1)
    scale = (weights[:, 101, 0] ** 2 + weights[:, 101, 1] ** 2).sqrt()
    assert float(scale.std()) == pytest.approx(warp.TRAINING.scale, rel=0.15)
    assert torch.equal(drawn(3, seed=5), drawn(3, seed=5))

"""Random warps: identity without noise, exact carrying of points, spread as asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from lineament.geometry import tps_warp as warp

STILL = warp.WarpStd(0, 0, 0, 0, 0)


def drawn(count: int, spread: warp.WarpStd = warp.TRAINING, seed: int = 0) -> torch.Tensor:
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


def test_the_kernel_of_a_control_point_is_r_squared_times_its_logarithm():
    basis = warp.tps_basis(7, 9)
    assert basis.shape == (63, 103)
    # Control point 0 lies in the upper left corner, on the first pixel; the last pixel is 2 away on both axes.
    assert float(basis[0, 0]) == 0.0
    assert float(basis[-1, 0]) == pytest.approx(8 * np.log(8 + 1e-5), rel=1e-6)
    # Near a control point the softening shows: half a pixel of a fine lattice beside it.
    fine = warp.tps_basis(1001, 1001)[1]
    r2 = (2 / 1000) ** 2
    assert float(fine[0]) == pytest.approx(r2 * np.log(r2 + 1e-5), rel=1e-4)
    warp.tps_basis.cache_clear()
    assert basis[-1, 100:].tolist() == [1.0, 1.0, 1.0]
    assert basis[8, 100:].tolist() == [1.0, 1.0, -1.0]  # one row on: x, then y


def test_a_positive_turn_is_clockwise_in_the_grid():
    """What the output reads at its right edge lies lower in the input by a positive angle."""
    turn = warp.WarpStd(0, 0, 0, 0, 30.0)
    generator = torch.Generator().manual_seed(2)
    weights = warp.random_weights(turn, generator)
    again = torch.Generator().manual_seed(2)
    torch.randn(100, 2, generator=again)
    redrawn = int((torch.rand(100, 2, generator=again) > 0.5).sum())
    torch.randn(redrawn, generator=again)
    angle = np.radians(30.0 * float(torch.randn([], generator=again)))
    grid = warp.warp_grid(weights[None], 21, 21)[0]
    # The basis is (1, x, y) and the rows of the matrix its columns: x' = x cos + y sin, y' = -x sin + y cos.
    assert grid[10, 20].tolist() == pytest.approx([np.cos(angle), -np.sin(angle)], abs=1e-6)
    assert grid[20, 10].tolist() == pytest.approx([np.sin(angle), np.cos(angle)], abs=1e-6)


def test_half_of_the_kernel_weights_are_replaced_and_not_added_to():
    spread = warp.WarpStd(kernel_all=1000.0, kernel_subset=1.0, translation=0, scale=0, rotation=0)
    kernel = warp.random_weights(spread, torch.Generator().manual_seed(0))[:100]
    small = kernel.abs() < 6
    # Of the first draws, deviation 1000, next to none is that small by itself.
    assert 80 < int(small.sum()) < 120
    assert float(kernel[small].std()) == pytest.approx(1.0, rel=0.2)
    # Per coordinate, not per control point: some points keep one of the two.
    assert bool((small[:, 0] != small[:, 1]).any())


def test_pixels_and_grids_of_a_picture_that_is_not_square():
    corners = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.5]])
    pixels = warp.pixels_from_grid(corners, 5, 9)
    assert pixels.tolist() == [[0.0, 0.0], [8.0, 4.0], [4.0, 3.0]]
    torch.testing.assert_close(warp.grid_from_pixels(pixels, 5, 9), corners)


def moved(right: float, down: float) -> torch.Tensor:
    """A warp that reads every pixel this many half sides to the right and below."""
    weights = torch.zeros(103, 2)
    weights[100] = torch.tensor([right, down])
    weights[101, 0] = weights[102, 1] = 1.0
    return weights


def test_points_of_both_views_follow_both_warps_and_the_crop():
    # On 21 pixels 0.2 are two pixels: the first warp reads two to the right, the second four below.
    points = torch.tensor([[[10.0, 12.0]]])
    first, second = moved(0.2, 0.0)[None], moved(0.0, 0.4)[None]
    pair = warp.warp_pair(torch.rand(1, 3, 21, 21), first, second, 3, points)
    assert pair.second_points.tolist() == [[[10 - 2 - 3, 12 - 3]]]
    assert pair.first_points.tolist() == [[[10 - 2 - 3, 12 - 4 - 3]]]
    assert pair.first.shape == pair.second.shape == (1, 3, 15, 15)
    # Where the flow leads: from the first view to the place in the second, in pixels of the crop.
    torch.testing.assert_close(pair.flow()[0, 7, 7], torch.tensor([0.0, 4.0]), atol=1e-4, rtol=0)
    single, carried = warp.warp_single(torch.rand(1, 3, 21, 21), first, 3, points)
    assert single.shape == (1, 3, 15, 15)
    assert carried.tolist() == [[[10 - 2 - 3, 12 - 3]]]


def test_smooth_carrying_solves_a_turned_and_stretched_grid():
    """One Newton step is exact where the grid is affine, whatever it mixes."""
    weights = torch.zeros(103, 2)
    weights[101:] = torch.tensor([[0.9, 0.35], [-0.25, 1.1]])
    grid = warp.warp_grid(weights[None], 31, 31)
    points = torch.tensor([[[14.3, 16.8], [11.2, 9.7], [19.6, 20.1]]])
    carried = warp.carry_points_smoothly(points, grid)
    # Read the grid there: x' = 0.9 x - 0.25 y, y' = 0.35 x + 1.1 y about the middle (15, 15).
    back = (carried - 15) @ weights[101:] + 15
    torch.testing.assert_close(back, points, atol=1e-3, rtol=0)


def test_scaled_spreads_keep_kernel_and_affine_apart():
    spread = warp.WarpStd(1.0, 2.0, 3.0, 4.0, 5.0).scaled(kernel=10.0, affine=100.0)
    assert spread == warp.WarpStd(10.0, 20.0, 300.0, 400.0, 500.0)

"""Pair and single warps against recorded numbers of the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.parity.dve_goldens import Golden, golden_files
from tests.parity.recorded import assert_all_read
from torch import Tensor

from lineament.geometry import tps_warp as warp

# The recorded files these tests compare with, every number of them.
FILES = ("dve/tps_pair_*", "dve/tps_single_*")
# What a newer PyTorch makes of the published code without a word, and of a grid that is compared with whole.
UNREAD = {"dve/tps_*": ("align0.*",)}
# Deviations of a warp by the name they were recorded under.
DEVIATIONS = {
    "warpsd_all": "kernel_all",
    "warpsd_subset": "kernel_subset",
    "transsd": "translation",
    "scalesd": "scale",
    "rotsd": "rotation",
}


# Two steps of float32 about 1: scaled sines and cosines.
DRAW = 2.5e-7


def spread_of(golden: Golden, otherwise: warp.WarpStd) -> tuple[warp.WarpStd, float, float]:
    """Deviations, and the factors of the first warp of a pair; those of ``otherwise`` where none were recorded."""
    given = {
        name: float(value) for name, value in golden.starting("param.").items() if name != "im1_multiplier"
    }
    kernel = float(golden["param.im1_multiplier"]) if "param.im1_multiplier" in golden else 1.0
    affine = given.pop("im1_multiplier_aff", 1.0)
    named = {DEVIATIONS[name]: value for name, value in given.items()}
    return replace(otherwise, **named), kernel, affine


def assert_same_pixels(points: Tensor, recorded: Tensor, golden: Golden) -> None:
    """Equal whole pixels, and the rounding with which the reference read them off its float32 lattice."""
    assert torch.equal(points, recorded.round())
    height, width = golden["image"].shape[-2:]
    held = warp.published_positions(points, height, width, int(golden["crop"]))
    assert torch.equal(held, recorded.float())


def test_draws_follow_the_published_order(goldens: Path):
    for golden in golden_files(goldens, "tps_pair_*"):
        spread, kernel, affine = spread_of(golden, warp.TRAINING)
        torch.manual_seed(int(golden["torch_seed"]))
        first = warp.random_weights(spread.scaled(kernel, affine))
        second = warp.random_weights(spread)
        torch.testing.assert_close(first, golden["weights1"], rtol=0, atol=DRAW)
        torch.testing.assert_close(second, golden["weights2"], rtol=0, atol=DRAW)
    for golden in golden_files(goldens, "tps_single_*"):
        torch.manual_seed(int(golden["torch_seed"]))
        spread, _, _ = spread_of(golden, warp.SINGLE)
        torch.testing.assert_close(warp.random_weights(spread), golden["weights1"], rtol=0, atol=DRAW)


def test_pair_warp_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "tps_pair_*"):
        image, crop = golden["image"][None], int(golden["crop"])
        height, width = image.shape[-2:]
        rows = warp.tps_basis(height, width)[[0, 7, -1]]
        torch.testing.assert_close(rows, golden["basis_F_rows_0_7_last"], rtol=0, atol=1e-5)
        weights1, weights2 = golden["weights1"][None], golden["weights2"][None]
        for weights, grid in ((weights1, golden["grid1"]), (weights2, golden["grid2"])):
            torch.testing.assert_close(warp.warp_grid(weights, height, width), grid, rtol=0, atol=1e-5)
        pair = warp.warp_pair(image, weights1, weights2, crop, golden["keypts_in"][None])
        limit = 2e-2
        torch.testing.assert_close(pair.first[0], golden["align1.im_first"], rtol=0, atol=limit)
        torch.testing.assert_close(pair.second[0], golden["align1.im_second"], rtol=0, atol=limit)
        torch.testing.assert_close(pair.grid, golden["grid"], rtol=0, atol=2e-5)
        torch.testing.assert_close(pair.flow(), golden["flow"], rtol=0, atol=5e-4)
        assert pair.first_points is not None
        assert pair.second_points is not None
        assert_same_pixels(pair.first_points[0], golden["kp_first"], golden)
        assert_same_pixels(pair.second_points[0], golden["kp_second"], golden)


def test_single_warp_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "tps_single_*"):
        image, crop = golden["image"][None], int(golden["crop"])
        weights = golden["weights1"][None]
        grid = warp.warp_grid(weights, *image.shape[-2:])
        torch.testing.assert_close(grid, golden["grid1"], rtol=0, atol=1e-5)
        warped, points = warp.warp_single(image, weights, crop, golden["keypts_in"][None])
        torch.testing.assert_close(warped[0], golden["align1.im"], rtol=0, atol=2e-2)
        assert points is not None
        assert_same_pixels(points[0], golden["kp"], golden)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens, UNREAD)

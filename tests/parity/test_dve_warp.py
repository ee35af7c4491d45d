"""Pair and single warps against recorded numbers of the reference."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.parity.dve_goldens import golden_files
from torch import Tensor

from lineament.geometry import tps_warp as warp


def spread_of(golden: dict[str, Tensor]) -> tuple[warp.WarpSpread, float, float]:
    spread = warp.WarpSpread(
        kernel_all=float(golden["param.warpsd_all"]),
        kernel_subset=float(golden["param.warpsd_subset"]),
        translation=float(golden["param.transsd"]),
        scale=float(golden["param.scalesd"]),
        rotation=float(golden["param.rotsd"]),
    )
    return spread, float(golden["param.im1_multiplier"]), float(golden["param.im1_multiplier_aff"])


def assert_same_pixels(points: Tensor, recorded: Tensor) -> None:
    # The reference got its whole pixels from a float lattice, so they carry its rounding.
    assert float((recorded - recorded.round()).abs().max()) < 1e-4
    assert torch.equal(points, recorded.round())


def test_draws_follow_the_published_order(goldens: Path):
    for golden in golden_files(goldens, "tps_pair_*"):
        spread, kernel, affine = spread_of(golden)
        torch.manual_seed(int(golden["torch_seed"]))
        first = warp.random_weights(spread.scaled(kernel, affine))
        second = warp.random_weights(spread)
        torch.testing.assert_close(first, golden["weights1"], rtol=0, atol=1e-7)
        torch.testing.assert_close(second, golden["weights2"], rtol=0, atol=1e-7)
    for golden in golden_files(goldens, "tps_single_*"):
        torch.manual_seed(int(golden["torch_seed"]))
        torch.testing.assert_close(warp.random_weights(warp.SINGLE), golden["weights1"], rtol=0, atol=1e-7)


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
        assert_same_pixels(pair.first_points[0], golden["kp_first"])
        assert_same_pixels(pair.second_points[0], golden["kp_second"])


def test_single_warp_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "tps_single_*"):
        image, crop = golden["image"][None], int(golden["crop"])
        weights = golden["weights1"][None]
        grid = warp.warp_grid(weights, *image.shape[-2:])
        torch.testing.assert_close(grid, golden["grid1"], rtol=0, atol=1e-5)
        warped, points = warp.warp_single(image, weights, crop, golden["keypts_in"][None])
        torch.testing.assert_close(warped[0], golden["align1.im"], rtol=0, atol=2e-2)
        assert points is not None
        assert_same_pixels(points[0], golden["kp"])

"""The bench of the training step: its plain twins compute the same as the fast code, and it reports both."""

from __future__ import annotations

import pytest
import torch

from lineament.geometry.tps_warp import warp_pair
from lineament.methods.dve.loss import descriptor_loss
from lineament.pipeline.bench import dve as bench
from lineament.pipeline.bench import dve_twin
from lineament.pipeline.bench.dve_floor import convolutions_of


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("pairs", [1, 3])
def test_the_plain_loss_equals_the_streamed_one(pairs: int, outer: bool):
    generator = torch.Generator().manual_seed(pairs)
    features = torch.randn(2 * pairs, 5, 4, 6, generator=generator).double()
    grid = (2 * torch.rand(pairs, 8, 12, 2, generator=generator) - 1).double()
    found = []
    for loss in (
        lambda x: dve_twin.exchange_loss(x, grid, 2, 0.5, outer=outer),
        lambda x: descriptor_loss(x, grid, stride=2, power=0.5),
    ):
        leaf = features.clone().requires_grad_()
        value = loss(leaf)
        found.append((value.detach(), *torch.autograd.grad(value, [leaf])))
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(plain, fast, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("landmarks", [1, 20])
def test_the_plain_warp_equals_the_fast_one(landmarks: int):
    generator = torch.Generator().manual_seed(landmarks)
    first, second = bench.draw_warps(generator)
    image = torch.rand(3, 40, 44, generator=generator)
    points = 5 + 30 * torch.rand(landmarks, 2, generator=generator)
    plain = dve_twin.warp_pair(image, first, second, 6, points)
    fast = warp_pair(image[None], first[None], second[None], 6, points[None])
    assert fast.first_points is not None and fast.second_points is not None
    for seen, wanted in zip(
        plain, (fast.first, fast.second, fast.first_points, fast.second_points), strict=True
    ):
        torch.testing.assert_close(seen, wanted[0], rtol=0, atol=1e-4)


def test_one_step_of_bench_and_twin_leaves_the_same_network(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "SIZE", 30)
    monkeypatch.setattr(bench, "CROP", 3)
    fast, plain = bench.training_case("cpu"), bench.training_case("cpu")
    losses = [
        float(bench.step(*fast)),
        float(dve_twin.training_step(*plain, bench.STRIDE, bench.POWER, outer=True)),
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    # Adam's first step goes by the sign of the gradient, which for few weights is that of rounding.
    changed = [
        float(((one - other).abs() > 1e-4).double().mean())
        for one, other in zip(fast[0].parameters(), plain[0].parameters(), strict=True)
        if one.ndim > 1
    ]
    assert max(changed) < 0.01


def test_the_bench_reports_step_twins_and_warps(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"SIZE": 30, "CROP": 5, "PAIRS": 2, "CHANNELS": 3, "LANDMARKS": (4,)}.items():
        monkeypatch.setattr(bench, name, value)
    figures = bench.run(repeats=2)
    assert 0 < figures["min_ms"] <= figures["median_ms"] <= figures["max_ms"]
    assert figures["ratio"] == pytest.approx(figures["twin_median_ms"] / figures["median_ms"], rel=0.01)
    floor = figures["convolutions_s"] + figures["loss_products_s"]
    assert figures["floor_s"] == pytest.approx(floor, abs=2e-3)
    assert figures["share_of_floor"] > 0
    assert figures["matrix_ratio"] > 0 and "2 pairs of 20 x 20" in figures["work"]
    (warp,) = figures["pair_warp"]
    assert warp["landmarks"] == 4 and 0 < warp["min_ms"] <= warp["median_ms"] and warp["twin_min_ms"] > 0


def test_the_floor_counts_every_convolution_and_product():
    network, _, images, _ = bench.training_case("cpu")
    found = convolutions_of(network, images)
    assert len(found) == 6 and [each.first for each in found] == [True] + [False] * 5
    # 8 views; 70 x 70 pixels for the first layer, 35 x 35 grid points for the others.
    first = 2 * 2 * (3 * 20 * 25) * 8 * 70**2
    others = (20 * 48 * 25, 48 * 64 * 25, 64 * 80 * 9, 80 * 256 * 9, 256 * 64)
    assert sum(each.operations for each in found) == first + sum(3 * 2 * each * 8 * 35**2 for each in others)
    for each in found:
        result = each.layer(each.images.requires_grad_())
        wanted = torch.autograd.grad(result, [each.images, each.layer.weight], result.detach())
        for layout in (torch.contiguous_format, torch.channels_last):
            to_images, to_weight, _ = each.bare(layout)()
            torch.testing.assert_close(
                to_weight, wanted[1], rtol=1e-3, atol=1e-3 * float(wanted[1].abs().max())
            )
            if not each.first:
                torch.testing.assert_close(
                    to_images, wanted[0], rtol=1e-3, atol=1e-3 * float(wanted[0].abs().max())
                )


def test_the_twins_network_computes_the_same_in_the_usual_layout():
    network, _, images, _ = bench.training_case("cpu")
    torch.testing.assert_close(
        dve_twin.plain_features(network, images), network(images), rtol=1e-4, atol=1e-4
    )

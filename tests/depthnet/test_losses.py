"""Losses and layouts of DepthNets by hand: signs, squares, which axis stands where."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lineament.methods.depthnet.aign import SpectralLinear, heat_maps
from lineament.methods.depthnet.loss import critic_loss, generator_loss, gradient_penalty, keypoint_loss
from lineament.methods.depthnet.model import DepthNet, critic_input, find_affine, joined


def test_keypoints_are_compared_by_squares_or_sizes():
    predicted, target = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]]), torch.zeros(1, 2, 2)
    assert float(keypoint_loss(predicted, target)) == (1 + 4 + 9 + 16) / 4
    assert float(keypoint_loss(predicted, target, absolute=True)) == (1 + 2 + 3 + 4) / 4


def test_the_critic_widens_what_the_network_narrows():
    real, fake = torch.tensor([[3.0], [5.0]]), torch.tensor([[1.0], [2.0]])
    # Lower is better for the critic: real depths score higher by 2.5.
    assert float(critic_loss(real, fake)) == -2.5
    # Lower is better for the network: its depths' score, negated.
    assert float(generator_loss(fake)) == -1.5


class Quadratic(nn.Module):
    """Scores half the sum of squares: its gradient is the input."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return 0.5 * points.flatten(1).square().sum(1, keepdim=True)


def test_the_penalty_is_the_mean_of_squared_gradient_norms():
    real = torch.zeros(2, 3, 4)
    real[0, 0, 0], real[1, 2, 3], real[1, 1, 1] = 3.0, 1.0, 2.0
    assert float(gradient_penalty(Quadratic(), real)) == pytest.approx((9 + 5) / 2)


def test_the_critic_reads_depth_before_x_and_y():
    depth, source = torch.tensor([[7.0, 8.0]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert critic_input(depth, source).tolist() == [[[7.0, 8.0], [1.0, 3.0], [2.0, 4.0]]]
    assert joined(source, source + 10).tolist() == [[1.0, 3.0, 2.0, 4.0, 11.0, 13.0, 12.0, 14.0]]


@pytest.mark.parametrize(("solve", "reached"), [("fixed", True), ("detached", False)])
def test_only_the_undetached_map_teaches_the_depth(solve, reached: bool):
    generator = torch.Generator().manual_seed(0)
    source, target = torch.rand(2, 1, 9, 2, generator=generator).unbind(0)
    depth = torch.rand(1, 9, generator=generator).requires_grad_()
    matrix = find_affine(solve, source.requires_grad_(), depth, target)
    matrix.sum().backward()
    assert source.grad is not None and bool(source.grad.any())
    assert (depth.grad is not None and bool(depth.grad.any())) == reached


def test_networks_start_small():
    torch.manual_seed(0)
    network = DepthNet()
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d)]
    assert float(torch.cat([m.weight.flatten() for m in linear]).std()) == pytest.approx(0.02, rel=0.01)
    scales = torch.cat([m.weight for m in norms])
    assert float(scales.mean()) == pytest.approx(1.0, abs=0.005)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.1)


def test_heat_maps_peak_one_pixel_up_and_left():
    # Over 32 pixels: the truncated coordinates are (12, 20).
    maps = heat_maps(torch.tensor([[[12.9 / 32, 20.0 / 32]]]), 32)[0, 0]
    peak = int(maps.argmax())
    assert (peak % 32, peak // 32) == (11, 19)
    assert float(maps.sum()) == pytest.approx(1.0, abs=1e-5)
    # The kernel runs from -3 to 4 about its peak, on both axes.
    assert [int(i) for i in maps.sum(0).nonzero().flatten()] == list(range(8, 16))
    assert [int(i) for i in maps.sum(1).nonzero().flatten()] == list(range(16, 24))
    # Within four pixels of the upper or left edge a point vanishes.
    assert not bool(heat_maps(torch.tensor([[[3.9 / 32, 0.5]]]), 32).any())


def test_spectral_norms_divide_by_the_largest_singular_value():
    torch.manual_seed(0)
    layer = SpectralLinear(6, 4)
    x = torch.randn(3, 6)
    for _ in range(200):
        found = layer(x)
    weight = layer.module.weight_bar.detach()
    wanted = x @ (weight / torch.linalg.svdvals(weight)[0]).T + layer.module.bias.detach()
    torch.testing.assert_close(found.detach(), wanted, atol=1e-4, rtol=1e-4)

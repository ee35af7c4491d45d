"""The published landmark regressor in closed form: virtual points, the linear map, the loss, the units."""

from __future__ import annotations

import math

import pytest
import torch

from lineament.methods.dve.regressor import LandmarkRegressor, landmark_loss, to_pixels, to_unit


def test_pixels_and_units_are_aligned_at_the_middles_of_the_outermost_pixels():
    points = torch.tensor([[0.0, 0.0], [10.0, 4.0], [5.0, 1.0]])
    unit = to_unit(points, 11, 5)
    assert unit.tolist() == [[-1.0, -1.0], [1.0, 1.0], [0.0, -0.5]]
    assert torch.equal(to_pixels(unit, 11, 5), points)


def test_a_virtual_point_lies_where_its_descriptor_is_and_the_map_adds_them_up():
    """Two landmarks of two virtual points; one grid point holds each descriptor, as no other does."""
    regressor = LandmarkRegressor(4, landmarks=2, intermediate=2)
    assert regressor.sharpness == 100.0
    maps = torch.zeros(1, 4, 5, 9)
    places = [(1, 0), (4, 2), (8, 4), (6, 1)]
    for channel, (x, y) in enumerate(places):
        maps[0, channel, y, x] = 1.0
    with torch.no_grad():
        regressor.inner_conv.weight.copy_(torch.eye(4)[:, :, None, None])
        regressor.reg_conv.weight.zero_()
        # Landmark 0: the mean of its points; landmark 1: x of its first and y of its second.
        weight = regressor.reg_conv.weight.view(2, 2, 2, 2)  # landmark, coordinate, point, coordinate
        weight[0] = 0.5 * torch.eye(2)[:, None].expand(2, 2, 2)
        weight[1, 0, 0, 0] = weight[1, 1, 1, 1] = 1.0
    found, points = regressor(maps)
    wanted = torch.tensor([[x / 4 - 1, y / 2 - 1] for x, y in places])
    torch.testing.assert_close(points.view(4, 2), wanted)
    mean = wanted[:2].mean(0)
    torch.testing.assert_close(found[0], torch.stack([mean, torch.stack([wanted[2, 0], wanted[3, 1]])]))


def test_the_sharpness_is_a_factor_before_the_softmax():
    regressor = LandmarkRegressor(1, 1, intermediate=1, sharpness=3.0)
    with torch.no_grad():
        regressor.inner_conv.weight.fill_(1.0)
    maps = torch.tensor([0.0, 0.5]).view(1, 1, 1, 2)
    _, points = regressor(maps)
    # Between -1 and 1 by the logistic function of 3 * 0.5; one row lies at -1.
    share = 1 / (1 + math.exp(-1.5))
    assert points.flatten().tolist() == pytest.approx([2 * share - 1, -1.0])


def test_no_gradient_reaches_the_descriptors():
    maps = torch.randn(1, 3, 4, 4, requires_grad=True)
    regressor = LandmarkRegressor(3, 2, intermediate=3)
    regressor(maps)[0].sum().backward()
    assert maps.grad is None
    assert all(bool((p.grad != 0).any()) for p in regressor.parameters() if p.grad is not None)


def test_the_loss_is_quadratic_below_a_tenth_and_linear_above():
    target = torch.zeros(1, 2, 2)
    predicted = torch.tensor([[[0.05, 0.0], [0.0, 0.3]]])
    # Ten times 0.05 is 0.5: half its square; ten times 0.3 is 3: 2.5. Mean of four coordinates.
    assert float(landmark_loss(predicted, target)) == pytest.approx((0.125 + 2.5) / 4)
    assert float(landmark_loss(predicted, target, alpha=1.0)) == pytest.approx((0.05**2 + 0.3**2) / 2 / 4)


def test_the_loss_is_the_mean_over_known_landmarks_alone():
    target = torch.zeros(2, 2, 2)
    target[0, 1] = torch.nan
    predicted = torch.zeros(2, 2, 2, requires_grad=True)
    with torch.no_grad():
        predicted[0, 0, 0], predicted[1, 1, 1], predicted[0, 1] = 0.05, 0.3, 9.0
    known = torch.tensor([[True, False], [True, True]])
    loss = landmark_loss(predicted, target, known=known)
    # Six coordinates are known.
    assert loss.item() == pytest.approx((0.125 + 2.5) / 6)
    loss.backward()
    assert predicted.grad is not None
    assert bool(torch.isfinite(predicted.grad).all()) and not bool(predicted.grad[0, 1].any())
    assert float(landmark_loss(predicted, target, known=torch.zeros(2, 2, dtype=torch.bool))) == 0.0

"""The losses in closed form, and what they must do in the limit."""

from __future__ import annotations

import math

import pytest
import torch

from lineament.errors import DataError
from lineament.geometry.tps_warp import regular_grid
from lineament.methods.dve.loss import descriptor_loss, grid_targets


def identity_grid(batch: int, height: int, width: int) -> torch.Tensor:
    return regular_grid(height, width).expand(batch, -1, -1, -1)


def test_equal_descriptors_expect_the_mean_distance():
    # Nothing tells the 2x2 grid points apart (stride 2 px), so every match is equally likely: distances 0, 2, 2 and
    # sqrt(8), to the power 0.5.
    features = torch.ones(2, 3, 2, 2)
    expected = (0 + 2 * math.sqrt(2) + 8**0.25) / 4
    for exchanged in (False, True):
        loss = descriptor_loss(features, identity_grid(1, 3, 3), exchanged=exchanged)
        assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_two_point_match_is_a_logistic_function():
    # Two grid points 2 px apart with scores q . t = s or 0: the chance of the wrong one is 1 / (1 + e^s).
    score = 1.3
    features = torch.zeros(2, 2, 1, 2)
    features[0, :, 0] = torch.eye(2) * score
    features[1, :, 0] = torch.eye(2)
    grid = regular_grid(1, 3).nan_to_num()[None]
    loss = descriptor_loss(features, grid, exchanged=False, power=1.0)
    assert float(loss) == pytest.approx(2 / (1 + math.exp(score)), rel=1e-5)


def test_unmistakable_descriptors_cost_nothing():
    codes = torch.eye(16).view(1, 16, 4, 4)
    features = torch.cat([codes, codes])
    loss = descriptor_loss(features, identity_grid(1, 7, 7), normalize=True)
    # The square root of a distance that is zero but for rounding.
    assert float(loss) < 1e-3


def test_exchange_forgets_what_the_other_face_lacks():
    # Every grid point has a code of its own, but no code is shared by the two faces: each matches its own warp
    # perfectly, and nothing of it survives the way through the other face.
    codes = 20 * torch.eye(18).view(2, 9, 18).transpose(1, 2).reshape(2, 18, 3, 3)
    pairs = codes.repeat_interleave(2, dim=0)
    grid = identity_grid(2, 5, 5)
    guessing = float(descriptor_loss(torch.ones(4, 1, 3, 3), grid))
    assert float(descriptor_loss(pairs, grid, exchanged=False)) < 1e-3
    assert float(descriptor_loss(pairs, grid, exchanged=True)) == pytest.approx(guessing, rel=1e-4)
    # Codes that both faces share do survive.
    shared = codes[:1].expand(4, -1, -1, -1)
    assert float(descriptor_loss(shared, grid, exchanged=True)) < 1e-3


def test_a_subset_of_points_is_an_unbiased_estimate():
    features = torch.randn(4, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    grid = identity_grid(2, 7, 7)
    whole = float(descriptor_loss(features, grid))
    parts = [float(descriptor_loss(features, grid, rows=torch.tensor([row]))) for row in range(16)]
    assert sum(parts) / 16 == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_are_those_of_finite_differences(exchanged: bool, normalize: bool):
    features = 0.3 * torch.randn(4, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    grid = identity_grid(2, 3, 5).double() * 0.9

    def loss(x: torch.Tensor) -> torch.Tensor:
        return descriptor_loss(x, grid, exchanged=exchanged, normalize=normalize)

    assert torch.autograd.gradcheck(loss, features.requires_grad_(), atol=1e-6, rtol=1e-4)


def test_a_grid_that_does_not_fit_is_refused():
    with pytest.raises(DataError, match="give the stride"):
        grid_targets(identity_grid(1, 8, 8), 2, 8, 8)

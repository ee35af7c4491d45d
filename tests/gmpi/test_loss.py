"""Losses of StyleGAN2 against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lineament.methods.gmpi.loss import (
    discriminator_loss,
    draw_crossovers,
    generator_loss,
    half_life_decay,
    lazy_adam,
    mixed_styles,
    path_length_loss,
    path_lengths,
    squared_gradient,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_losses_are_cross_entropies_of_logits():
    real, fake = torch.randn(6, 1, generator=seeded()), torch.randn(6, 1, generator=seeded(1))
    entropy = nn.functional.binary_cross_entropy_with_logits
    assert torch.allclose(generator_loss(fake), entropy(fake, torch.ones_like(fake)))
    expected = entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))
    assert torch.allclose(discriminator_loss(real, fake), expected)


def test_r1_of_a_quadratic_score():
    """For the score w |x|^2 / 2 the gradient is w x, its square w^2 |x|^2, and that one's derivative 2 w |x|^2."""
    images = torch.randn(4, 3, 5, 5, generator=seeded(), requires_grad=True)
    weight = torch.tensor(0.7, requires_grad=True)
    scores = 0.5 * weight * images.square().sum((1, 2, 3))
    found = squared_gradient(scores, images)
    squares = images.detach().square().sum((1, 2, 3)).mean()
    assert torch.allclose(found, 0.49 * squares)
    (slope,) = torch.autograd.grad(found, weight)
    assert torch.allclose(slope, 2 * 0.7 * squares)


def test_path_lengths_of_a_linear_generator():
    """Its Jacobian is the same everywhere: the root of the mean over places of |A_place^T noise|^2."""
    matrix = torch.randn(3, 6, 3 * 4 * 4, generator=seeded())  # [num_ws, w, pixels]
    styles = torch.randn(5, 3, 6, generator=seeded(1), requires_grad=True)
    noise = torch.randn(5, 3, 4, 4, generator=seeded(2))
    images = torch.einsum("bnw,nwp->bp", styles, matrix).view(5, 3, 4, 4)
    found = path_lengths(images, styles, noise)
    rows = torch.einsum("nwp,bp->bnw", matrix, noise.flatten(1)) / 4
    assert torch.allclose(found, rows.square().sum(2).mean(1).sqrt())


def test_path_length_loss_is_measured_from_the_moving_mean():
    lengths = torch.tensor([1.0, 3.0], requires_grad=True)
    loss, mean = path_length_loss(lengths, torch.tensor(1.0))
    assert float(mean) == pytest.approx(1.01)
    assert not mean.requires_grad
    assert float(loss.detach()) == pytest.approx((0.01**2 + 1.99**2) / 2)


def test_styles_cross_over_at_their_place():
    first, second = torch.zeros(4, 6, 2), torch.ones(4, 6, 2)
    mixed = mixed_styles(first, second, torch.tensor([1, 3, 5, 6]))
    assert mixed[..., 0].sum(1).tolist() == [5, 3, 1, 0]
    assert mixed[1, :, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_crossovers_are_drawn_uniformly():
    places = draw_crossovers(20000, 10, 0.9, seeded())
    assert int(places.min()) == 1
    assert float((places == 10).float().mean()) == pytest.approx(0.1, abs=0.01)
    for place in range(1, 10):
        assert float((places == place).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert bool((draw_crossovers(50, 10, 0.0, seeded()) == 10).all())


def test_adam_is_adjusted_to_lazy_regularisation():
    weight = nn.Parameter(torch.zeros(3))
    group = lazy_adam([weight], 0.002, (0.0, 0.99), 16).param_groups[0]
    assert group["lr"] == pytest.approx(0.002 * 16 / 17)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (16 / 17)))
    plain = lazy_adam([weight], 0.002, (0.0, 0.99), 0).param_groups[0]
    assert (plain["lr"], plain["betas"]) == (0.002, (0.0, 0.99))


def test_the_average_loses_half_in_its_half_life():
    decay = half_life_decay(10_000, 1e9, 32, 0.05)
    assert decay ** (10_000 / 32) == pytest.approx(0.5)
    # At first a twentieth of what was seen.
    assert half_life_decay(10_000, 640, 32, 0.05) == pytest.approx(0.5)
    assert half_life_decay(10_000, 640, 32, 0.0) == decay
    assert half_life_decay(10_000, 0, 32, 0.05) == 0.0
    assert math.isclose(half_life_decay(0, 100, 32, 0.0), 0.0)

"""The critic's derivatives in closed form equal those of the plain definitions."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lineament.methods.depthnet.critic_step import critic_losses, penalty
from lineament.methods.depthnet.loss import critic_loss, generator_loss, gradient_penalty
from lineament.methods.depthnet.model import Critic
from lineament.nn.sync_batch_norm import synchronise_batch_norm


def make(seed: int, widths: tuple[int, ...], batch: int) -> tuple[Critic, Tensor, Tensor]:
    """A critic with weights away from their start, real and predicted points, in double precision."""
    torch.manual_seed(seed)
    critic = Critic(widths=widths).double()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    real, fake = torch.randn(2, batch, 3, 66, dtype=torch.float64)
    return critic, real, fake.requires_grad_()


def assert_same(seen: Iterable[Tensor | None], expected: Iterable[Tensor | None]) -> None:
    for ours, theirs in zip(seen, expected, strict=True):
        if ours is None or theirs is None:
            assert ours is None and theirs is None
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def gradients(critic: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in critic.parameters()]


CASES = given(
    seed=st.integers(0, 1000),
    widths=st.lists(st.integers(3, 12), min_size=1, max_size=4).map(tuple),
    batch=st.integers(2, 9),
)


@CASES
@settings(max_examples=15, deadline=None)
def test_losses_equal_the_plain_definitions(seed: int, widths: tuple[int, ...], batch: int):
    critic, real, fake = make(seed, widths, batch)
    plain = copy.deepcopy(critic)
    adversarial = generator_loss(plain(fake))
    difference = critic_loss(plain(real), plain(fake.detach()))
    losses = critic_losses(critic, real, fake)
    assert_same([losses.adversarial, losses.difference], [adversarial, difference])
    assert_same(torch.autograd.grad(3 * losses.adversarial, fake), torch.autograd.grad(3 * adversarial, fake))
    losses.difference.backward()
    difference.backward()
    assert_same(gradients(critic), gradients(plain))
    assert_same(critic.buffers(), plain.buffers())


@CASES
@settings(max_examples=15, deadline=None)
def test_penalty_equals_its_plain_definition(seed: int, widths: tuple[int, ...], batch: int):
    critic, real, _ = make(seed, widths, batch)
    plain = copy.deepcopy(critic)
    ours, theirs = penalty(critic, real, 0.3), 0.3 * gradient_penalty(plain, real)
    assert_same([ours], [theirs])
    ours.backward()
    theirs.backward()
    assert_same(gradients(critic), gradients(plain))
    assert_same(critic.buffers(), plain.buffers())


def test_frozen_parameters_stay_without_gradient():
    critic, real, fake = make(0, (8, 4), 6)
    critic.disc[-1].bias.requires_grad_(False)
    (critic_losses(critic, real, fake).difference + penalty(critic, real, 0.1)).backward()
    assert critic.disc[-1].bias.grad is None and critic.disc[0].weight.grad is not None
    assert fake.grad is None


@pytest.mark.parametrize("change", ["evaluation", "synchronised"])
def test_other_critics_take_the_plain_way(change: str):
    critic, real, fake = make(1, (8, 4), 6)
    critic = critic.eval() if change == "evaluation" else synchronise_batch_norm(critic)
    expected = [generator_loss(critic(fake)), critic_loss(critic(real), critic(fake.detach()))]
    losses = critic_losses(critic, real, fake)
    assert_same([losses.adversarial, losses.difference], expected)
    assert_same([penalty(critic, real, 2.0)], [2 * gradient_penalty(critic, real)])

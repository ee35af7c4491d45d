"""Which optimiser trains descriptors, with which rates, and when the published steps act."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lineament.methods.dve.optimiser import published_optimiser
from lineament.methods.dve.recipe import DveConfig, DveRecipe
from lineament.methods.dve.schedule import StepDecay, published_factor, step_factor

CONFIG = DveConfig(channels=3, learning_rate=2e-3, bias_learning_rate=1e-5, weight_decay=0.03)


def built(config: DveConfig) -> tuple[nn.Module, torch.optim.Optimizer]:
    recipe = DveRecipe(config)
    networks = recipe.networks()
    (optimiser,) = recipe.optimisers(networks).values()
    return networks["descriptor"], optimiser


def test_the_published_runs_train_with_amsgrad_and_a_rate_of_its_own_for_biases():
    network, optimiser = built(CONFIG)
    assert type(optimiser) is torch.optim.Adam
    rest, biases = optimiser.param_groups
    assert (rest["lr"], biases["lr"]) == (2e-3, 1e-5)
    for group in (rest, biases):
        assert group["amsgrad"] and group["weight_decay"] == 0.03
    convolutions = {id(m.bias) for m in network.modules() if isinstance(m, nn.Conv2d)}
    assert {id(p) for p in biases["params"]} == convolutions
    # The affine parameters of norms, biases too, stay with the weights.
    assert {id(p) for p in rest["params"]} == {id(p) for p in network.parameters()} - convolutions


def test_without_a_rate_of_their_own_biases_stay_with_the_rest():
    network, optimiser = built(replace(CONFIG, bias_learning_rate=0.0))
    (group,) = optimiser.param_groups
    assert group["amsgrad"] and (group["lr"], group["weight_decay"]) == (2e-3, 0.03)
    assert len(group["params"]) == len(list(network.parameters()))


def test_adamw_is_the_other_choice():
    network, optimiser = built(replace(CONFIG, optimiser="adamw"))
    assert type(optimiser) is torch.optim.AdamW
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"]) == (2e-3, 0.03)
    # Decay acts on the weights themselves: without a gradient that is not zero, one step multiplies them.
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for parameter, old in zip(network.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), old * (1 - 2e-3 * 0.03))


def test_amsgrad_remembers_the_largest_square():
    """After one large gradient a small one moves less than it would without: torch's own, so the switch is on."""
    layer = nn.Linear(1, 1, bias=False)
    optimiser = published_optimiser(layer, 0.1)
    for gradient in (10.0, 0.1, 0.1):
        layer.weight.grad = torch.full((1, 1), gradient)
        optimiser.step()
    (state,) = optimiser.state.values()
    assert float(state["max_exp_avg_sq"]) > float(state["exp_avg_sq"])


@pytest.mark.parametrize(
    ("epoch", "factor"), [(1, 1.0), (70, 1.0), (71, 1.0), (72, 0.1), (91, 0.1), (92, 0.01), (100, 0.01)]
)
def test_published_milestones_act_two_epochs_late(epoch: int, factor: float):
    decay = StepDecay((70, 90))
    assert published_factor(decay, epoch) == pytest.approx(factor)
    # In optimiser steps: the last of the epoch before, and the first of this one.
    late = step_factor(decay, 10, off_by_one=True)
    assert late(10 * (epoch - 1)) == late(10 * epoch - 1) == pytest.approx(factor)


def test_milestones_as_they_are_stated_act_in_the_epoch_after():
    factor = step_factor(StepDecay((2, 3), 0.5), 4)
    assert [factor(step) for step in (0, 7, 8, 11, 12, 40)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_the_published_schedule_of_a_recipe_counts_its_own_epochs():
    recipe = DveRecipe(replace(CONFIG, schedule="paper", milestones=(1,), steps_per_epoch=3))
    optimisers = recipe.optimisers(recipe.networks())
    (schedule,) = recipe.schedules(optimisers).values()
    rates = []
    for _ in range(8):
        rates.append(optimisers["descriptor"].param_groups[0]["lr"])
        optimisers["descriptor"].step()
        schedule.step()
    # Milestone 1 acts from epoch 3 on, the seventh step.
    assert rates == pytest.approx([2e-3] * 6 + [2e-4] * 2)

"""Losses, their gradients and a few training steps against recorded numbers of the reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.parity.dve_goldens import SMALLNET_GAIN, fill_with_recipe_weights, golden_files
from torch import Tensor

from lineament.methods.dve.loss import descriptor_loss
from lineament.methods.dve.model import SmallNet
from lineament.methods.dve.optimiser import published_optimiser

# Raw vectors agree to rounding; normalised ones have scores up to 400, where float32 itself is coarse.
LOSS_LIMIT = {"norm0": 1e-6, "norm1": 1e-6}
GRADIENT_LIMIT = {"norm0": 3e-6, "norm1": 1e-3}


def loss_cases(golden: dict[str, Tensor]) -> list[str]:
    return sorted(key.removeprefix("loss.") for key in golden if key.startswith("loss."))


def test_losses_and_gradients_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "loss_*"):
        for case in loss_cases(golden):
            kind, norm, _fold, rest = case.split(".", 3)
            power, precision = rest.removeprefix("pow").rsplit(".", 1)
            dtype = torch.float64 if precision == "f64" else torch.float32
            features = golden["feats"].to(dtype).clone().requires_grad_()
            loss = descriptor_loss(
                features,
                golden["grid"].to(dtype),
                stride=int(golden["stride"]),
                normalize=norm == "norm1",
                power=float(power),
                exchanged=kind == "dve",
            )
            loss.backward()
            expected, seen = float(golden[f"loss.{case}"]), float(loss.detach())
            assert abs(seen - expected) <= LOSS_LIMIT[norm] * expected, case
            truth = golden.get(f"grad.{kind}.{norm}.fold0.pow{power}.f64", golden[f"grad.{case}"]).double()
            assert features.grad is not None
            error = float((features.grad.double() - truth).abs().max() / truth.abs().max())
            assert error <= GRADIENT_LIMIT[norm], (case, error)


@pytest.mark.parametrize("recorded", ["train_dense", "train_dve", "train_dvenorm"])
def test_training_steps_equal_the_reference(goldens: Path, recorded: str):
    # With normalised vectors (scores up to 400) rounding sets the sign of near-zero gradients, which Adam turns into
    # full steps; test_normalised_training_departs_as_rounding_does shows that nothing else parts the later steps.
    chaotic = recorded == "train_dvenorm"
    limits = [1e-5, 2e-3, 2e-2] if chaotic else [1e-4] * 3
    for golden in golden_files(goldens, recorded):
        network, optimiser = recorded_network(golden)
        assert [len(group["params"]) for group in optimiser.param_groups] == [
            int(golden["n_weights"]),
            int(golden["n_biases"]),
        ]
        for step, (expected, limit) in enumerate(zip(golden["losses"], limits, strict=True)):
            loss = descriptor_loss(
                network(golden["input"]),
                golden["grid"],
                normalize=chaotic,
                exchanged=recorded != "train_dense",
            )
            assert abs(float(loss.detach()) - float(expected)) < limit * float(expected)
            optimiser.zero_grad()
            loss.backward()
            if step == 0:
                check_gradients(network, golden, chaotic)
            optimiser.step()
        for key, expected in golden.items():
            if key.startswith("final."):
                name = key.removeprefix("final.")
                error = (network.state_dict()[name] - expected).abs()
                if chaotic:
                    # Three steps of about 1e-3 per weight, some of which went the other way.
                    assert float(error.mean()) < 7e-4, name
                    continue
                limit = 5e-5 if name == "conv1.0.bias" else 1e-3 * float(expected.abs().max())
                assert float(error.max()) <= limit, name


def recorded_network(golden: dict[str, Tensor]) -> tuple[SmallNet, torch.optim.Adam]:
    network = SmallNet(int(golden["channels"]))
    fill_with_recipe_weights(network, int(golden["recipe_seed"]), SMALLNET_GAIN)
    network.train()
    return network, published_optimiser(network, learning_rate=1e-3, bias_learning_rate=1e-5)


def check_gradients(network: SmallNet, golden: dict[str, Tensor], chaotic: bool) -> None:
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        # With normalised vectors the last bias's gradient is what cancellation leaves: 1.3e-3 from float64 as recorded.
        limit = 3e-3 if chaotic and name == "conv6.bias" else 1e-3
        norm = float(golden[f"step1.gradnorm.{name}"])
        assert abs(float(parameter.grad.norm()) - norm) <= limit * norm + 1e-5, name
        full = golden.get(f"step1.grad.{name}")
        if full is not None:
            torch.testing.assert_close(parameter.grad, full, rtol=0, atol=limit * float(full.abs().max()))


# Root mean square error of SmallNet's descriptors in float32, measured against float64 on the recorded pictures.
DESCRIPTOR_ROUNDING = 1e-6


def train_in_double(
    golden: dict[str, Tensor], rounding: float = 0.0, seed: int = 0
) -> tuple[Tensor, dict[str, float]]:
    """Losses of the recorded training with normalised vectors in float64, and the first norms of the gradients.

    Args:
        golden: The record.
        rounding: Deviation of a random relative error of each descriptor.
        seed: Seed of that error.
    """
    generator = torch.Generator().manual_seed(seed)
    network, _ = recorded_network(golden)
    network = network.double()
    optimiser = published_optimiser(network, learning_rate=1e-3, bias_learning_rate=1e-5)
    losses: list[Tensor] = []
    norms: dict[str, float] = {}
    for _ in golden["losses"]:
        features = network(golden["input"].double())
        error = torch.randn(features.shape, generator=generator, dtype=torch.float64)
        loss = descriptor_loss(features * (1 + rounding * error), golden["grid"].double(), normalize=True)
        optimiser.zero_grad()
        loss.backward()
        norms = norms or {name: float(p.grad.norm()) for name, p in network.named_parameters()}
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses), norms


def test_normalised_training_departs_as_rounding_does(goldens: Path):
    # In float64 the first step agrees closely: the loss to 1e-7, norms of gradients to 2e-4. Later the recorded float32
    # losses differ by 5e-4 and 7e-3; so do float64 runs among themselves, by up to 4e-4 and 9e-3, once their
    # descriptors are rounded like float32 ones. A plain N x N x C loss in float32 departs alike (6e-4, 3e-3).
    for golden in golden_files(goldens, "train_dvenorm"):
        exact, norms = train_in_double(golden)
        for name, norm in norms.items():
            recorded = float(golden[f"step1.gradnorm.{name}"])
            limit = 3e-3 if name == "conv6.bias" else 5e-4
            assert abs(norm - recorded) <= limit * recorded + 1e-5, name
        rounded = [train_in_double(golden, DESCRIPTOR_ROUNDING, seed)[0] for seed in range(8)]
        reach = (torch.stack(rounded) - exact).abs().amax(0)
        away = (golden["losses"].double() - exact).abs()
        assert (away <= 3 * reach + 1e-6 * exact).all(), (away, reach)

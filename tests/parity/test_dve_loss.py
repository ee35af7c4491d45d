"""Losses, their gradients and a few training steps against recorded numbers of the reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.parity.dve_goldens import SMALLNET_GAIN, fill_with_recipe_weights, golden_files
from torch import Tensor

from lineament.methods.dve.loss import descriptor_loss
from lineament.methods.dve.model import SmallNet
from lineament.methods.dve.recipe import published_optimiser

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
    kind = recorded.removeprefix("train_")
    # With normalised vectors (scores up to 400) rounding flips the sign of near-zero gradients, which Adam turns into
    # full steps: a float64 run leaves the recorded float32 one by 7e-3 within three steps. Only step 1 can be exact.
    chaotic = kind == "dvenorm"
    for golden in golden_files(goldens, recorded):
        network = SmallNet(int(golden["channels"]))
        fill_with_recipe_weights(network, int(golden["recipe_seed"]), SMALLNET_GAIN)
        network.train()
        optimiser = published_optimiser(network, learning_rate=1e-3, bias_learning_rate=1e-5)
        assert [len(group["params"]) for group in optimiser.param_groups] == [
            int(golden["n_weights"]),
            int(golden["n_biases"]),
        ]
        for step, expected in enumerate(golden["losses"]):
            loss = descriptor_loss(
                network(golden["input"]),
                golden["grid"],
                normalize=kind == "dvenorm",
                exchanged=kind != "dense",
            )
            limit = 2e-2 if chaotic and step else 1e-4
            assert abs(float(loss.detach()) - float(expected)) < limit * float(expected)
            optimiser.zero_grad()
            loss.backward()
            if step == 0:
                check_gradients(network, golden, limit=5e-3 if chaotic else 1e-3)
            optimiser.step()
        for key, expected in golden.items():
            if key.startswith("final."):
                name = key.removeprefix("final.")
                error = (network.state_dict()[name] - expected).abs()
                if chaotic:
                    assert float(error.mean()) < 1e-3
                    continue
                limit = 5e-5 if name == "conv1.0.bias" else 1e-3 * float(expected.abs().max())
                assert float(error.max()) <= limit, name


def check_gradients(network: SmallNet, golden: dict[str, Tensor], limit: float) -> None:
    # With normalised vectors the recorded float32 norms are themselves 1.3e-3 away from float64.
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        norm = float(golden[f"step1.gradnorm.{name}"])
        assert abs(float(parameter.grad.norm()) - norm) <= limit * norm + 1e-5, name
        full = golden.get(f"step1.grad.{name}")
        if full is not None:
            torch.testing.assert_close(parameter.grad, full, rtol=0, atol=limit * float(full.abs().max()))

"""Losses, their gradients and a few training steps against recorded numbers of the reference."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from tests.parity.dve_goldens import SMALLNET_GAIN, Golden, fill_with_recipe_weights, golden_files
from tests.parity.recorded import assert_all_read
from tests.parity.rounding import Numbers, add_movement, bound, move_weights, unexplained
from torch import Tensor

from lineament.methods.dve.loss import descriptor_loss
from lineament.methods.dve.model import SmallNet
from lineament.methods.dve.optimiser import published_optimiser

# The recorded files these tests compare with, every number of them.
FILES = ("dve/loss_*", "dve/train_dense*", "dve/train_dve*")

# Raw vectors agree to rounding; normalised ones have scores up to 400, where float32 itself is coarse.
LOSS_LIMIT = 1e-6
GRADIENT_LIMIT = {"norm0": 3e-6, "norm1": 1e-3}


def loss_and_gradient(golden: Golden, case: str) -> tuple[float, Tensor]:
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
    assert features.grad is not None
    return float(loss.detach()), features.grad.double()


def test_losses_and_gradients_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "loss_*"):
        cases = sorted(key.removeprefix("loss.") for key in golden if key.startswith("loss."))
        assert cases
        for case in cases:
            norm = case.split(".")[1]
            loss, gradient = loss_and_gradient(golden, case)
            expected = float(golden[f"loss.{case}"])
            assert abs(loss - expected) <= LOSS_LIMIT * expected, case
            truth, limit = case.replace("f32", "f64"), GRADIENT_LIMIT[norm]

            def away(one: Tensor, name: str) -> float:
                other = golden[f"grad.{name}"].double()  # noqa: B023
                return float((one - other).abs().max() / other.abs().max())

            if f"grad.{truth}" in golden:
                # What the reference's own single precision is off may come on top, up to three times the tolerance.
                own = away(golden[f"grad.{case}"].double(), truth) if f"grad.{case}" in golden else 0.0
                assert away(gradient, truth) <= bound(limit, own, 3 * limit), case
            if f"grad.{case}" in golden:
                # Both have an error of their own.
                assert away(gradient, case) <= 2 * limit, case


# Relative errors: of the README, and ceilings where single precision does not hold them (TOLERANCES.md).
LOSS, LOSS_CEILINGS = 1e-4, (1e-4, 5e-3, 4e-2)
GRADIENT, GRADIENT_CEILING = 1e-3, 2e-2
# Share of a tensor's movement in all steps that may be another.
MOVEMENT, MOVEMENT_CEILING = 0.05, 0.7
STATISTIC, STATISTIC_CEILING = 1e-3, 1e-2


class Published:
    """Three (or so) recorded steps, set up as they were recorded.

    Args:
        golden: The record.
        kind: ``dense`` (no exchange), ``dve`` or ``dvenorm`` (normalised vectors).
        neighbour: Run in single precision with weights moved by a rounding, differently for each number; None runs
            in double precision with the recorded weights.
    """

    def __init__(self, golden: Golden, kind: str, neighbour: int | None = None) -> None:
        self.golden, self.kind = golden, kind
        self.dtype = torch.float64 if neighbour is None else torch.float32
        self.network = SmallNet(int(golden["channels"]))
        fill_with_recipe_weights(self.network, int(golden["recipe_seed"]), SMALLNET_GAIN)
        self.start = {key: value.double().clone() for key, value in self.network.state_dict().items()}
        self.network.to(self.dtype).train()
        if neighbour is not None:
            move_weights(self.network, neighbour)
        self.optimiser = published_optimiser(self.network, learning_rate=1e-3, bias_learning_rate=1e-5)

    def step(self) -> float:
        golden = self.golden
        loss = descriptor_loss(
            self.network(golden["input"].to(self.dtype)),
            golden["grid"].to(self.dtype),
            normalize=self.kind == "dvenorm",
            exchanged=self.kind != "dense",
        )
        self.optimiser.zero_grad()
        loss.backward()
        self.gradients = {
            name: p.grad.double().clone() for name, p in self.network.named_parameters() if p.grad is not None
        }
        self.optimiser.step()
        return float(loss.detach())

    def run(self) -> Numbers:
        """All recorded numbers."""
        numbers, golden = Numbers(), self.golden
        for step, expected in enumerate(golden["losses"].tolist()):
            loss = self.step()
            numbers.add(f"loss {step}", loss, expected, LOSS, ceiling=LOSS_CEILINGS[min(step, 2)])
            if step == 0:
                self.add_gradients(numbers)
        self.add_state(numbers)
        return numbers

    def add_gradients(self, numbers: Numbers) -> None:
        norms = self.golden.starting("step1.gradnorm.")
        assert set(norms) == set(self.gradients)
        for name, norm in norms.items():
            # Conv biases before a batch norm have no gradient but rounding: 1e-5 is allowed in any case.
            scale = float(norm) + 1e-5 / GRADIENT
            seen = float(self.gradients[name].norm())
            numbers.add(f"gradient norm {name}", seen, float(norm), GRADIENT, scale, GRADIENT_CEILING)
        for name, full in self.golden.starting("step1.grad.").items():
            numbers.add(f"gradient {name}", self.gradients[name], full, GRADIENT, ceiling=GRADIENT_CEILING)

    def add_state(self, numbers: Numbers) -> None:
        state = self.network.state_dict()
        moved: dict[str, Tensor] = {}
        for name, final in self.golden.starting("final.").items():
            if name.endswith("0.bias"):
                # Before a batch norm: Adam makes whole steps of 1e-5 of the rounding that its gradient is.
                numbers.add(f"final {name}", state[name], final, 5e-5, scale=1.0)
            elif "running" in name:
                numbers.add(f"final {name}", state[name], final, STATISTIC, ceiling=STATISTIC_CEILING)
            else:
                moved[name] = final
        add_movement(numbers, "movement", self.start, state, moved, MOVEMENT, MOVEMENT_CEILING)


PATTERNS = {"dense": "train_dense*", "dve": "train_dve", "dvenorm": "train_dvenorm*"}


def neighbour_of(golden: Golden, kind: str, seed: int) -> Numbers:
    return Published(golden, kind, seed).run()


@pytest.mark.parametrize("kind", PATTERNS)
def test_training_steps_equal_the_reference(goldens: Path, kind: str):
    # With normalised vectors (scores up to 400) rounding sets the sign of near-zero gradients, which Adam turns into
    # full steps.
    for golden in golden_files(goldens, PATTERNS[kind]):
        training = Published(golden, kind)
        assert [len(group["params"]) for group in training.optimiser.param_groups] == [
            int(golden["n_weights"]),
            int(golden["n_biases"]),
        ]
        failures = unexplained(training.run(), partial(neighbour_of, golden, kind))
        assert not failures, "\n".join(failures)


@pytest.mark.parametrize("kind", PATTERNS)
def test_first_losses_equal_the_reference_in_single_precision(goldens: Path, kind: str):
    for golden in golden_files(goldens, PATTERNS[kind]):
        expected = float(golden["losses"][0])
        assert abs(Published(golden, kind, neighbour=0).step() - expected) <= 1e-5 * expected


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)

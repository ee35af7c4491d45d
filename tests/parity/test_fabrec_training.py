"""Training steps of 3FabRec against recorded ones: order of updates, losses, gradients, states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.fabrec_goldens import Golden, as_image, as_input, filled, recorded, same
from tests.parity.recorded import assert_all_read
from tests.parity.rounding import Numbers, move_weights, unexplained
from torch import Tensor, nn

from lineament.methods.fabrec.evaluate import published_errors
from lineament.methods.fabrec.heatmaps import read_heatmaps
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.loss import pixel_loss
from lineament.methods.fabrec.model import PREFIXES, heatmaps_of, reconstruct
from lineament.methods.fabrec.recipe import AutoencoderConfig, AutoencoderRecipe
from lineament.methods.fabrec.recipe_landmarks import LandmarkRecipe
from lineament.training.context import StepContext
from lineament.training.distributed import make_fabric
from lineament.training.update import GradientUpdate

# The recorded files these tests compare with, every number of them.
FILES = ("fabrec/unsup_stage*", "fabrec/landmark_step_*")

# What each stage adds to the one before.
STAGES = {
    "1": {"gan_from": -1, "structure_from": -1},
    "2": {"structure_from": -1},
    "3": {"value_range": "paper"},
}
# Recorded losses -> ours.
LOSSES = {
    "loss_recon": "pixels",
    "loss": "loss",
    "loss_D_z": "code_discriminator",
    "loss_E": "code",
    "loss_D": "image_discriminator",
    "loss_G": "deception",
}


class Watching(GradientUpdate):
    """Notes the length of the gradient whenever an optimiser steps."""

    def __init__(self, optimisers: dict[str, torch.optim.Optimizer]) -> None:
        super().__init__(make_fabric("cpu", "32-true"), optimisers, 1)
        self.lengths: dict[str, float] = {}

    def step(self, *optimisers: str) -> None:
        for name in optimisers:
            gradients = [p.grad for g in self.optimisers[name].param_groups for p in g["params"]]
            self.lengths[name] = float(
                torch.stack([g.double().norm() for g in gradients if g is not None]).norm()
            )
        super().step(*optimisers)


@dataclass(frozen=True)
class Allowed:
    """Errors allowed in the first iteration and later, and ceilings; see TOLERANCES.md.

    After the first step Adam, whose first moment is off, makes whole steps of the sign of gradients that are rounding.
    """

    first: float
    later: float
    ceilings: tuple[float, float]

    def at(self, step: int) -> dict[str, float]:
        """What :meth:`Numbers.add` is told."""
        return {
            "allowed": self.later if step else self.first,
            "ceiling": self.ceilings[1] if step else self.ceilings[0],
        }


# Losses of pixels and structure (relative), scores and losses of discriminators (absolute after the first step),
# lengths of gradients (relative), mean and deviation of the codes (absolute).
PIXELS = Allowed(1e-5, 5e-4, (1e-5, 5e-3))
SCORES = Allowed(1e-5, 0.02, (1e-5, 0.15))
LENGTHS = Allowed(2e-3, 0.1, (2e-2, 0.4))
CODES = Allowed(1e-5, 5e-3, (1e-5, 2e-2))
# Mean distance of a parameter over its mean movement in all steps: 0.30 by rounding, 1 where nothing steps.
MOVEMENT = 0.5
# Of running statistics the same, and the largest distance that the README allows, or a share of the largest movement.
STATISTICS, STATISTIC, STATISTIC_SHARE = 2e-3, 4e-4, 5e-3
# Float32's own distance of a parameter that stays where it is.
STILL = 2e-8


def assert_same_states(
    start: dict[str, Tensor], model: nn.Module, golden: Golden, rate: float, judge_rate: float
) -> None:
    """Every parameter moved as recorded, but where noise turned steps of Adam round; so did every statistic."""
    state = model.state_dict()
    for name, expected in golden.starting("after_").items():
        seen, before = state[name].double(), start[name].double()
        way = (expected.double() - before).abs()
        away = (seen - expected.double()).abs()
        if "running" in name:
            assert float(away.mean()) <= STATISTICS * float(way.mean()), name
            assert float(away.max()) <= max(STATISTIC, STATISTIC_SHARE * float(way.max())), name
        else:
            assert float(away.mean()) <= MOVEMENT * float(way.mean()) + STILL, name
            # Each step may have been made the other way; without a first moment Adam's k-th is at most sqrt(k) rates.
            steps = sum((1 + step) ** 0.5 for step in range(len(golden["loss"])))
            reach = 2 * steps * (judge_rate if name.startswith("D.") else rate)
            assert float(away.max()) <= reach, name


class Unsupervised:
    """The recorded iterations of the autoencoder, set up as they were recorded; ``neighbour`` moves the weights."""

    def __init__(self, facts: dict[str, Any], stage: str, neighbour: int = 0) -> None:
        self.recipe = AutoencoderRecipe(AutoencoderConfig(size=facts["input_size"], **STAGES[stage]))
        self.model = filled(facts)
        self.start = {key: value.clone() for key, value in self.model.state_dict().items()}
        move_weights(self.model, neighbour)
        self.networks = self.model.networks()
        self.networks["image_discriminator"].requires_grad_(self.recipe.judged)
        self.model.train()
        # The recording has no dropout.
        self.networks["code_discriminator"].eval()
        self.update, self.done = Watching(self.recipe.optimisers(self.networks)), 0
        self.codes: list[Tensor] = []
        self.scores: list[Tensor] = []
        for name, seen in (("encoder", self.codes), ("image_discriminator", self.scores)):
            self.networks[name].register_forward_hook(
                lambda _m, _i, out, seen=seen: seen.append(out.detach())
            )

    def step(self, pictures: Tensor, noise: Tensor) -> dict[str, Tensor]:
        for each in (self.update.lengths, self.codes, self.scores):
            each.clear()
        batch = {"image": as_image(pictures), "noise": noise}
        context = StepContext(self.update, self.done)
        self.done += 1
        return self.recipe.step(self.networks, batch, context)


def unsupervised_numbers(run: Unsupervised, golden: Golden, pictures: Tensor) -> Numbers:
    """Losses, scores, codes and lengths of gradients of every iteration; what was left out must be so in both."""
    numbers = Numbers()
    norms = {
        (PREFIXES[name], int(row[0])): float(row[1])
        for name in PREFIXES
        if f"gradnorm_{PREFIXES[name]}" in golden
        for row in golden[f"gradnorm_{PREFIXES[name]}"]
    }
    for step in range(len(golden["loss"])):
        values = run.step(pictures[step], golden["z_real"][step])
        seen = {key: float(values[name]) for key, name in LOSSES.items() if name in values}
        if "image_discriminator" in values:
            # Real pictures are judged first.
            seen["err_real"] = float(run.scores[0].mean())
        if "structure" in values:
            seen["ssim_torch"] = 60 * float(values["structure"])
        expected = {key: float(golden[key][step]) for key in [*LOSSES, "err_real", "ssim_torch"]}
        assert set(seen) == {key for key, value in expected.items() if value == value}, f"step {step}"
        for key, value in seen.items():
            pixels = key in ("loss", "loss_recon", "ssim_torch")
            scale = abs(expected[key]) if pixels or not step else 1.0
            numbers.add(
                f"{key} {step}", value, expected[key], scale=scale, **(PIXELS if pixels else SCORES).at(step)
            )
        for key, value in (("mean", run.codes[0].mean()), ("std", run.codes[0].std())):
            recorded = float(golden[f"z_recon_{key}"][step])
            numbers.add(f"code {key} {step}", value, recorded, scale=1.0, **CODES.at(step))
        lengths = run.update.lengths
        assert {PREFIXES[name] for name in lengths} == {prefix for prefix, when in norms if when == step}
        for name, length in lengths.items():
            numbers.add(f"gradient {name} {step}", length, norms[PREFIXES[name], step], **LENGTHS.at(step))
    return numbers


@pytest.mark.parametrize("stage", STAGES)
def test_unsupervised_steps(goldens: Path, stage: str):
    (facts, golden) = recorded(goldens, f"unsup_stage{stage}")[0]
    first = recorded(goldens, "unsup_stage1")[0][1]
    pictures = golden["images_u8"] if "images_u8" in golden else first["images_u8"]

    def numbers_of(neighbour: int) -> Numbers:
        # The run that is compared has the recorded weights; the seed 0 of its neighbours is another's.
        return unsupervised_numbers(Unsupervised(facts, stage, 1 + neighbour), golden, pictures)

    run = Unsupervised(facts, stage)
    failures = unexplained(unsupervised_numbers(run, golden, pictures), numbers_of)
    assert not failures, "\n".join(failures)
    config = run.recipe.config
    assert_same_states(run.start, run.model, golden, config.learning_rate, config.discriminator_rate)


class Landmarks:
    """The recorded iterations of landmark training, set up as they were recorded; ``neighbour`` moves the weights."""

    def __init__(self, facts: dict[str, Any], tuned: bool, neighbour: int = 0) -> None:
        self.recipe = LandmarkRecipe(
            LandmarkConfig(
                base="random",
                size=facts["input_size"],
                scheme=str(facts["landmarks"]),
                heatmaps="paper",
                sigma=facts.get("sigma", 7),
                tune_encoder=tuned,
            )
        )
        self.model = filled(facts)
        self.start = {key: value.clone() for key, value in self.model.state_dict().items()}
        move_weights(self.model, neighbour)
        self.networks = {name: self.model.networks()[name] for name in ("encoder", "decoder", "transfer")}
        self.networks["decoder"].requires_grad_(False)
        self.networks["encoder"].requires_grad_(tuned)
        self.update, self.done = Watching(self.recipe.optimisers(self.networks)), 0
        for network in self.networks.values():
            network.eval()

    def step(self, pictures: Tensor, points: Tensor) -> dict[str, Tensor]:
        batch = {"image": as_image(pictures), "points": points}
        for network in self.networks.values():
            network.eval()
        context = StepContext(self.update, self.done)
        self.done += 1
        return self.recipe.step(self.networks, batch, context)


@pytest.mark.parametrize("which", ["head", "enc"])
def test_landmark_steps(goldens: Path, which: str):
    (facts, golden) = recorded(goldens, f"landmark_step_{which}")[0]
    size, tuned = facts["input_size"], which == "enc"
    run = Landmarks(facts, tuned)
    images, points = as_input(golden["image_u8"]), golden["landmarks"]
    shown = golden["gt_hm_ch0_3"]
    same(run.recipe.targets(points)[: shown.shape[0], : shown.shape[1]], shown, 1e-6)
    for step in range(len(golden["loss_lms"])):
        if tuned or step == 0:
            pixels = float(pixel_loss(images, reconstruct(run.networks, images)))
        assert pixels == pytest.approx(float(golden["loss_recon"][step]), rel=1e-5)
        values = run.step(golden["image_u8"], points)
        assert float(values["loss"]) == pytest.approx(float(golden["loss_lms"][step]), rel=1e-5)
        for name, length in run.update.lengths.items():
            expected = float(golden[f"gradnorm_{PREFIXES[name]}"][step])
            assert length == pytest.approx(expected, rel=2e-3 if step == 0 else 5e-3)
    assert set(run.update.lengths) == ({"transfer", "encoder"} if tuned else {"transfer"})
    state = run.model.state_dict()
    for name, expected in golden.starting("after_").items():
        if name.endswith("_sum"):
            total = state[name.removesuffix("_sum")].double().abs().sum()
            torch.testing.assert_close(total.reshape(1), expected, rtol=1e-5, atol=0)
            continue
        way, away = (expected - run.start[name]).abs(), (state[name] - expected).abs()
        # A tenth of a step of Adam, which single elements make of rounding; on average far less.
        assert float(away.max()) <= max(3e-5 if tuned else 1e-5, 0.1 * run.recipe.config.learning_rate), name
        assert float(away.mean()) <= 0.1 * float(way.mean()) + STILL, name
    with torch.no_grad():
        found = read_heatmaps(heatmaps_of(run.networks, images), size, style="paper").double()
    expected = golden["landmarks_pred_after"]
    equal = (found == expected).all(-1)
    assert equal.double().mean() >= 0.95
    errors = published_errors(found, points.double(), size=size)
    same(errors[equal], golden["nme_after"][equal], 1e-3)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)

"""Training steps of 3FabRec against recorded ones: order of updates, losses, gradients, states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.parity.fabrec_goldens import Golden, as_image, as_input, assert_files_read, filled, recorded, same
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
FILES = ("unsup_stage*", "landmark_step_*")

# What each stage adds to the one before.
STAGES = {"1": {"gan_from": -1, "structure_from": -1}, "2": {"structure_from": -1}, "3": {}}
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


def assert_same_states(model: nn.Module, golden: Golden, rate: float, judge_rate: float) -> None:
    """Every parameter within twice the steps of Adam that noise may turn round, every statistic within 4e-4."""
    state = model.state_dict()
    for key in (k for k in golden if k.startswith("after_")):
        name = key.removeprefix("after_")
        bound = 4e-4 if "running" in name else 8 * (judge_rate if name.startswith("D.") else rate)
        same(state[name], golden[key], bound)


@pytest.mark.parametrize("stage", STAGES)
def test_unsupervised_steps(goldens: Path, stage: str):
    (facts, golden) = recorded(goldens, f"unsup_stage{stage}")[0]
    pictures = recorded(goldens, "unsup_stage1")[0][1]["images_u8"]
    recipe = AutoencoderRecipe(
        AutoencoderConfig(size=facts["input_size"], value_range="paper", **STAGES[stage])
    )
    model = filled(facts)
    networks = model.networks()
    networks["image_discriminator"].requires_grad_(recipe.judged)
    model.train()
    # The recording has no dropout.
    networks["code_discriminator"].eval()
    update = Watching(recipe.optimisers(networks))
    norms = {
        (PREFIXES[name], int(row[0])): float(row[1])
        for name in PREFIXES
        for row in golden.get(f"gradnorm_{PREFIXES[name]}", [])
    }
    codes: list[Tensor] = []
    scores: list[Tensor] = []
    for network, seen in ((networks["encoder"], codes), (networks["image_discriminator"], scores)):
        network.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out.detach()))
    for step in range(len(golden["loss"])):
        for each in (update.lengths, codes, scores):
            each.clear()
        values = recipe.step(
            networks,
            {"image": as_image(pictures[step]), "noise": golden["z_real"][step]},
            StepContext(update, step),
        )
        for key, name in LOSSES.items():
            expected = float(golden[key][step])
            assert (name in values) == (expected == expected), f"{key} in step {step}"
            if name in values:
                small = name in ("code_discriminator", "code", "image_discriminator", "deception")
                close = {"rel": 1e-5} if step == 0 else ({"abs": 0.02} if small else {"rel": 5e-4})
                assert float(values[name]) == pytest.approx(expected, **close), f"{key} in step {step}"
        # After the first step the codes carry the noise of Adam's signs.
        near = 1e-5 if step == 0 else 5e-3
        assert float(codes[0].mean()) == pytest.approx(float(golden["z_recon_mean"][step]), abs=near)
        assert float(codes[0].std()) == pytest.approx(float(golden["z_recon_std"][step]), abs=near)
        judged, similar = float(golden["err_real"][step]), float(golden["ssim_torch"][step])
        assert ("image_discriminator" in values) == (judged == judged)
        assert ("structure" in values) == (similar == similar)
        if "image_discriminator" in values:
            # Real pictures are judged first.
            assert float(scores[0].mean()) == pytest.approx(judged, abs=1e-5 if step == 0 else 0.02)
        if "structure" in values:
            weighted = 60 * float(values["structure"])
            assert weighted == pytest.approx(similar, rel=1e-5 if step == 0 else 5e-4)
        stepped = {PREFIXES[name] for name in update.lengths}
        assert stepped == {prefix for prefix, when in norms if when == step}
        for name, length in update.lengths.items():
            expected = norms[PREFIXES[name], step]
            assert length == pytest.approx(expected, rel=2e-3 if step == 0 else 0.1), f"{name} in step {step}"
    assert_same_states(model, golden, recipe.config.learning_rate, recipe.config.discriminator_rate)


@pytest.mark.parametrize("which", ["head", "enc"])
def test_landmark_steps(goldens: Path, which: str):
    (facts, golden) = recorded(goldens, f"landmark_step_{which}")[0]
    size, tuned = facts["input_size"], which == "enc"
    recipe = LandmarkRecipe(
        LandmarkConfig(
            base="random",
            size=size,
            scheme=str(facts["landmarks"]),
            heatmaps="paper",
            sigma=facts["sigma"],
            tune_encoder=tuned,
        )
    )
    model = filled(facts)
    networks = {name: model.networks()[name] for name in ("encoder", "decoder", "transfer")}
    networks["decoder"].requires_grad_(False)
    networks["encoder"].requires_grad_(tuned)
    images, points = as_input(golden["image_u8"]), golden["landmarks"]
    shown = golden["gt_hm_ch0_3"]
    same(recipe.targets(points)[: shown.shape[0], : shown.shape[1]], shown, 1e-6)
    update = Watching(recipe.optimisers(networks))
    for step in range(len(golden["loss_lms"])):
        for network in networks.values():
            network.eval()
        if tuned or step == 0:
            pixels = float(pixel_loss(images, reconstruct(networks, images)))
        assert pixels == pytest.approx(float(golden["loss_recon"][step]), rel=1e-5)
        batch = {"image": as_image(golden["image_u8"]), "points": points}
        values = recipe.step(networks, batch, StepContext(update, step))
        assert float(values["loss"]) == pytest.approx(float(golden["loss_lms"][step]), rel=1e-5)
        for name, length in update.lengths.items():
            expected = float(golden[f"gradnorm_{PREFIXES[name]}"][step])
            assert length == pytest.approx(expected, rel=2e-3 if step == 0 else 5e-3)
    assert set(update.lengths) == ({"transfer", "encoder"} if tuned else {"transfer"})
    state = model.state_dict()
    for key in (k for k in golden if k.startswith("after_")):
        name = key.removeprefix("after_")
        if name.endswith("_sum"):
            total = state[name.removesuffix("_sum")].double().abs().sum()
            torch.testing.assert_close(total.reshape(1), golden[key], rtol=1e-5, atol=0)
        else:
            same(state[name], golden[key], 3e-5 if tuned else 1e-5)
    with torch.no_grad():
        found = read_heatmaps(heatmaps_of(networks, images), size, style="paper").double()
    expected = golden["landmarks_pred_after"]
    equal = (found == expected).all(-1)
    assert equal.double().mean() >= 0.95
    errors = published_errors(found, points.double(), size=size)
    same(errors[equal], golden["nme_after"][equal], 1e-3)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_files_read(request, goldens, FILES)

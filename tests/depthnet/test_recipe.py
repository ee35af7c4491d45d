"""Recipes of DepthNets: names, contradictions, training lowers the loss, the critic is used as told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.depthnet.faces import random_faces, source

from lineament.errors import DataError, UsageError
from lineament.inference import load
from lineament.methods.depthnet.loss import gradient_penalty
from lineament.methods.depthnet.model import Critic, build_network, predict_depth
from lineament.methods.depthnet.recipe import DepthNetConfig, DepthNetRecipe
from lineament.training.loop import LoopOptions, resume, train
from lineament.training.registry import get_recipe, recipes
from lineament.training.stopping import TrainingInterrupted

QUIET = LoopOptions(device="cpu", progress=False, report=False)
EXPERIMENTS = {
    "nogan.sigma0.05": ("legacy", False),
    "nogan.learnm": ("learnt", False),
    "wgan.dnorm0.1.sigma0.05": ("legacy", True),
    "wgan.dnorm0.1.learnm": ("learnt", True),
    "nogan.sigma0.fixm": ("fixed", False),
    "wgan.dnorm0.1.sigma0.fixm": ("fixed", True),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_have_their_names_and_fields(name: str):
    config = get_recipe(f"depthnet-exp1.lamb1.sd5.{name}").config()
    assert (config.solve, config.critic) == EXPERIMENTS[name]
    assert config.penalty == (0.1 if config.critic else 0.0)
    assert (config.batch_size, config.learning_rate, config.steps) == (64, 2e-4, 42_800)
    assert len(recipes("depthnet-exp1.*")) == 6


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batch_size": 7}, "even batch size"),
        ({"sigma": 0.1}, "sigma belongs"),
        ({"solve": "damped"}, "sigma belongs"),
        ({"penalty": 0.1}, r"--penalty \(0.1\) has no effect without a critic"),
        ({"keypoint_weight": 10.0}, "--keypoint-weight .*without a critic"),
    ],
)
def test_contradictions_are_refused(fields, words: str):
    with pytest.raises(UsageError, match=words):
        DepthNetRecipe(DepthNetConfig(**fields))


@pytest.mark.parametrize("solve", ["fixed", "detached", "damped", "legacy", "learnt"])
def test_loss_falls(solve, tmp_path: Path):
    sigma = 0.05 if solve in ("damped", "legacy") else 0.0
    # Detached depths get next to no gradient: the fit leaves a residual that they hardly change.
    rate = 2e-2 if solve == "detached" else 2e-3
    config = DepthNetConfig(
        steps=60,
        batch_size=16,
        widths=(32, 16),
        solve=solve,
        sigma=sigma,
        evaluate_count=6,
        learning_rate=rate,
    )
    run = train(DepthNetRecipe(config), source(64), tmp_path, options=QUIET)
    losses = [line["keypoint"] for line in run.metrics("train")]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])
    measured = run.metrics("evaluation")[-1]
    assert 0 <= measured["depth_corr"] <= 66 and measured["keypoint_error"] > 0
    assert list(run.figures(60).glob("*.png"))


def test_critic_is_trained_and_needs_depths(tmp_path: Path):
    config = DepthNetConfig(
        steps=4, batch_size=8, widths=(16,), critic=True, penalty=0.1, critic_widths=(16,), evaluate_count=4
    )
    run = train(DepthNetRecipe(config), source(12), tmp_path / "run", options=QUIET)
    line = run.metrics("train")[-1]
    assert line["critic"] == pytest.approx(line["critic_fake"] - line["critic_real"], abs=1e-5)
    assert {"adversarial", "penalty", "keypoint"} <= set(line)
    sample = source(12)[0]
    sample.meta["keypoint_record"] = (sample.meta["keypoint_record"][0], None)
    with pytest.raises(DataError, match="no depths"):
        DepthNetRecipe(config).item(sample, torch.Generator())


def test_a_run_with_a_critic_resumes_bitwise(tmp_path: Path):
    entry = get_recipe("depthnet-exp1.lamb1.sd5.wgan.dnorm0.1.learnm")
    recipe = entry.build(entry.config("tiny", steps=4, checkpoint_every=2))
    straight = train(recipe, source(20), tmp_path / "straight", options=QUIET)
    with pytest.raises(TrainingInterrupted):
        train(recipe, source(20), tmp_path / "cut", options=replace(QUIET, stop_after=2))
    cut = resume(tmp_path / "cut", source(20), options=QUIET, recipe=recipe)
    for name, network in straight.load_networks().items():
        for key, value in cut.load_networks()[name].state_dict().items():
            assert torch.equal(value, network.state_dict()[key]), (name, key)
    assert straight.metrics("train") == cut.metrics("train")


def test_penalty_of_a_linear_critic_is_its_squared_norm():
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(198, 1))
    expected = float(critic[1].weight.detach().square().sum())
    assert float(gradient_penalty(critic, torch.randn(5, 3, 66)).detach()) == pytest.approx(
        expected, rel=1e-5
    )


def test_a_run_loads_as_a_predictor_in_the_pixels_of_a_picture(tmp_path: Path):
    config = DepthNetConfig(steps=2, batch_size=8, widths=(16,), evaluate_count=4)
    train(DepthNetRecipe(config), source(12), tmp_path / "run", options=QUIET)
    predictor = load(tmp_path / "run").predictor
    faces = random_faces(2)
    points = torch.cat([faces.keypoints[0], faces.keypoints[0, :2]]) * torch.tensor([200.0, 100.0])
    assert predictor.normalise(points, (200, 100), "68").shape == (66, 2)
    fit = predictor(faces.keypoints[:1], faces.keypoints[1:])
    assert fit.depth.shape == (1, 66) and fit.affine.shape == (1, 2, 4)
    with pytest.raises(DataError, match="finite"):
        predictor.normalise(points * torch.nan, (200, 100), "68")


def test_wrong_numbers_of_keypoints_are_refused():
    network = build_network("fixed", widths=(8,))
    with pytest.raises(UsageError, match="keypoints"):
        predict_depth(network, torch.rand(1, 68, 2), torch.rand(1, 68, 2))
    assert Critic(widths=(8,))(torch.rand(4, 3, 66)).shape == (4, 1)

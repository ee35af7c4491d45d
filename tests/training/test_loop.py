"""The loop: accumulation, several optimisers, precision, moving average, evaluation, what it refuses."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_toy import QUIET, Net, Noise, ToyConfig, ToyRecipe, toy, train_toy

from lineament.errors import DataError, LineamentError, UsageError
from lineament.training.checkpoint import checkpoint_steps
from lineament.training.ema import MovingAverage
from lineament.training.loop import resume, train
from lineament.training.stopping import TrainingInterrupted

# What sums to the same gradient however a batch is cut: no batch statistics, no noise of the batch's shape.
CUTTABLE: dict[str, Any] = {"normalise": False, "dropout": 0.0}


def test_accumulation_equals_the_whole_batch(tmp_path: Path):
    # Under several optimisers too: the critic must not receive gradients of the network's own loss.
    whole = train_toy(tmp_path / "whole", toy(**CUTTABLE))
    parts = train_toy(tmp_path / "parts", toy(**CUTTABLE, accumulate=2))
    for one, two in zip(whole.metrics(), parts.metrics(), strict=True):
        assert one.keys() == two.keys()
        assert [two[key] for key in one if key != "kind"] == pytest.approx(
            [value for key, value in one.items() if key != "kind"], rel=1e-4
        )
    weights = [run.read_checkpoint().groups["networks"] for run in (whole, parts)]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-4, atol=1e-5)


def test_updating_twice_in_a_step_cannot_be_accumulated(tmp_path: Path):
    class Twice(ToyRecipe):
        name = "toy-twice"

        def step(self, networks, batch, context):
            loss = networks["net"](batch["image"]).square().mean()
            context.update(loss, "net")
            context.update(networks["net"](batch["image"]).mean(), "net")
            return {"loss": loss}

    with pytest.raises(LineamentError, match="twice in a step"):
        train(Twice(toy(accumulate=2).config), Noise(), tmp_path / "run", options=QUIET)
    train(Twice(toy(steps=2).config), Noise(), tmp_path / "whole", options=QUIET)


def test_figures_are_not_drawn_where_nobody_looks(tmp_path: Path):
    drawn = train_toy(tmp_path / "drawn", toy(steps=2, draw=True))
    assert list(drawn.figures(2).iterdir())
    quiet = replace(QUIET, figures=False)
    plain = train(toy(steps=2, draw=True), Noise(), tmp_path / "plain", options=quiet)
    assert not plain.figures(2).exists()
    assert plain.metrics() == drawn.metrics()


def test_an_unknown_optimiser_is_named(tmp_path: Path):
    class Misspelt(ToyRecipe):
        name = "toy-misspelt"

        def step(self, networks, batch, context):
            context.update(networks["net"](batch["image"]).mean(), "nett")
            return {}

    with pytest.raises(UsageError, match="did you mean 'net'"):
        train(Misspelt(toy().config), Noise(), tmp_path / "run", options=QUIET)


def test_the_loss_of_one_optimiser_gives_no_gradient_to_another(tmp_path: Path):
    seen = []

    class Watching(ToyRecipe):
        name = "toy-watching"

        def step(self, networks, batch, context):
            values = super().step(networks, batch, context)
            critic = networks["critic"].weight
            seen.append(critic.grad.clone())
            made = networks["net"](batch["image"])
            context.update.backward(networks["critic"](made).sum() * 1e6, "net")
            seen.append(critic.grad.clone())
            return values

    train(Watching(toy(steps=1).config), Noise(), tmp_path / "run", options=QUIET)
    assert torch.equal(seen[0], seen[1])


def test_training_learns_and_the_report_is_written(tmp_path: Path):
    recipe = toy(steps=60, learning_rate=3e-2, evaluate_every=20, figures_every=40, dropout=0.0, draw=True)
    run = train(recipe, Noise(), tmp_path / "run", options=replace(QUIET, report=True))
    losses = [line["loss"] for line in run.metrics("train")]
    assert losses[-1] < 0.2 * losses[0]
    assert [line["step"] for line in run.metrics("evaluation")] == [20, 40, 60]
    for step in (40, 60):
        assert (run.figures(step) / "made.png").read_bytes()[1:4] == b"PNG"
        assert json.loads((run.figures(step) / "made.json").read_text())["titles"] == ["given", "made"]
    page = run.report.read_text()
    assert page.count("<img") == 3
    assert "lineament train toy --run" in page
    assert "--steps 60 --evaluate-every 20 --figures-every 40" in page
    assert "--width" not in page
    assert "noise-10-8-0" in page
    assert list((run.folder / "tensorboard").glob("events*"))
    timing = (run.folder / "timing.jsonl").read_text().splitlines()
    assert json.loads(timing[-1])["samples_per_second"] > 0


def test_bfloat16_trains_close_to_float32(tmp_path: Path):
    dtypes = []

    class Looking(ToyRecipe):
        name = "toy-looking"

        def step(self, networks, batch, context):
            networks["net"].head.register_forward_hook(lambda m, i, out: dtypes.append(out.dtype))
            assert networks["net"](batch["image"]).dtype == torch.float32
            return super().step(networks, batch, context)

    full = train_toy(tmp_path / "full", toy(dropout=0.0))
    mixed = train_toy(tmp_path / "mixed", Looking(toy(dropout=0.0).config), precision="bf16-mixed")
    assert set(dtypes) == {torch.bfloat16}
    pairs = list(zip(full.metrics("train"), mixed.metrics("train"), strict=True))
    assert all(two["loss"] == pytest.approx(one["loss"], rel=0.05) for one, two in pairs)
    assert any(two["loss"] != one["loss"] for one, two in pairs)
    assert all(value.dtype != torch.bfloat16 for value in mixed.read_checkpoint().groups["networks"].values())


def test_a_bfloat16_run_resumes_in_bfloat16(tmp_path: Path):
    straight = train_toy(tmp_path / "straight", toy(), precision="bf16-mixed")
    cut = train_toy(tmp_path / "cut", toy(), precision="bf16-mixed", stop_after=5)
    # The precision of the run counts, not the option.
    train_toy(cut.folder, toy(), resumed=True, precision="32-true")
    assert cut.metrics() == straight.metrics()


def test_a_loss_that_is_nan_stops_and_names_the_step(tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(LineamentError, match=r"loss is nan at step 8 of toy.*step 5 is kept"):
        train(toy(nan_at=8), Noise(), run, options=QUIET)
    assert checkpoint_steps(run / "checkpoints") == [5]
    with pytest.raises(LineamentError, match="no checkpoint was written yet"):
        train(toy(nan_at=1), Noise(), tmp_path / "first", options=QUIET)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path):
    class Exploding(ToyRecipe):
        name = "toy-exploding"

        def step(self, networks, batch, context):
            values = super().step(networks, batch, context)
            with torch.no_grad():
                networks["net"].head.bias.fill_(float("inf"))
            return values

    with pytest.raises(LineamentError, match=r"net/head.bias' is not finite after step 1"):
        train(Exploding(toy(checkpoint_every=1).config), Noise(), tmp_path / "run", options=QUIET)
    assert checkpoint_steps(tmp_path / "run" / "checkpoints") == []


def test_a_parameter_without_an_optimiser_is_refused(tmp_path: Path):
    class Forgetful(ToyRecipe):
        name = "toy-forgetful"

        def networks(self):
            return {**super().networks(), "extra": nn.Linear(2, 2)}

    with pytest.raises(LineamentError, match="extra/weight requires a gradient but belongs to no optimiser"):
        train(Forgetful(toy().config), Noise(), tmp_path / "run", options=QUIET)


def test_a_best_metric_that_is_not_measured_is_refused(tmp_path: Path):
    class Mistaken(ToyRecipe):
        name = "toy-mistaken"
        best_metric = "nme"

    with pytest.raises(LineamentError, match="names 'nme' as its best metric but measured error"):
        train(Mistaken(toy(steps=1).config), Noise(), tmp_path / "run", options=QUIET)


def test_a_sample_that_cannot_be_prepared_is_named(tmp_path: Path):
    class Broken(ToyRecipe):
        name = "toy-broken"

        def item(self, sample, generator):
            raise ValueError("no mouth")

    with pytest.raises(DataError, match=r"sample '.*no mouth"):
        train(Broken(toy().config), Noise(), tmp_path / "run", options=QUIET)


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="multiple of 3"):
        train(toy(accumulate=3), Noise(), tmp_path / "run", options=QUIET)


def test_cuda_without_a_device_is_refused(tmp_path: Path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(UsageError, match="--device cpu"):
        train(toy(), Noise(), tmp_path / "run", options=replace(QUIET, device="cuda"))
    assert not (tmp_path / "run").exists()


def test_a_full_disk_during_training_says_so_and_the_run_can_go_on(tmp_path: Path):
    recipe = toy(width=600, checkpoint_every=3)
    run = train_toy(tmp_path / "run", recipe, stop_after=3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(LineamentError, match="free some space") as caught:
            resume(run.folder, Noise(), options=QUIET, recipe=toy(width=600, checkpoint_every=3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert checkpoint_steps(run.checkpoints) == [3]
    resume(run.folder, Noise(), options=QUIET, recipe=toy(width=600, checkpoint_every=3))
    assert run.read_checkpoint().step == 12


def test_moving_average_follows_its_formula():
    torch.manual_seed(0)
    net = Net(ToyConfig())
    average = MovingAverage({"net": net}, toy(ema_decay=0.5).averages({"net": net})["ema"])
    start = net.conv.weight.detach().clone()
    with torch.no_grad():
        net.conv.weight.add_(1.0)
        net.norm.running_mean.add_(2.0)
    average.update({"net": net}, step=1)
    slow = average.networks["net"]
    # min(0.5, 2 / 11) of the old stays.
    torch.testing.assert_close(slow.conv.weight, start + 9.0 / 11.0)
    assert torch.equal(slow.norm.running_mean, net.norm.running_mean)
    average.update({"net": net}, step=1000)
    torch.testing.assert_close(slow.conv.weight, start + 1.0 - 0.5 * 2.0 / 11.0)
    assert not slow.training
    assert not any(p.requires_grad for p in slow.parameters())


def test_trained_networks_load_with_and_without_the_average(tmp_path: Path):
    run = train_toy(tmp_path / "run", toy())
    slow, fast = run.load_networks(), run.load_networks(average=False)
    assert not slow["net"].training
    assert not torch.equal(slow["net"].conv.weight, fast["net"].conv.weight)
    groups = run.read_checkpoint("best").groups
    assert torch.equal(slow["net"].conv.weight, groups["ema"]["net/conv.weight"])
    assert torch.equal(fast["net"].conv.weight, groups["networks"]["net/conv.weight"])


class Worsening(ToyRecipe):
    """Is best at step 4, then worse and worse."""

    name = "toy-worsening-early"

    def schedules(self, optimisers):
        self.made = super().schedules(optimisers)
        return self.made

    def evaluate(self, networks, source):
        return {"error": float(abs(self.made["net"].last_epoch - 4))}


def test_training_stops_early_and_a_resumed_run_stops_where_a_straight_one_does(tmp_path: Path):
    fields = {"steps": 40, "evaluate_every": 2, "checkpoint_every": 3, "patience": 3}
    run = train(Worsening(toy(**fields).config), Noise(), tmp_path / "run", options=QUIET)
    assert run.metrics()[-1]["step"] == 10 == run.read_checkpoint().step
    assert run.read_checkpoint("best").step == 4
    cut = tmp_path / "cut"
    with pytest.raises(TrainingInterrupted):
        train(Worsening(toy(**fields).config), Noise(), cut, options=replace(QUIET, stop_after=7))
    again = resume(cut, Noise(), options=QUIET, recipe=Worsening(toy(**fields).config))
    assert again.metrics() == run.metrics()
    # A run that ended early stays ended.
    finished = resume(run.folder, Noise(), options=QUIET, recipe=Worsening(toy(**fields).config))
    assert finished.metrics()[-1]["step"] == 10


def test_patience_needs_evaluations():
    with pytest.raises(UsageError, match="patience 3 needs evaluations to wait for"):
        toy(patience=3, evaluate_every=0)

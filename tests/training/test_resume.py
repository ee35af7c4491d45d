"""Exact resume: the same bits however a run is cut into sessions and workers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from training_toy import QUIET, Noise, ToyRecipe, assert_same_runs, toy, train_toy

from lineament.data.order import SampleOrder
from lineament.errors import CheckpointError, LineamentError, UsageError
from lineament.training.checkpoint import step_folder
from lineament.training.loop import resume, train
from lineament.training.run import Run
from lineament.training.stopping import TrainingInterrupted


@pytest.fixture(scope="module", params=[1, 2], ids=["one-thread", "two-threads"])
def straight(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Run]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield train_toy(tmp_path_factory.mktemp("straight") / "run", toy(evaluate_every=4))
    torch.set_num_threads(before)


def test_five_and_seven_steps_equal_twelve(straight: Run, tmp_path: Path):
    recipe = toy(evaluate_every=4)
    cut = train_toy(tmp_path / "run", recipe, stop_after=5)
    assert cut.read_checkpoint().step == 5
    assert_same_runs(straight, train_toy(cut.folder, toy(evaluate_every=4), resumed=True))


def test_cutting_at_every_kind_of_step_changes_nothing(straight: Run, tmp_path: Path):
    folder = tmp_path / "run"
    train_toy(folder, toy(evaluate_every=4), stop_after=1)
    for step in (4, 8, 11):
        train_toy(folder, toy(evaluate_every=4), resumed=True, stop_after=step)
    assert_same_runs(straight, train_toy(folder, toy(evaluate_every=4), resumed=True))


def test_two_workers_equal_none(straight: Run, tmp_path: Path):
    assert_same_runs(straight, train_toy(tmp_path / "run", toy(evaluate_every=4), workers=2))


def test_steps_after_the_checkpoint_are_done_again(straight: Run, tmp_path: Path):
    # The state a kill leaves: metric lines (the last cut short) beyond the newest checkpoint.
    run = train_toy(tmp_path / "run", toy(evaluate_every=4), stop_after=5)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 6, "kind": "train", "loss": 1.0}) + '\n{"step": 7, "ki')
    assert_same_runs(straight, train_toy(run.folder, toy(evaluate_every=4), resumed=True))


def test_a_run_killed_before_its_first_checkpoint_starts_again(straight: Run, tmp_path: Path):
    run = train_toy(tmp_path / "run", toy(evaluate_every=4), stop_after=3)
    for path in step_folder(run.checkpoints, 3).iterdir():
        path.unlink()
    step_folder(run.checkpoints, 3).rmdir()
    assert_same_runs(straight, train_toy(run.folder, toy(evaluate_every=4), resumed=True))


def test_evaluation_and_figures_do_not_touch_training(tmp_path: Path):
    plain = train_toy(tmp_path / "plain", toy(draw=True))
    looked = train_toy(tmp_path / "looked", toy(evaluate_every=1, figures_every=6, draw=True))
    assert plain.metrics("train") == looked.metrics("train")
    assert len(looked.metrics("evaluation")) == 12


def test_resuming_a_finished_run_changes_nothing(straight: Run):
    before = (straight.folder / "metrics.jsonl").read_text()
    resume(straight.folder, Noise(), options=QUIET, recipe=toy(evaluate_every=4))
    assert (straight.folder / "metrics.jsonl").read_text() == before
    assert straight.read_checkpoint().step == 12


def test_another_config_is_refused_and_the_fields_listed(tmp_path: Path):
    run = train_toy(tmp_path / "run", toy(), stop_after=2)
    with pytest.raises(CheckpointError) as caught:
        resume(run.folder, Noise(), options=QUIET, recipe=toy(steps=20, learning_rate=0.5))
    message = str(caught.value)
    assert "steps: 12 -> 20" in message
    assert "learning_rate: 0.01 -> 0.5" in message
    assert "width" not in message


def test_an_edited_config_file_is_refused(tmp_path: Path):
    run = train_toy(tmp_path / "run", toy(), stop_after=2)
    path = run.folder / "config.yaml"
    values = yaml.safe_load(path.read_text())
    values["config"]["seed"] = 7
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(CheckpointError, match="seed: 0 -> 7"):
        resume(run.folder, Noise(), options=QUIET)


def test_another_precision_in_the_config_file_is_refused(tmp_path: Path):
    run = train_toy(tmp_path / "run", toy(), stop_after=2)
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace("32-true", "bf16-mixed"))
    with pytest.raises(CheckpointError, match="precision: 32-true -> bf16-mixed"):
        resume(run.folder, Noise(), options=QUIET)


def test_other_data_is_refused(tmp_path: Path):
    run = train_toy(tmp_path / "run", toy(), stop_after=2)
    with pytest.raises(CheckpointError, match="other data"):
        resume(run.folder, Noise(seed=1), options=QUIET)
    assert run.read_checkpoint().step == 2


def test_data_of_a_python_caller_must_be_passed_again(tmp_path: Path):
    run = train_toy(tmp_path / "run", toy(), stop_after=2)
    with pytest.raises(UsageError, match="Python program"):
        resume(run.folder, options=QUIET)


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_resuming_what_is_no_run(tmp_path: Path, place: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LineamentError, match="run directory"):
        resume(tmp_path / place, Noise(), options=QUIET)


@pytest.mark.parametrize(
    "name", ["networks.safetensors", "ema.safetensors", "state.json", "state.safetensors", "manifest.json"]
)
def test_a_damaged_newest_checkpoint_falls_back(
    straight: Run, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
):
    run = train_toy(tmp_path / "run", toy(evaluate_every=4), stop_after=7)
    path = step_folder(run.checkpoints, 7) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    with caplog.at_level(logging.WARNING), pytest.raises(TrainingInterrupted):
        resume(run.folder, Noise(), options=replace(QUIET, stop_after=6), recipe=toy(evaluate_every=4))
    assert "damaged" in caplog.text
    assert "from step 5" in caplog.text
    # The whole ones are kept (4 was the best so far); the damaged one went away.
    assert [p.name for p in sorted(run.checkpoints.iterdir())] == ["00000004", "00000005", "00000006"]
    assert_same_runs(straight, train_toy(run.folder, toy(evaluate_every=4), resumed=True))


def test_all_checkpoints_damaged_is_an_error_not_a_new_start(tmp_path: Path):
    run = train_toy(tmp_path / "run", toy(), stop_after=7)
    for path in run.checkpoints.glob("*/state.json"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="all 2 checkpoints"):
        resume(run.folder, Noise(), options=QUIET)


def test_the_last_two_and_the_best_are_kept(tmp_path: Path):
    class Worsening(ToyRecipe):
        name = "toy-worsening"

        def evaluate(self, networks, source):
            self.rounds = getattr(self, "rounds", 0) + 1
            return {"error": float(abs(self.rounds - 2))}

    recipe = Worsening(toy(evaluate_every=2, checkpoint_every=3).config)
    run = train(recipe, Noise(), tmp_path / "run", options=QUIET)
    assert [p.name for p in sorted(run.checkpoints.iterdir())] == ["00000004", "00000009", "00000012"]
    newest = run.read_checkpoint()
    assert newest.state["best"] == {"metric": "error", "value": 0.0, "step": 4}
    assert run.read_checkpoint("best").step == 4
    assert newest.state["position"] == 48


def test_the_highest_is_the_best_where_the_recipe_says_so(tmp_path: Path):
    class Rising(ToyRecipe):
        name = "toy-rising"
        best_is = "highest"
        values = (0.2, 0.7, float("nan"), 0.7, 0.5, 0.6)

        def evaluate(self, networks, source):
            self.rounds = getattr(self, "rounds", 0) + 1
            return {"error": self.values[self.rounds - 1]}

    recipe = Rising(toy(evaluate_every=2, checkpoint_every=0).config)
    run = train(recipe, Noise(), tmp_path / "run", options=QUIET)
    # Neither what is no number nor what is only as good takes its place.
    assert run.read_checkpoint().state["best"] == {"metric": "error", "value": 0.7, "step": 4}
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["00000004", "00000012"]


def test_the_first_step_sees_the_first_samples_and_a_resumed_one_the_next(tmp_path: Path):
    """Position 0 of the documented order, not merely the same in both runs: 5 steps of 4 samples, then position 20."""
    seen: list[list[str]] = []

    class Noting(ToyRecipe):
        name = "toy-noting"

        def step(self, networks, batch, context):
            seen.append(list(batch["id"]))
            return super().step(networks, batch, context)

    order = SampleOrder(10, 4, seed=0)
    wanted = [[str(place.index) for place in order.part(step)] for step in range(12)]
    run = train_toy(tmp_path / "run", Noting(toy().config), stop_after=5)
    assert seen == wanted[:5]
    assert run.read_checkpoint().state["position"] == 20
    train_toy(run.folder, Noting(toy().config), resumed=True)
    assert seen == wanted
    assert [line["step"] for line in run.metrics() if line["kind"] == "train"] == list(range(1, 13))


def test_an_evaluation_leaves_each_module_in_its_mode(tmp_path: Path):
    modes: list[tuple[bool, bool]] = []

    class Frozen(ToyRecipe):
        name = "toy-frozen"

        def step(self, networks, batch, context):
            modes.append((networks["net"].training, networks["net"].norm.training))
            networks["net"].norm.eval()
            return super().step(networks, batch, context)

    train_toy(tmp_path / "run", Frozen(toy(steps=4, evaluate_every=1, ema_decay=0.0).config))
    assert modes == [(True, True), (True, False), (True, False), (True, False)]

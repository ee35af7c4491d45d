"""Run directories, configs as files, the registry, stopping."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from training_toy import Noise, ToyConfig, ToyRecipe, toy, train_toy

from lineament.errors import CheckpointError, LineamentError, UsageError
from lineament.training.config import (
    config_from_dict,
    config_hash,
    config_to_dict,
    differing_fields,
)
from lineament.training.logs import MetricLog, read_lines
from lineament.training.recipe import RecipeConfig
from lineament.training.registry import get_recipe, recipes, register_recipe
from lineament.training.run import create_run, open_run
from lineament.training.run_report import train_command, write_run_report
from lineament.training.stopping import StopRequest
from lineament.training.weights import load_weights


@dataclass(frozen=True)
class Inner:
    depth: int = 2


@dataclass(frozen=True)
class RichConfig(RecipeConfig):
    """Every kind of value."""

    # Where it lies.
    path: Path = Path("a/b")
    # How fast.
    rate: float = 1e-4
    # These two
    # share a comment.
    low: int | None = None
    high: int | None = 3
    steps: int = 5
    # One of two.
    kind: Literal["a", "b"] = "a"
    # Pairs.
    pairs: tuple[tuple[int, float], ...] = ((1, 0.5),)
    # Names.
    names: tuple[str, int] = ("x", 1)
    # Nested.
    inner: Inner = Inner(3)
    # Yes or no.
    flag: bool = False

    def lowest(self) -> int:
        # Not a field.
        low: int = self.low or 0
        return low


def test_a_config_survives_yaml():
    config = RichConfig(low=7, kind="b", rate=3e-5, flag=True)
    text = yaml.safe_dump(config_to_dict(config))
    assert config_from_dict(RichConfig, yaml.safe_load(text)) == config
    assert config_from_dict(RichConfig, {"rate": "1e-3", "rate": 1}) == RichConfig(rate=1.0)  # noqa: F601
    # YAML reads 1e-3 (without a dot) as text.
    assert config_from_dict(RichConfig, {"rate": "1e-3"}).rate == 0.001


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("stepz", 4, "did you mean 'steps'"),
        ("steps", 4.5, "whole number"),
        ("steps", True, "whole number"),
        ("steps", "many", "steps"),
        ("kind", "c", "choose one of a, b"),
        ("flag", "yes", "true or false"),
        ("names", ["x"], "names"),
    ],
)
def test_a_wrong_value_in_a_config_is_named(field: str, value: Any, part: str):
    with pytest.raises(UsageError, match=part):
        config_from_dict(RichConfig, {field: value})


def test_differences_and_hash_of_configs():
    before = config_to_dict(ToyConfig())
    now = {**before, "steps": 3, "new": 1}
    del now["seed"]
    assert differing_fields(before, now) == ["steps: 12 -> 3", "seed: 0 -> (absent)", "new: (absent) -> 1"]
    assert differing_fields(before, dict(before)) == []
    assert config_hash(before) == config_hash(dict(reversed(before.items())))
    assert config_hash(before) != config_hash(now)


def test_a_run_is_opened_as_it_was_made(tmp_path: Path):
    made = create_run(
        tmp_path / "run", toy(sizes=(1, 2, 3)), "32-true", data=["a b", "c?d=1"], validation=["v"]
    )
    found = open_run(tmp_path / "run")
    assert found == made
    assert found.build_recipe().config == ToyConfig(sizes=(1, 2, 3))
    command = train_command(found)
    assert (
        command
        == f"lineament train toy --data 'a b' 'c?d=1' --validation v --run {tmp_path / 'run'} --sizes 1 2 3"
    )
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        found.read_checkpoint()
    # A report of a run that has not trained a step yet is short, not an error.
    assert "0 of 12 steps" in write_run_report(found).read_text()


def test_a_folder_in_use_is_refused_and_foreign_files_survive_overwriting(tmp_path: Path):
    run = train_toy(tmp_path / "run", toy(steps=2, draw=True))
    (run.folder / "notes.txt").write_text("mine")
    (run.folder / "tensorboard" / "old").write_text("old")
    with pytest.raises(LineamentError, match="lineament resume"):
        create_run(run.folder, toy(), "32-true")
    assert run.read_checkpoint().step == 2
    again = create_run(run.folder, toy(), "32-true", overwrite=True)
    assert sorted(path.name for path in again.folder.iterdir()) == ["config.yaml", "notes.txt"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photo.jpg").write_text("x")
    with pytest.raises(LineamentError, match="is not empty: choose another"):
        create_run(tmp_path / "other", toy(), "32-true")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "format: 2\nrecipe: toy",
        "[1, 2]",
        "recipe: [",
        "\x00",
        "format: two",
        "format: 2\nrecipe: toy\nmethod: x\nconfig: 3",
    ],
)
def test_a_config_that_cannot_be_read_gives_one_sentence(tmp_path: Path, text: str):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(LineamentError, match="cannot be read as a run's config") as caught:
        open_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_earlier_version_is_refused_in_one_sentence(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("recipe: toy\nmethod: toy\nconfig: {}\n")
    with pytest.raises(
        CheckpointError, match="has format 1, this version of lineament reads 2: train it anew"
    ):
        open_run(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path):
    checkpoint = train_toy(tmp_path / "run", toy(steps=1)).read_checkpoint()
    with pytest.raises(CheckpointError, match="another configuration"):
        load_weights(toy(width=9).networks(), checkpoint, "networks")
    networks = toy().networks()
    del networks["critic"]
    with pytest.raises(CheckpointError, match="'critic/bias' is in the checkpoint but not in the network"):
        load_weights(networks, checkpoint, "networks")


def test_recipes_are_found_by_name_and_pattern():
    assert get_recipe("toy").recipe_class is ToyRecipe
    assert "toy" in recipes("t*y")
    assert recipes("nothing-*") == []
    with pytest.raises(UsageError, match="did you mean 'toy'"):
        get_recipe("toyy")
    toy = get_recipe("toy")
    assert toy.summary == "Learns the brightness of noise with one network and criticises it with another"
    assert (toy.config("wide").width, toy.config().width, toy.config("wide", width=3).width) == (16, 6, 3)
    with pytest.raises(UsageError, match="did you mean 'wide'"):
        toy.config("wid")


def test_two_recipes_cannot_share_a_name():
    with pytest.raises(ValueError, match="two recipes are named 'toy'"):
        register_recipe(type("Other", (ToyRecipe,), {}))
    with pytest.raises(ValueError, match="has no 'name'"):
        register_recipe(type("Nameless", (), {}))
    assert register_recipe(ToyRecipe) is ToyRecipe


def test_metric_lines_after_the_step_are_dropped(tmp_path: Path):
    log = MetricLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.write("train", step, {"loss": 0.1 * step, "odd": float("nan")})
    log.write_timing(3, {"steps_per_second": 2.0})
    log.close()
    MetricLog(tmp_path, 2).close()
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert lines == [{"step": s, "kind": "train", "loss": 0.1 * s, "odd": None} for s in (1, 2)]
    assert read_lines(tmp_path / "timing.jsonl") == []


def test_a_signal_asks_once_and_interrupts_twice(capfd: pytest.CaptureFixture[str]):
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as request:
        assert not request.wanted
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    said = capfd.readouterr().err
    assert "stopping after this step" in said
    assert "nothing was saved since the last checkpoint" in said


def test_noise_is_pure():
    assert bool((Noise()[3].image == Noise()[3].image).all())

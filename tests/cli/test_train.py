"""`lineament train`, `resume`, `recipes` as a user meets them, on a folder of pictures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lineament.cli.main import main
from lineament.training.run import open_run

RECIPE = "dve-smallnet-3d"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(0)
    for index in range(6):
        coarse = Image.fromarray(chance.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def words(pictures: Path, run: Path, *more: str) -> list[str]:
    common = ["--data", str(pictures), "--preset", "tiny", "--run", str(run), "--device", "cpu"]
    return ["train", RECIPE, *common, *more]


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err.strip()
    assert "Traceback" not in text
    return text.splitlines()[-1]


def test_train_writes_a_run_and_says_where(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "run"
    assert (
        main(words(pictures, folder, "--steps", "3", "--learning-rate", "0.002", "--ema-decay", "0.5")) == 0
    )
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    run = open_run(folder)
    assert run.data == (str(pictures),)
    assert run.config["learning_rate"] == 0.002
    assert len(run.metrics("train")) == 3
    assert run.read_checkpoint().step == 3
    page = run.report.read_text()
    assert f"lineament train {RECIPE}" in page
    # A finished run is not harmed by mistake, nor by resuming it.
    assert main(words(pictures, folder)) == 1
    assert "lineament resume" in one_sentence(capsys)
    assert main(["resume", str(folder)]) == 0
    assert len(open_run(folder).metrics("train")) == 3
    assert main(words(pictures, folder, "--overwrite")) == 0
    assert len(open_run(folder).metrics("train")) == 2


def test_ctrl_c_saves_and_resume_ends_as_if_nothing_happened(pictures: Path, tmp_path: Path):
    script = "import sys; from lineament.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = words(pictures, tmp_path / "cut", "--steps", "60", "--workers", "1")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    metrics = tmp_path / "cut" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        time.sleep(0.005)
    # To the whole group, as a terminal does: the data worker must not fall over it.
    os.killpg(process.pid, signal.SIGINT)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 130, message
    assert "Traceback" not in message
    sentence = message.strip().splitlines()[-1]
    assert "of 60, the checkpoint is saved" in sentence
    assert f"lineament resume {tmp_path / 'cut'}" in sentence
    stopped = open_run(tmp_path / "cut").read_checkpoint().step
    assert 3 <= stopped < 60
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(["resume", str(tmp_path / "cut")]) == 0
        assert main(words(pictures, tmp_path / "straight", "--steps", "60")) == 0
    finally:
        torch.set_num_threads(before)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("cut", "straight")]
    assert lines[0] == lines[1]


def test_resume_with_an_edited_config_lists_the_fields(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "run"
    assert main(words(pictures, folder)) == 0
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("power: 0.5", "power: 0.7"))
    capsys.readouterr()
    assert main(["resume", str(folder)]) == 1
    assert "power: 0.5 -> 0.7" in one_sentence(capsys)


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["train", "dve-smalnet-3d"], 2, "did you mean 'dve-smallnet"),
        (["train", "--steps", "4"], 2, "the recipe comes first"),
        (["train", RECIPE, "--preset", "tinny"], 2, "did you mean 'tiny'"),
        (["train", RECIPE, "--data", "/nowhere/at/all"], 1, "/nowhere/at/all"),
        (["train", RECIPE, "--data", "celeba"], 2, "needs the folder"),
        (["train", RECIPE, "--stps", "4"], 2, "Unrecognized"),
        (["train", RECIPE, "--steps", "many"], 2, "many"),
        (["train", RECIPE, "--precision", "8-bit"], 2, "8-bit"),
        (["resume", "/nowhere/at/all"], 1, "there is no run directory /nowhere/at/all"),
        (["resume"], 2, "required"),
        (["recipes", "nothing-like-it*"], 2, "unknown recipe"),
    ],
)
def test_wrong_words_give_one_clear_answer(
    arguments: list[str],
    code: int,
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    text = capsys.readouterr().err
    assert part in text
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_and_a_file_in_the_way(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "empty").mkdir()
    assert main(["train", RECIPE, "--data", str(tmp_path / "empty"), "--run", str(tmp_path / "run")]) == 1
    assert str(tmp_path / "empty") in one_sentence(capsys)
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("precious")
    assert main(words(pictures, tmp_path / "file")) == 1
    one_sentence(capsys)
    assert main(words(pictures, tmp_path / "file" / "below", "--overwrite")) == 1
    assert "cannot make the run directory" in one_sentence(capsys)
    assert (tmp_path / "file").read_text() == "precious"


def test_help_names_every_field_with_its_comment(capsys: pytest.CaptureFixture[str]):
    assert main(["train", RECIPE, "--preset", "tiny", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for flag in ("--data", "--run", "--workers", "--steps", "--image-size", "--batch-size", "--overwrite"):
        assert flag in text
    assert "Optimiser steps in all. (default: 2)" in text
    assert "Run directory to make" in text
    assert main(["train"]) == 2
    assert main(["train", "--help"]) == 0


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]):
    assert main(["recipes"]) == 0
    everything = capsys.readouterr().out
    assert main(["recipes", "*smallnet-16d"]) == 0
    some = capsys.readouterr().out.strip().splitlines()
    assert "dve-smallnet-16d" in some[1]
    assert len(some) == 2
    assert some[1].split()[1] == "dve"
    assert len(everything.splitlines()) > 5


def test_a_folder_in_the_place_of_the_recipe_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in (str(tmp_path), "../faces"):
        assert main(["train", word]) == 2
        error = capsys.readouterr().err
        assert f"lineament train RECIPE --data {word}" in error and error.count("\n") == 1

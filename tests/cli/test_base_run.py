"""Runs that build on runs, as the command line trains them: no base is skipped, replaced, or lost."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from lineament.cli.main import main
from lineament.training.registry import get_recipe
from lineament.training.run import Run, open_run
from lineament.training.run_report import train_command

DATA = "synthetic?count=4&size=64"
SMALL = ["--data", DATA, "--device", "cpu", "--steps", "2", "--batch-size", "2", "--evaluate-count", "2"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Base runs by method; each differs from every default of its children."""
    folder = tmp_path_factory.mktemp("bases")
    fields = {
        "dve-smallnet-3d": [
            "--channels",
            "5",
            "--image-size",
            "40",
            "--crop",
            "4",
            "--no-exchange",
            "--view",
            "1.3",
        ],
        "fabrec-ae": ["--size", "64", "--width", "4", "--code", "8", "--linear", "--seed", "3"],
    }
    for recipe, words in fields.items():
        assert main(["train", recipe, *SMALL, *words, "--run", str(folder / recipe)]) == 0
    return {"dve": folder / "dve-smallnet-3d", "fabrec": folder / "fabrec-ae"}


CHILDREN = {
    "dve-finetune": "dve",
    "dve-landmarks": "dve",
    "fabrec-landmarks": "fabrec",
    "fabrec-ae": "fabrec",
}


def newest(run: Run) -> dict[str, torch.Tensor]:
    return run.read_checkpoint().groups["networks"]


@pytest.mark.parametrize("name", CHILDREN)
def test_the_printed_command_trains_the_same_weights(
    name: str, bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given = ["--base", str(bases[CHILDREN[name]]), "--seed", "7"]
    given += ["--scheme", "5"] if "landmarks" in name else []
    assert main(["train", name, *SMALL, *given, "--run", str(tmp_path / "first")]) == 0
    run = open_run(tmp_path / "first")
    words = shlex.split(train_command(run))
    assert ["--base", str(bases[CHILDREN[name]])] == words[words.index("--base") : words.index("--base") + 2]
    # What the base decided is not printed: it would be asked of whatever lies there by then.
    decided = {"dve": "--channels", "fabrec": "--width"}[CHILDREN[name]]
    assert decided not in words and run.config["channels" if CHILDREN[name] == "dve" else "width"] in (5, 4)
    words[words.index(str(run.folder))] = str(tmp_path / "second")
    assert main(words[1:]) == 0
    again = newest(open_run(tmp_path / "second"))
    for key, value in newest(run).items():
        assert torch.equal(value, again[key]), key
    # It did start from the base: the same command on random weights gives others.
    words[words.index("--base") + 1] = "random"
    words[words.index(str(tmp_path / "second"))] = str(tmp_path / "third")
    assert main(words[1:]) == 0
    other = newest(open_run(tmp_path / "third"))
    assert any(
        value.shape != other[key].shape or not torch.equal(value, other[key]) for key, value in again.items()
    )


SIZES = {"dve": ["--channels", "64"], "fabrec": ["--width", "4", "--size", "64", "--code", "8"]}


@pytest.mark.parametrize("name", CHILDREN)
@pytest.mark.parametrize("sized", [False, True])
def test_a_base_that_is_not_there_is_refused(
    name: str, sized: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    more = SIZES[CHILDREN[name]] if sized else []
    assert main(["train", name, *SMALL, "--base", "/nonexistent", *more, "--run", str(tmp_path / "run")]) == 1
    assert "there is no run directory /nonexistent" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("dve-landmarks", ["--channels", "64"], "has channels 5, not 64: leave --channels out"),
        ("dve-finetune", ["--backbone", "hourglass"], "has backbone smallnet, not hourglass"),
        ("dve-finetune", ["--luma"], "has luma False, not True"),
        ("fabrec-landmarks", ["--no-linear"], "has linear True, not False: leave --linear out"),
        ("fabrec-ae", ["--size", "128"], "has size 64, not 128"),
    ],
)
def test_a_field_against_the_base_is_refused_with_both_values(
    name: str,
    words: list[str],
    said: str,
    bases: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    run = ["--base", str(bases[CHILDREN[name]]), "--run", str(tmp_path / "run")]
    assert main(["train", name, *SMALL, *run, *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_field_that_may_differ_from_the_base_is_honoured(bases: dict[str, Path], tmp_path: Path):
    given = ["--exchange", "--image-size", "52", "--base", str(bases["dve"]), "--run", str(tmp_path / "run")]
    assert main(["train", "dve-finetune", *SMALL, *given]) == 0
    run = open_run(tmp_path / "run")
    assert (run.config["exchange"], run.config["image_size"], run.config["crop"]) == (True, 52, 4)
    assert "--exchange" in train_command(run) and "--crop" not in train_command(run)


def test_a_base_of_another_kind_is_refused(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for name, base, said in (
        ("dve-landmarks", "fabrec", "holds fabrec-ae, not dense descriptors"),
        ("fabrec-ae", "dve", "holds dve-smallnet-3d, not the networks of an autoencoder"),
    ):
        assert main(["train", name, *SMALL, "--base", str(bases[base]), "--run", str(tmp_path / "run")]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("inside", [".", "figures/.."])
def test_overwriting_never_removes_the_base(
    inside: str, bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    base = tmp_path / "base"
    assert main(["train", "fabrec-ae", *SMALL, "--base", str(bases["fabrec"]), "--run", str(base)]) == 0
    before = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    words = ["--base", str(base / inside), "--run", str(base), "--overwrite"]
    assert main(["train", "fabrec-ae", *SMALL, *words]) == 2
    assert "whose contents would be replaced" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in base.rglob("*") if path.is_file()} == before


def test_a_start_that_fails_leaves_nothing_in_the_way_and_removes_nothing(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    # Faces without labels are found when the first batch is read.
    (tmp_path / "pictures").mkdir()
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "pictures" / "a.png")
    unlabelled = ["--data", str(tmp_path / "pictures"), "--device", "cpu", "--base", str(bases["dve"])]
    assert main(["train", "dve-landmarks", *unlabelled, "--run", str(run)]) == 1
    assert "has no landmarks" in capsys.readouterr().err and not run.exists()
    good = ["--base", str(bases["dve"]), "--scheme", "5", "--run", str(run)]
    assert main(["train", "dve-landmarks", *SMALL, *good]) == 0
    assert main(["train", "dve-landmarks", *unlabelled, "--run", str(run), "--overwrite"]) == 1
    assert open_run(run).read_checkpoint().step == 2
    assert main(["train", "dve-landmarks", *SMALL, *good, "--overwrite", "--steps=-5"]) == 2
    assert "--steps is a number of 1 or more, not -5" in capsys.readouterr().err
    assert open_run(run).read_checkpoint().step == 2


def test_a_run_without_a_checkpoint_starts_again_from_its_base(bases: dict[str, Path], tmp_path: Path):
    import shutil

    words = ["--base", str(bases["dve"]), "--scheme", "5", "--run", str(tmp_path / "run")]
    assert main(["train", "dve-landmarks", *SMALL, *words]) == 0
    before = newest(open_run(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert main(["resume", str(tmp_path / "run"), "--device", "cpu"]) == 0
    after = newest(open_run(tmp_path / "run"))
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_no_internal_field_is_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "fabrec-landmarks", "--settled", "--base", "/nonexistent"]) == 2
    for name in CHILDREN:
        with pytest.raises(TypeError, match="settled"):
            get_recipe(name).config(settled=True)
        capsys.readouterr()
        assert main(["train", name, "--help"]) == 0
        assert "settled" not in capsys.readouterr().out

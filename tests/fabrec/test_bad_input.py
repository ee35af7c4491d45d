"""What a user can get wrong when training on few labels: one sentence, the right exit code, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fabrec.faces import Marks

from lineament.cli.main import main
from lineament.data.images import write_image
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme
from lineament.methods.dve.recipe import DveConfig
from lineament.methods.fabrec.recipe import AutoencoderConfig, AutoencoderRecipe
from lineament.training.loop import LoopOptions, train
from lineament.training.registry import get_recipe

SIZES = {"size": 64, "width": 4, "code": 8, "batch_size": 2}
QUIET = LoopOptions(device="cpu", progress=False, report=False)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five labelled pictures, and beside them the same ones without labels."""
    folder, source = tmp_path_factory.mktemp("data"), Marks(count=5)
    for i in range(5):
        for name in ("labelled", "plain"):
            write_image(folder / name / f"{source[i].id}.png", source[i].image)
    labels = [FaceLabel(f"{source[i].id}.png", source[i].landmarks, source[i].box) for i in range(5)]
    write_keypoints(folder / "labelled" / "labels.json", LabelFile(scheme("5"), labels))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = AutoencoderRecipe(AutoencoderConfig(**SIZES, steps=1, evaluate_count=1))
    return train(recipe, Marks(count=2), tmp_path_factory.mktemp("runs") / "ae", options=QUIET).folder


def words(faces: Path, base: Path, run: Path, *more: str, data: str = "labelled") -> list[str]:
    common = ["--data", str(faces / data), "--base", str(base), "--run", str(run), "--scheme", "5"]
    quick = ["--steps", "1", "--evaluate-count", "1", "--device", "cpu", "--workers", "0"]
    return ["train", "fabrec-landmarks", *common, *quick, *more]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (
            ["--labels", "1000"],
            1,
            "1000 labelled faces are asked for, but labelled/all holds 5: lower --labels.",
        ),
        (["--labels", "-3"], 2, "labels is a number of faces, or 0 for all of them, not -3."),
        (["--labels", "2", "--pick", "best"], 2, "pick is first or random, not 'best'."),
        (["--scheme", "68"], 1, "is labelled in scheme 5, which cannot be turned into the scheme 68"),
        (["--scheme", "69"], 2, "unknown landmark scheme '69'"),
        (["--size", "128"], 2, "has size 64, not 128: leave --size out."),
        (["--crop", "circle"], 2, "crop is box or landmarks"),
        (["--base", "nowhere"], 1, "there is no run directory nowhere"),
        (["--base", ""], 2, "the value of --base is empty"),
    ],
)
def test_one_sentence_and_nothing_written(
    more: list[str], code: int, said: str, faces: Path, base: Path, tmp_path: Path, capsys
):
    assert main(words(faces, base, tmp_path / "run", *more)) == code
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_unlabelled_faces_are_refused(faces: Path, base: Path, tmp_path: Path, capsys):
    assert main(words(faces, base, tmp_path / "run", data="plain")) == 1
    assert "learns from labelled faces only" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_method_is_no_base(faces: Path, tmp_path: Path, capsys):
    config = DveConfig(steps=1, batch_size=2, image_size=44, crop=6, evaluate_count=1)
    run = train(get_recipe("dve-smallnet-16d").build(config), Marks(count=2), tmp_path / "dve", options=QUIET)
    assert main(words(faces, run.folder, tmp_path / "run")) == 2
    assert "give a run of fabrec-ae or fabrec-landmarks" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_batch_may_hold_more_faces_than_there_are_labels(faces: Path, base: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    assert main(words(faces, base, run, "--labels", "2", "--batch-size", "7")) == 0
    capsys.readouterr()
    # A model of one scheme and labels of another that it cannot be compared in.
    assert main(["evaluate", str(run), "--data", "synthetic?count=2&size=64", "--scheme", "98"]) == 2
    assert "no rule turns scheme" in capsys.readouterr().err

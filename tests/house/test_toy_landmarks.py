"""A method that nobody here knows trains, loads, is evaluated and predicts through the verbs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

import lineament
from lineament.capabilities import DenseDescriptor, LandmarkPredictor
from lineament.cli.main import main
from lineament.errors import UsageError
from lineament.faces.labels import read_keypoints

DATA = "synthetic?count=24&size=64"
TEST = "synthetic?count=8&size=64&seed=5"


@pytest.fixture(scope="module")
def run(toy_methods: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "run"
    words = ["--data", DATA, "--batch-size", "8", "--steps", "60"]
    assert main(["train", "boxshape", *words, "--run", str(folder)]) == 0
    return folder


def test_its_steps_know_how_far_training_is(run: Path):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    assert [line["done"] for line in train] == [line["step"] - 1 for line in train]
    assert train[-1]["loss"] < 0.5 * train[0]["loss"]


def test_it_loads(run: Path):
    model = lineament.load(run)
    assert repr(model) == f"Model(boxshape, step 60, scheme 5, {run})"
    assert model.has(LandmarkPredictor) and not model.has(DenseDescriptor)
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0]])
    first, second = model(torch.rand(3, 50, 50), boxes)
    torch.testing.assert_close(second.landmarks, 20 + 2 * first.landmarks)
    with pytest.raises(UsageError, match="holds landmarks, no dense descriptors: "):
        model.describe(torch.rand(3, 50, 50), boxes[0])


def test_it_is_evaluated(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "cards.json"
    words = ["evaluate", str(run), "--data", TEST, "--tables", str(tmp_path / "tables"), "--out", str(out)]
    assert main(words) == 0
    card = json.loads(out.read_text())[0]
    # It is a mean shape itself, so it is about as good as that of the other faces.
    assert card["baseline"] / 2 < card["value"] < 2 * card["baseline"]
    assert (tmp_path / "tables" / "subsets.txt").is_file()
    assert main(["evaluate", str(run), "--data", TEST, "--protocol", "matching"]) == 2
    assert "no dense descriptors" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--data", TEST, "--crops", "celeba"]) == 2
    assert "never measured on the crops celeba" in capsys.readouterr().err


def test_it_marks_photographs(run: Path, tmp_path: Path):
    photo = tmp_path / "photo.png"
    Image.fromarray(skimage.data.astronaut()).crop((120, 20, 320, 220)).save(photo)
    assert main(["landmarks", str(photo), "--model", str(run)]) == 0
    (face,) = read_keypoints(Path(f"{photo}.landmarks.json")).faces
    assert face.landmarks is not None and face.landmarks.shape == (5, 2)
    assert face.confidence is not None and face.confidence.tolist() == [0.5] * 5
    assert main(["match", str(photo), str(photo), "--model", str(run), "--out", str(tmp_path)]) == 2

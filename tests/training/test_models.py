"""Model folders: written from runs, named, loaded, listed, and refused in one sentence when something is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
import yaml
from PIL import Image

import lineament
from lineament.capabilities import DenseDescriptor, LandmarkPredictor
from lineament.cli.main import main
from lineament.errors import DataError, LineamentError, UsageError
from lineament.faces.labels import read_keypoints
from lineament.faces.schemes import convert_points
from lineament.pipeline.turn.models import OF_HEAD
from lineament.pipeline.turn.options import FaceOptions
from lineament.pipeline.turn.run import FaceRequest
from lineament.training.model_card import ModelCard, read_card
from lineament.training.model_folder import open_model_folder, write_model
from lineament.training.models import FOLDERS, named_models, shipped_folder
from lineament.training.run import open_run

DATA = "synthetic?count=6&size=64"
BOX = (160.0, 30.0, 300.0, 190.0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Descriptors, and landmarks on them, after two steps."""
    folder = tmp_path_factory.mktemp("secret-place")
    small = [
        "--batch-size",
        "2",
        "--image-size",
        "44",
        "--crop",
        "6",
        "--evaluate-count",
        "2",
        "--steps",
        "2",
    ]
    assert main(["train", "dve-smallnet-16d", "--data", DATA, *small, "--run", str(folder / "dense")]) == 0
    words = ["--base", str(folder / "dense"), "--steps", "2", "--batch-size", "4"]
    assert main(["train", "dve-landmarks", "--data", DATA, *words, "--run", str(folder / "marks")]) == 0
    return folder


@pytest.fixture(scope="module")
def packed(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models `face-68` and `face-dense`, made of these runs."""
    folder = tmp_path_factory.mktemp("models")
    card = ModelCard(
        "finds 68 landmarks of faces", data="drawn faces", limits="Only for tests.", tags=("toy",)
    )
    evaluations = runs / "marks" / "evaluations"
    assert main(["evaluate", str(runs / "marks"), "--data", DATA, "--count", "4"]) == 0
    assert list(evaluations.glob("*.json"))
    write_model(open_run(runs / "marks"), folder / "face-68", card)
    write_model(open_run(runs / "dense"), folder / "face-dense", ModelCard())
    return folder


@pytest.fixture
def models(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them that can be named."""
    folder = tmp_path / "models"
    shutil.copytree(packed, folder)
    monkeypatch.setenv(FOLDERS, str(folder))
    monkeypatch.setattr("lineament.training.models.shipped_folder", lambda: tmp_path / "no-models")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def change(models: Path, edit: Callable[[dict[str, Any]], Any], name: str = "face-68") -> None:
    path = models / name / "model.json"
    facts = json.loads(path.read_text())
    edit(facts)
    path.write_text(json.dumps(facts))


def test_a_model_gives_what_its_run_gives(models: Path, runs: Path):
    image = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1).float() / 255
    by_run, by_name, by_path, by_default = (
        lineament.load(each)(image, [BOX])[0]
        for each in (runs / "marks", "face-68", models / "face-68", None)
    )
    for each in (by_name, by_path, by_default):
        torch.testing.assert_close(each.landmarks, by_run.landmarks, atol=0, rtol=0)
    model = lineament.load("face-68")
    assert model.step == 2 and model.scheme.name == "68"
    assert repr(model) == "Model(dve-landmarks, step 2, scheme 68, face-68)"
    dense = lineament.load("face-dense")
    assert dense.has(DenseDescriptor) and not dense.has(LandmarkPredictor)
    with pytest.raises(UsageError, match=r"the model face-dense \(dve-smallnet-16d\) holds"):
        dense(image, [BOX])


def test_the_folder_says_all_there_is_to_know(models: Path, runs: Path):
    facts = json.loads((models / "face-68" / "model.json").read_text())
    weights = (models / "face-68" / "weights.safetensors").read_bytes()
    assert facts["version"] == 1 and facts["name"] == "face-68" and facts["recipe"] == "dve-landmarks"
    assert facts["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert facts["sizes"]["bytes"] == len(weights) and facts["sizes"]["parameters"] > 1000
    assert len(facts["scheme"]["points"]) == 68
    (cards,) = facts["figures"].values()
    assert cards[0]["value"] > 0 and cards[0]["count"] == 4 and "inter-ocular" in cards[0]["normaliser"]
    assert facts["data_fingerprints"] == [open_run(runs / "marks").environment()[0]["data_fingerprint"]]
    everything = b"".join(path.read_bytes() for path in models.rglob("*") if path.is_file())
    assert str(runs).encode() not in everything and b"secret-place" not in everything
    front, text = (models / "face-68" / "README.md").read_text().split("---\n")[1:]
    head = yaml.safe_load(front)
    assert head["license"] == "apache-2.0" and head["library_name"] == "lineament"
    assert head["pipeline_tag"] == "keypoint-detection" and {"landmarks", "toy"} <= set(head["tags"])
    assert facts["gives"] == ["landmarks", "dense descriptors"]
    assert "image-feature-extraction" in (models / "face-dense" / "README.md").read_text()
    assert "Only for tests." in text and "| landmark error |" in text


def test_names_are_listed(models: Path, capsys: pytest.CaptureFixture[str]):
    assert list(named_models()) == ["face-68", "face-dense"]
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "finds 68 landmarks of faces" in said and str(models / "face-dense") in said
    assert "landmark error" in said
    change(models, lambda facts: facts.update(version=2), "face-dense")
    assert main(["models", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["name"] == "face-68" and first["facts"]["licence"] == "Apache-2.0" and not first["problem"]
    assert "update lineament" in second["problem"]


def test_verbs_need_no_model(models: Path, photo: Path, runs: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["landmarks", str(photo)]) == 0
    labels = read_keypoints(Path(f"{photo}.landmarks.json"))
    assert labels.meta["model"] == "face-68" and labels.faces[0].landmarks is not None
    assert main(["landmarks", str(photo), "--model", str(models / "face-68")]) == 0, "it is the same model"
    assert main(["match", str(photo), str(photo), "--points", "220,100", "--out", str(models)]) == 0
    capsys.readouterr()
    words = ["--data", DATA, "--base", "face-dense", "--steps", "1", "--batch-size", "2"]
    assert main(["train", "dve-landmarks", *words, "--run", str(models / "run")]) == 0
    assert open_run(models / "run").config["base"] == "face-dense"
    assert lineament.load(models / "run").has(LandmarkPredictor), "its base is not asked for again"
    assert main(["evaluate", "face-68", "--data", DATA, "--count", "2", "--out", str(models / "a.json")]) == 0


def test_landmarks_in_another_scheme(models: Path, photo: Path, capsys: pytest.CaptureFixture[str]):
    image = skimage.data.astronaut()
    (own,), (five,) = lineament.load()(image, [BOX]), lineament.load(scheme="5")(image, [BOX])
    assert five.scheme.name == "5" and five.confidence.shape == (5,)
    torch.testing.assert_close(five.landmarks, convert_points(own.landmarks, "68", "5"))
    torch.testing.assert_close(five.confidence[2], own.confidence[30])
    with pytest.raises(
        UsageError, match="face-68 cannot give its landmarks in the scheme 98: no rule turns scheme 68"
    ):
        lineament.load(scheme="98")
    assert main(["landmarks", str(photo), "--scheme", "5"]) == 0
    labels = read_keypoints(Path(f"{photo}.landmarks.json"))
    assert labels.scheme is not None and labels.scheme.name == "5"
    assert main(["landmarks", str(photo)]) == 2, "the results there are of another scheme"
    capsys.readouterr()
    assert main(["landmarks", str(photo), "--scheme", "98", "--overwrite"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["landmarks", str(photo), "--scheme", "86"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_depth_starts_from_the_landmark_model(models: Path, photo: Path, monkeypatch: pytest.MonkeyPatch):
    options = FaceOptions()
    request = FaceRequest.open(options)
    assert request.landmarks is not None and request.landmarks.run.label == "face-68"
    assert request.run is None, "there is no face-depth: the fitted head's depth"
    assert (
        options.recorded()["landmarks_model"]
        == FaceOptions(landmarks_model=models / "face-68").recorded()["landmarks_model"]
    )
    for other in (FaceOptions(landmarks_model=OF_HEAD), FaceOptions(keypoints=photo)):
        assert FaceRequest.open(other).landmarks is None and other.recorded()["landmarks_model"] is None
    monkeypatch.setenv(FOLDERS, "")
    assert FaceRequest.open(FaceOptions()).landmarks is None
    monkeypatch.setenv(FOLDERS, str(models / "face-dense"))
    assert list(named_models()) == ["face-dense"], "a model folder may be named itself"
    monkeypatch.setenv(FOLDERS, str(models / "nowhere"))
    with pytest.raises(UsageError, match="nowhere, which LINEAMENT_MODELS names"):
        lineament.load("face-68")


def test_a_path_wins_over_a_name(models: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs / "dense", tmp_path / "face-68")
    assert lineament.load("face-68").run.recipe == "dve-smallnet-16d"
    shutil.rmtree(tmp_path / "face-68")
    assert lineament.load("face-68").run.recipe == "dve-landmarks"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("face-86", "no model of that name: did you mean face-68"),
        ("zzz", "give a run's folder, or one of face-68, face-dense."),
        ("../models/face-68x", "there is no run directory ../models/face-68x"),
        ("..", "is not a run directory"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name: str, said: str, models: Path, capsys):
    with pytest.raises(LineamentError) as caught:
        lineament.load(name)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def damage(models: Path) -> None:
    path = models / "face-68" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("hurt", "said"),
    [
        (damage, r"weights\.safetensors is [0-9a-f]{64} instead of [0-9a-f]{64}"),
        (
            lambda models: (models / "face-68" / "weights.safetensors").unlink(),
            r"lacks its weights.*[0-9a-f]{64}",
        ),
        (lambda models: change(models, lambda facts: facts.update(version=2)), "face-68 .* is of version 2"),
        (lambda models: change(models, lambda facts: facts.pop("recipe")), "lacks 'recipe'"),
        (lambda models: change(models, lambda facts: facts.update(recipe="dve-landmarkz")), "dve-landmarks"),
        (lambda models: change(models, lambda facts: facts.update(version="1")), "its version is '1'"),
        (lambda models: change(models, lambda facts: facts["weights"].update(sha256="../x")), "sha256"),
        (
            lambda models: change(models, lambda facts: facts["scheme"]["points"].pop()),
            "67 points of a scheme 68",
        ),
        (
            lambda models: change(models, lambda facts: facts["config"].update(scheme="/tmp/mine.yaml")),
            "its scheme is a file, /tmp/mine.yaml",
        ),
        (lambda models: (models / "face-68" / "model.json").write_text("[1]"), "cannot be read as the facts"),
    ],
)
def test_what_is_damaged_or_newer_is_refused_in_one_sentence(
    hurt: Callable[[Path], Any], said: str, models: Path, photo: Path, capsys: pytest.CaptureFixture[str]
):
    hurt(models)
    with pytest.raises(LineamentError, match=said) as caught:
        lineament.load("face-68")
    assert "\n" not in str(caught.value)
    assert main(["landmarks", str(photo)]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not Path(f"{photo}.landmarks.json").exists()


def test_without_the_models_one_sentence(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv(FOLDERS, raising=False)
    monkeypatch.setattr("lineament.training.models.shipped_folder", lambda: tmp_path / "none")
    assert main(["landmarks", str(photo)]) == 2
    assert main(["match", str(photo), str(photo)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "face-68, which would be taken, does not come" in first and first == second
    assert main(["models"]) == 0
    with pytest.raises(UsageError, match="face-68"):
        lineament.load()


def test_a_model_is_written_whole_or_not_at_all(runs: Path, tmp_path: Path, models: Path):
    with pytest.raises(LineamentError, match="give --overwrite"):
        write_model(open_run(runs / "marks"), models / "face-68", ModelCard())
    (tmp_path / "mine").mkdir()
    with pytest.raises(LineamentError, match="choose another"):
        write_model(open_run(runs / "marks"), tmp_path / "mine", ModelCard(), overwrite=True)
    with pytest.raises(UsageError, match="small letters"):
        write_model(open_run(runs / "marks"), tmp_path / "My Model", ModelCard())
    assert not (tmp_path / "My Model").exists()
    card = tmp_path / "card.yaml"
    card.write_text("summary: other words\nlimits: none\ntags: [a]\n")
    words = [str(runs / "marks"), str(models / "face-68"), "--card", str(card), "--overwrite"]
    assert main(["models", "pack", *words]) == 0
    assert open_model_folder(models / "face-68").summary == "other words"
    card.write_text("summery: a\n")
    with pytest.raises(UsageError, match="did you mean 'summary'"):
        read_card(card)
    card.write_text("summary: [a]\n")
    with pytest.raises(DataError, match="text is needed"):
        read_card(card)


def test_a_model_is_called_with_many_kinds_of_images(models: Path, tmp_path: Path):
    model = lineament.load()
    array = skimage.data.astronaut()[:256, 100:356]
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(array).save(folder / name)
    (wanted,) = model(folder / "a.png")
    kinds: list[Any] = [
        str(folder / "a.png"),
        Image.fromarray(array),
        array,
        array.astype(np.float32) / 255,
        torch.from_numpy(array).permute(2, 0, 1),
    ]
    for kind in kinds:
        (face,) = model(kind)
        torch.testing.assert_close(face.landmarks, wanted.landmarks, atol=1e-3, rtol=0)
    (face,) = model(np.ascontiguousarray(array[..., ::-1]), order="bgr")
    torch.testing.assert_close(face.landmarks, wanted.landmarks, atol=1e-3, rtol=0)
    for several in ([folder / "a.png", array], (array, array), folder):
        faces = model(several)
        assert len(faces) == 2
        for (each,) in faces:
            torch.testing.assert_close(each.landmarks, wanted.landmarks, atol=1e-3, rtol=0)
    assert model([]) == []


def test_a_detection_may_be_given(models: Path):
    model = lineament.load()
    image = skimage.data.astronaut()
    (five,) = [face.points for face in model.detect(torch.from_numpy(image).permute(2, 0, 1) / 255)]
    assert five is not None
    (by_points,) = model(image, points=five.tolist())
    (by_box,) = model(image, boxes=by_points.box)
    torch.testing.assert_close(by_points.landmarks, by_box.landmarks)
    assert len(model(image, points=torch.stack([five, five]))) == 2
    assert model(image, boxes=[]) == []
    for wrong, said in (
        ({"boxes": [BOX], "points": five}, "give one of them"),
        ({"points": five[:4]}, r"points are \[N, 5, 2\] numbers, not an array of shape \(4, 2\)"),
        ({"boxes": [[1, 2, 3]]}, r"boxes are \[N, 4\] numbers"),
        ({"boxes": [["a", 2, 3, 4]]}, r"boxes are \[N, 4\] numbers"),
        ({"boxes": [[5, 5, 4, 9]]}, "x0 < x1"),
        ({"order": "gbr"}, "rgb or bgr"),
    ):
        with pytest.raises(LineamentError, match=said):
            model(image, **wrong)
    with pytest.raises(UsageError, match="call for each"):
        model([image], boxes=[BOX])
    with pytest.raises(UsageError, match="has its own"):
        model(Image.fromarray(image), order="bgr")


def test_the_packages_own_folder_holds_models_alone():
    assert shipped_folder().is_dir()
    for path in shipped_folder().rglob("*"):
        assert path.suffix in ("", ".md", ".json", ".safetensors", ".txt"), path
    for folder in (each for each in shipped_folder().iterdir() if each.is_dir()):
        assert open_model_folder(folder, folder.name).read_checkpoint().groups["networks"]

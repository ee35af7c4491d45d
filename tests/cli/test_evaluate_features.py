"""`lineament evaluate` on published data sets, over seeds, and with features from elsewhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tests.data.trees import make_300w, make_celeba
from torch import Tensor

from lineament.cli.main import main
from lineament.data.registry import open_data
from lineament.errors import DataError, UsageError
from lineament.evaluation.matching import matching_errors
from lineament.evaluation.published import published_faces
from lineament.inference import load
from lineament.methods.dve.evaluate import published_scores
from lineament.pipeline.evaluate.features import checked_map
from lineament.pipeline.evaluate.options import EvaluateOptions
from lineament.pipeline.evaluate.score import evaluate, evaluate_seeds

DATA = "synthetic?count=5&size=64"
MATCHING = EvaluateOptions(protocol="matching")


def colours(pictures: Tensor) -> Tensor:
    """Stands for somebody's features: colours at a quarter of the resolution."""
    return F.avg_pool2d(pictures, 4) - 0.5


def two_images(pictures: Tensor) -> Tensor:
    return colours(pictures)[:2]


def not_finite(pictures: Tensor) -> Tensor:
    return colours(pictures) / 0


def flat(pictures: Tensor) -> Tensor:
    return pictures.flatten(1)


@pytest.fixture(scope="module")
def mafl(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("celeba")
    make_celeba(root)
    return f"celeba:{root}?split=test&subset=true"


def values_of(path: Path) -> list[float]:
    return [card["value"] for card in json.loads(path.read_text())]


@pytest.mark.parametrize("name", ["features.npz", "features.safetensors", "features"])
def test_exported_features_score_as_the_model_does(
    descriptor_run: Path, mafl: str, tmp_path: Path, name: str
):
    features, scored = tmp_path / name, tmp_path / "run.json"
    words = ["--data", mafl, "--protocol", "matching"]
    out = ["--out", str(scored), "--features-out", str(features)]
    assert main(["evaluate", str(descriptor_run), *words, *out]) == 0
    again = tmp_path / "file.json"
    size = ["--image-size", "44", "--crop", "6", "--out", str(again)]
    assert main(["evaluate", str(features), *words, *size]) == 0
    assert values_of(again) == values_of(scored)
    cards = [json.loads(path.read_text()) for path in (scored, again)]
    assert cards[0] == cards[1]
    assert "published preprocessing celeba" in cards[0][0]["protocol"]


def test_written_pictures_are_what_the_evaluation_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "pictures"
    words = ["--data", DATA, "--protocol", "matching", "--image-size", "60", "--crop", "10"]
    assert main(["evaluate", *words, "--pictures-out", str(folder)]) == 0
    told = json.loads((folder / "pictures.json").read_text())
    # An odd face out is dropped.
    assert len(told["pictures"]) == 2 * 3
    assert told["side"] == 40
    # A program that knows only the pictures.
    (tmp_path / "theirs").mkdir()
    for name in told["pictures"]:
        pixels = np.asarray(Image.open(folder / f"{name}.png")).astype(np.float32) / 255
        picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        np.save(tmp_path / "theirs" / f"{name}.npy", colours(picture)[0].numpy())
    assert main(["evaluate", str(tmp_path / "theirs"), *words, "--out", str(tmp_path / "a.json")]) == 0
    monkeypatch.chdir(Path(__file__).parent)
    function = "test_evaluate_features:colours"
    assert main(["evaluate", function, *words, "--out", str(tmp_path / "b.json")]) == 0
    assert values_of(tmp_path / "a.json") == pytest.approx(values_of(tmp_path / "b.json"), abs=1e-5)


def test_a_function_is_scored_in_python_by_the_same_protocol(mafl: str):
    source = open_data(mafl)
    same, other = evaluate(colours, source, MATCHING)
    frame = load_frame()
    errors = matching_errors(colours, published_faces(source, "celeba", 100), frame, eight_bit=True).errors
    assert same.value == pytest.approx(float(errors[:, 0].mean()), abs=1e-4)
    assert other.value == pytest.approx(float(errors[:, 1].mean()), abs=1e-4)
    with pytest.raises(UsageError, match=r"--view 1.5 has no effect on published crops \(celeba\)"):
        evaluate(colours, source, replace(MATCHING, view=1.5))
    wide = evaluate(colours, source, replace(MATCHING, crops="box", view=1.5))
    box = evaluate(colours, source, replace(MATCHING, crops="box"))
    assert wide[0].value != box[0].value
    assert "around the face box" in box[0].protocol


def load_frame():
    from lineament.faces.frame import Frame

    return Frame(100, 15, 1.2, protocol="celeba")


def test_published_landmark_error_of_a_run(landmark_run: Path, tmp_path: Path):
    make_300w(tmp_path / "300w")
    data = f"300w:{tmp_path / '300w'}?split=test&subset=true"
    assert main(["evaluate", str(landmark_run), "--data", data, "--out", str(tmp_path / "cards.json")]) == 0
    card, failures, area = json.loads((tmp_path / "cards.json").read_text())
    assert all("300w" in each["protocol"] for each in (failures, area))
    assert card["name"] == "landmark error, published protocol"
    assert "300w" in card["protocol"] and "36 and 45" in card["normaliser"]
    model = load(landmark_run)
    scores = published_scores(model.predictor, open_data(data), "300w")
    assert card["value"] == pytest.approx(100 * scores.mean, rel=1e-5)
    bicubic = replace(EvaluateOptions(), crops="300w-bicubic")
    assert evaluate(landmark_run, open_data(data), bicubic)[0].value != card["value"]


def test_tables_and_card_of_published_crops_are_one_measurement(landmark_run: Path, tmp_path: Path):
    make_300w(tmp_path / "300w")
    data = f"300w:{tmp_path / '300w'}?split=test&subset=true"
    tables, out = tmp_path / "tables", tmp_path / "cards.json"
    words = ["evaluate", str(landmark_run), "--data", data, "--tables", str(tables), "--out", str(out)]
    assert main(words) == 0
    card = json.loads(out.read_text())[0]
    (everything, *_) = json.loads((tables / "subsets.json").read_text())
    assert everything["all"] == pytest.approx(card["value"], rel=1e-6)
    # Naming the scheme that is compared anyway changes nothing, least of all the crops.
    assert main([*words, "--scheme", "68"]) == 0
    again = json.loads(out.read_text())[0]
    assert again["protocol"] == card["protocol"] and again["value"] == card["value"]
    assert main([*words, "--crops", "box"]) == 0
    boxed = json.loads(out.read_text())[0]
    assert "box alone" in boxed["protocol"] and boxed["name"] != card["name"]
    (everything, *_) = json.loads((tables / "subsets.json").read_text())
    assert everything["all"] == pytest.approx(boxed["value"], rel=1e-6)


def test_many_points_are_scored_against_five(landmark_run: Path, mafl: str):
    card = evaluate(landmark_run, open_data(mafl), EvaluateOptions())[0]
    assert card.count == len(open_data(mafl)) and card.value > 0


@pytest.fixture
def other_seed(descriptor_run: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(descriptor_run, tmp_path / "other")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 7"))
    return folder


def test_seeds_give_a_mean_and_a_deviation(descriptor_run: Path, other_seed: Path, tmp_path: Path):
    out = tmp_path / "seeds.json"
    words = ["evaluate", str(descriptor_run), str(other_seed), "--data", DATA, "--protocol", "matching"]
    assert main([*words, "--out", str(out)]) == 0
    same, _ = json.loads(out.read_text())
    assert same["details"]["seeds"] == [0, 7]
    assert same["std_over"] == "seeds"
    assert same["std"] == pytest.approx(0, abs=1e-6)
    assert same["value"] == pytest.approx(same["details"]["values"][0])
    assert len(same["details"]["runs"]) == 2
    assert main(words) == 0
    assert list((descriptor_run / "evaluations").glob("matching-synthetic*-2-seeds.json"))


def test_a_mean_over_seeds_needs_one_configuration(
    descriptor_run: Path, landmark_run: Path, other_seed: Path
):
    source = open_data(DATA)
    with pytest.raises(UsageError, match=r"seeds \[0, 0\]"):
        evaluate_seeds([descriptor_run, descriptor_run], source, MATCHING)
    with pytest.raises(UsageError, match="the recipe"):
        evaluate_seeds([descriptor_run, landmark_run], source, MATCHING)
    config = other_seed / "config.yaml"
    config.write_text(config.read_text().replace("power: 0.5", "power: 0.7"))
    with pytest.raises(UsageError, match=r"power \(0.5 and 0.7\)"):
        evaluate_seeds([descriptor_run, other_seed], source, MATCHING)


@pytest.mark.parametrize(
    ("subject", "more", "code", "said"),
    [
        ("no_such_module:f", [], 2, "cannot import the module 'no_such_module'"),
        ("test_evaluate_features:nothing", [], 2, "has no 'nothing'"),
        ("test_evaluate_features:DATA", [], 2, "not a function"),
        ("test_evaluate_features:two_images", [], 1, "of 2 images for 3"),
        ("test_evaluate_features:not_finite", [], 1, "not finite"),
        ("test_evaluate_features:flat", [], 1, r"features [B, C, h, w] are expected"),
        ("EMPTY.npz", [], 1, "no features of 00000-source"),
        ("BROKEN.npz", [], 1, "cannot be read as features"),
        ("BROKEN.safetensors", [], 1, "cannot be read as features"),
        ("EMPTY.npz", ["--protocol", "landmarks"], 2, "--protocol matching only"),
        ("EMPTY.npz", ["--features-out", "x.npz"], 2, "in a file already"),
        ("RUN", ["--features-out", "x.tiff"], 2, ".safetensors"),
        ("RUN", ["--crops", "celebra"], 2, "did you mean 'celeba'"),
        ("RUN", ["--crops", "celeba"], 1, "178x218"),
        ("RUN", ["--protocol", "landmarks", "--pictures-out", "x"], 2, "belong to --protocol matching"),
        ("EMPTY.npz", ["--crop", "48"], 2, "leaves too little"),
        ("", [], 2, "--pictures-out FOLDER"),
    ],
)
def test_what_cannot_be_scored_is_said_in_a_sentence(
    subject: str,
    more: list[str],
    code: int,
    said: str,
    descriptor_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    np.savez(tmp_path / "EMPTY.npz", other=np.zeros(3))
    for ending in ("npz", "safetensors"):
        (tmp_path / f"BROKEN.{ending}").write_bytes(b"nothing of the kind")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.chdir(tmp_path)
    names = {"RUN": str(descriptor_run)}
    given = [names.get(subject, subject)] if subject else []
    before = sorted(tmp_path.rglob("*"))
    assert main(["evaluate", *given, "--data", DATA, "--protocol", "matching", *more]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("values", ["text", torch.zeros(3, 0, 2), torch.zeros(2, 2), [[[float("nan")]]]])
def test_only_maps_of_finite_numbers_are_features(values: object):
    with pytest.raises(DataError):
        checked_map(values, "features")
    assert checked_map(np.ones((2, 3, 4), np.float16), "features").dtype == torch.float32

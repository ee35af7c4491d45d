"""`lineament evaluate`: cards of runs and of files of predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lineament
from lineament.cli.main import main
from lineament.data.face_box import sample_box
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme
from lineament.synthetic.source import SyntheticFaces

DATA = "synthetic?count=4&size=64"


def test_landmark_cards_are_printed_and_written_into_the_run(
    landmark_run: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", str(landmark_run), "--data", DATA, "--box-jitter", "0.1"]) == 0
    said = capsys.readouterr().out
    assert "% of inter-ocular distance" in said
    assert "up to 10 %" in said
    (file,) = (landmark_run / "evaluations").glob("landmarks-*.json")
    card = json.loads(file.read_text())[0]
    assert card["count"] == 4 and card["fingerprint"] == SyntheticFaces(0, 4, 64).fingerprint
    assert f"{card['value']:.4g}" in said.splitlines()[0]
    # One number for each point, whose mean it is.
    per_point = list(card["details"]["per_point"].values())
    assert len(per_point) == 68 and card["value"] == pytest.approx(sum(per_point) / 68, rel=1e-5)


def test_the_error_of_a_run_is_that_of_its_answers(landmark_run: Path, tmp_path: Path):
    """By hand: what the model finds in each box, from the truth, over the distance of the outer eye corners."""
    out = tmp_path / "cards.json"
    assert main(["evaluate", str(landmark_run), "--data", DATA, "--crops", "box", "--out", str(out)]) == 0
    card = json.loads(out.read_text())[0]
    model, source = lineament.load(landmark_run), SyntheticFaces(0, 4, 64)
    errors = []
    for index in range(4):
        sample = source[index]
        (found,) = model(sample.image, boxes=sample_box(sample)[None].float())
        eyes = (sample.landmarks[36] - sample.landmarks[45]).norm()
        errors.append(float((found.landmarks - sample.landmarks).norm(dim=-1).mean() / eyes))
    assert card["value"] == pytest.approx(100 * sum(errors) / 4, rel=1e-3)
    assert 100 > card["value"] > 1


def test_matching_cards_for_same_and_other_identity(descriptor_run: Path, tmp_path: Path):
    out = tmp_path / "cards.json"
    words = ["evaluate", str(descriptor_run), "--data", DATA, "--protocol", "matching", "--out", str(out)]
    assert main(words) == 0
    same, other = json.loads(out.read_text())
    assert same["unit"] == "px at 70 px"
    assert same["count"] == 2
    assert "different" in other["name"]


def test_a_file_of_perfect_predictions_has_no_error(tmp_path: Path):
    source = SyntheticFaces(0, 4, 64)
    faces = [FaceLabel(source[i].id, source[i].landmarks) for i in range(4)]
    file = write_keypoints(tmp_path / "theirs.json", LabelFile(scheme("68"), faces))
    assert main(["evaluate", str(file), "--data", DATA]) == 0
    (written,) = tmp_path.glob("theirs-landmarks-*.cards.json")
    assert json.loads(written.read_text())[0]["value"] == pytest.approx(0, abs=1e-4)


def test_a_file_of_predictions_has_the_error_that_was_put_into_it(tmp_path: Path):
    """Face i is off by 7 i per cent of its eye distance, all points alike, whichever way."""
    source, faces = SyntheticFaces(0, 4, 64), []
    for index in range(4):
        points = source[index].landmarks
        eyes = (points[36] - points[45]).norm()
        way = torch.tensor([[0.6, 0.8], [-1.0, 0.0]])[index % 2]
        faces.append(FaceLabel(source[index].id, points + 0.07 * index * eyes * way))
    file = write_keypoints(tmp_path / "theirs.json", LabelFile(scheme("68"), faces))
    out = tmp_path / "cards.json"
    assert main(["evaluate", str(file), "--data", DATA, "--out", str(out)]) == 0
    error, failures, area = json.loads(out.read_text())
    assert error["value"] == pytest.approx(7 * (0 + 1 + 2 + 3) / 4, rel=1e-3)
    # Of 0, 7, 14 and 21 % two are above 10.
    assert failures["value"] == 50
    assert area["value"] == pytest.approx((1 + 0.3) / 4, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["DESCRIPTORS", "--data", DATA], 2, "dve-landmarks --base"),
        (["nowhere", "--data", DATA], 1, "no run directory"),
        (["LANDMARKS", "--data", "synthetik"], 1, "no folder or data set 'synthetik'"),
        (["LANDMARKS", "--data", DATA, "--normaliser", "inter-okular"], 2, "did you mean 'inter-ocular'"),
        (["LANDMARKS", "--data", DATA, "--scheme", "69"], 2, "unknown landmark scheme"),
        (["LANDMARKS", "--data", DATA, "--scheme", "98"], 2, "no rule turns scheme 68 into 98"),
        (["LANDMARKS", "--data", DATA, "--protocol", "guessing"], 2, "protocol"),
        (["LANDMARKS", "--data", DATA, "--count", "-3"], 2, "--count"),
        (["LANDMARKS", "--data", DATA, "--protocol", "reconstruction"], 2, "needs a run of fabrec-ae"),
        (["DESCRIPTORS", "--data", DATA, "--protocol", "matching", "--tables", "x"], 2, "--tables belongs"),
        (["LANDMARKS", "LANDMARKS", "--data", DATA, "--tables", "x"], 2, "--tables belongs to one"),
        (["PARTIAL", "--data", DATA], 1, "no prediction for"),
        (["PARTIAL", "--data", DATA, "--protocol", "matching"], 2, "landmarks only"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], code: int, said: str, landmark_run: Path, descriptor_run: Path, tmp_path: Path, capsys
):
    partial = tmp_path / "partial.json"
    write_keypoints(partial, LabelFile(scheme("68"), [FaceLabel("somebody", torch.zeros(68, 2))]))
    names = {"DESCRIPTORS": descriptor_run, "LANDMARKS": landmark_run, "PARTIAL": partial}
    before = sorted(tmp_path.rglob("*"))
    assert main(["evaluate", *(str(names.get(word, word)) for word in words)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_the_first_line_says_that_a_run_learnt_from_these_faces(landmark_run: Path, tmp_path: Path, capsys):
    for data, seen in (("synthetic?count=6&size=64", True), ("synthetic?count=6&size=64&seed=7", False)):
        words = ["evaluate", str(landmark_run), "--data", data, "--out", str(tmp_path / "cards.json")]
        assert main(words) == 0
        first, second = capsys.readouterr().out.splitlines()[:2]
        assert ("measured on the faces that it was trained on" in first) == seen
        assert "mean shape of the other faces" in second
        cards = json.loads((tmp_path / "cards.json").read_text())
        assert all(bool(card["note"]) == seen for card in cards)
        assert 0 < cards[0]["baseline"] < 100


# Each option, given where it can have no effect: it is refused, and never left out without a word.
WITHOUT_EFFECT = [
    (["LANDMARKS", "--protocol", "matching", "--scheme", "68"], "--scheme 68"),
    (["LANDMARKS", "--protocol", "matching", "--normaliser", "box"], "--normaliser box"),
    (["LANDMARKS", "--protocol", "matching", "--box-jitter", "0.1"], "--box-jitter 0.1"),
    (["LANDMARKS", "--protocol", "matching", "--area", "paper"], "--area paper"),
    (["LANDMARKS", "--protocol", "matching", "--image-size", "60"], "--image-size 60"),
    (["LANDMARKS", "--image-size", "60"], "--image-size 60"),
    (["LANDMARKS", "--view", "1.5"], "--view 1.5"),
    (["LANDMARKS", "--crop", "6"], "--crop 6"),
    (["LANDMARKS", "--crops", "300w", "--normaliser", "box"], "--normaliser box"),
    (["LANDMARKS", "--crops", "300w", "--box-jitter", "0.1"], "--box-jitter 0.1"),
    (["PREDICTIONS", "--crops", "celeba"], "--crops celeba"),
    (["PREDICTIONS", "--box-jitter", "0.1"], "--box-jitter 0.1"),
    (["PREDICTIONS", "--image-size", "60"], "--image-size 60"),
    (["FABREC", "--crops", "celeba"], "crops celeba"),
    (["FABREC", "--protocol", "reconstruction", "--crops", "celeba"], "--crops celeba"),
    (["FABREC", "--protocol", "reconstruction", "--normaliser", "box"], "--normaliser box"),
    (["FABREC", "--protocol", "reconstruction", "--area", "exact"], "--area exact"),
]


@pytest.fixture(scope="module")
def fabrec_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lineament.methods.fabrec.landmark_config import LandmarkConfig
    from lineament.methods.fabrec.recipe_landmarks import LandmarkRecipe
    from lineament.training.loop import LoopOptions, train

    folder = tmp_path_factory.mktemp("fabrec") / "run"
    config = LandmarkConfig(base="random", size=64, width=4, code=8, steps=1, batch_size=2)
    train(LandmarkRecipe(config), SyntheticFaces(0, 3, 64), folder, options=LoopOptions(progress=False))
    return folder


@pytest.mark.parametrize(("words", "said"), WITHOUT_EFFECT)
def test_what_has_no_effect_is_refused(
    words: list[str], said: str, landmark_run: Path, fabrec_run: Path, tmp_path: Path, capsys
):
    source = SyntheticFaces(0, 4, 64)
    file = tmp_path / "theirs.json"
    write_keypoints(
        file, LabelFile(scheme("68"), [FaceLabel(source[i].id, source[i].landmarks) for i in range(4)])
    )
    names = {"LANDMARKS": landmark_run, "PREDICTIONS": file, "FABREC": fabrec_run}
    given = [str(names.get(word, word)) for word in words]
    assert main(["evaluate", *given, "--data", DATA, "--out", str(tmp_path / "cards.json")]) == 2
    error = capsys.readouterr().err
    assert said in error and "leave" in error and "Traceback" not in error
    assert not (tmp_path / "cards.json").exists()


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["--normaliser", "box"], ("normaliser", "box distance")),
        (["--scheme", "5"], ("protocol", "scheme 5")),
        (["--box-jitter", "0.1"], ("protocol", "up to 10 %")),
        (["--area", "paper"], ("definition", "50 thresholds")),
        (["--crops", "box"], ("protocol", "box alone")),
    ],
)
def test_what_has_an_effect_is_on_the_card(
    words: list[str], changed: tuple[str, str], landmark_run: Path, tmp_path: Path
):
    out = tmp_path / "cards.json"
    assert main(["evaluate", str(landmark_run), "--data", DATA, *words, "--out", str(out)]) == 0
    field, said = changed
    assert any(said in card[field] for card in json.loads(out.read_text()))

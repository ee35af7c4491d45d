"""Tables and curves of landmark scores, from a run and from a file of predictions, and tiles on photographs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fabrec.faces import Marks

from lineament.capabilities import Landmarks
from lineament.cli.main import main
from lineament.data.images import write_image
from lineament.data.sample import FaceSample
from lineament.errors import DataError
from lineament.evaluation.landmark_tables import subset_table, write_landmark_tables
from lineament.evaluation.landmarks import (
    LandmarkScores,
    TablePredictions,
    read_predictions,
    score_landmarks,
)
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.recipe_landmarks import LandmarkRecipe
from lineament.training.loop import LoopOptions, train


def test_scores_by_hand():
    errors = torch.zeros(2, 98)
    errors[0, :33], errors[1] = 0.1, 0.2
    errors[1, 0] = float("nan")
    subsets = (frozenset({"pose"}), frozenset({"pose", "blur"}))
    scores = LandmarkScores(errors, scheme("98"), ("a", "b"), subsets, "inter-ocular")
    assert scores.part("inner") == pytest.approx(0.1)
    assert scores.part("outline") == pytest.approx(0.15)
    assert scores.only("blur").mean == pytest.approx(0.2)
    assert scores.failures() == 0.5
    table = subset_table(scores)
    assert [row[0] for row in table.rows] == ["all faces", "blur", "pose"]
    assert [row[1] for row in table.rows] == [2, 1, 2]


def test_files_are_scored_like_models(tmp_path: Path):
    source = Marks(count=3)
    shifted = {source[i].id: source[i].landmarks + torch.tensor([3.0, 4.0]) for i in range(3)}
    scores = score_landmarks(TablePredictions(scheme("5"), shifted, "theirs.json"), source)
    assert scores is not None
    lengths = [(source[i].landmarks[0] - source[i].landmarks[1]).norm() for i in range(3)]
    torch.testing.assert_close(scores.per_face, torch.stack([5 / length for length in lengths]))
    written = write_landmark_tables(scores, tmp_path / "tables")
    assert {path.name for path in written} == {
        "subsets.txt",
        "subsets.json",
        "faces.csv",
        "cumulative.png",
        "landmarks.png",
    }
    rows = json.loads((tmp_path / "tables" / "subsets.json").read_text())
    assert rows[0]["all"] == pytest.approx(100 * scores.mean)


def test_what_a_file_leaves_out_is_not_forgiven():
    source = Marks(count=2)
    points = {source[i].id: source[i].landmarks.clone() for i in range(2)}
    points["face1"][2] = float("nan")
    with pytest.raises(DataError, match="no place for the landmark nose of face1"):
        score_landmarks(TablePredictions(scheme("5"), points, "theirs.json"), source)


class Lost:
    """A model that finds the first face and answers with no number for the second."""

    scheme = scheme("5")

    def __init__(self, source: Marks) -> None:
        self.answers = iter([source[0].landmarks, torch.full((5, 2), float("nan"))])

    def landmarks(self, image: torch.Tensor, boxes: torch.Tensor) -> Landmarks:
        points = next(self.answers)[None]
        return Landmarks(points, torch.ones(points.shape[:2]))


def test_a_lost_face_is_a_failure():
    source = Marks(count=2)
    scores = score_landmarks(Lost(source), source)
    assert scores is not None and scores.failures() == 0.5
    assert scores.per_face.tolist() == [0, float("inf")] and scores.area() == 0.5
    assert scores.area(rule="paper") == 0.5


class Unlabelled(Marks):
    """The second of three faces has no known landmark, the third lacks its nose."""

    def __getitem__(self, index: int) -> FaceSample:
        sample = super().__getitem__(index)
        sample.landmarks[{0: [], 1: [0, 1, 2, 3, 4], 2: [2]}[index]] = float("nan")
        return sample


def test_unknown_landmarks_do_not_count():
    source = Unlabelled(count=3)
    given = {f"face{i}": Marks(count=3)[i].landmarks + torch.tensor([3.0, 4.0]) for i in range(3)}
    scores = score_landmarks(TablePredictions(scheme("5"), given, "theirs.json"), source)
    assert scores is not None and scores.ids == ("face0", "face2")
    assert torch.isnan(scores.errors).sum(1).tolist() == [0, 1]
    lengths = [(source[i].landmarks[0] - source[i].landmarks[1]).norm() for i in (0, 2)]
    torch.testing.assert_close(scores.per_face, torch.stack([5 / length for length in lengths]))


def test_of_several_faces_in_a_picture_the_nearest_is_taken(tmp_path: Path):
    sample = Marks(count=1)[0]
    other = sample.landmarks + 200
    faces = [FaceLabel("set/face0.png", other), FaceLabel("set/face0.png", sample.landmarks)]
    file = write_keypoints(tmp_path / "theirs.json", LabelFile(scheme("5"), faces))
    found = read_predictions(file).of(replace(sample, path=Path("/data/set/face0.png")))
    torch.testing.assert_close(found, sample.landmarks)
    with pytest.raises(DataError, match="no prediction for face0"):
        read_predictions(file).of(replace(sample, path=Path("/data/other/face0.png")))


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, folder = Marks(count=2), tmp_path / "photos"
    labels = []
    for i in range(2):
        sample = source[i]
        write_image(folder / f"{sample.id}.png", sample.image)
        labels.append(FaceLabel(f"{sample.id}.png", sample.landmarks, sample.box))
    write_keypoints(folder / "labels.json", LabelFile(scheme("5"), labels))
    sizes = {"size": 64, "width": 4, "code": 8, "batch_size": 2, "steps": 1, "base": "random", "scheme": "5"}
    quiet = LoopOptions(device="cpu", progress=False, report=False)
    run = train(LandmarkRecipe(LandmarkConfig(**sizes)), source, tmp_path / "run", options=quiet)
    words = [
        "--data",
        str(folder),
        "--tables",
        str(tmp_path / "tables"),
        "--out",
        str(tmp_path / "cards.json"),
    ]
    assert main(["evaluate", str(run.folder), *words]) == 0
    assert "all faces" in capsys.readouterr().out
    assert main(["evaluate", str(folder / "labels.json"), *words]) == 0
    assert json.loads((tmp_path / "tables" / "subsets.json").read_text())[0]["all"] == 0
    assert main(["evaluate", str(run.folder), *words[:2], *words[4:], "--protocol", "reconstruction"]) == 0
    cards = {card["name"]: card for card in json.loads((tmp_path / "cards.json").read_text())}
    assert cards["pixel error"]["count"] == 2 and 0 < cards["pixel error"]["value"] < 255
    assert -1 <= cards["correlation at landmarks"]["value"] <= 1
    assert len(cards["similarity at landmarks"]["details"]["per_point"]) == 5
    assert cards["pixel error around landmarks"]["value"] > 0
    photo = folder / "face0.png"
    options = ["--boxes", str(folder / "labels.json"), "--out", str(tmp_path / "marked"), "--tiles"]
    assert main(["landmarks", str(photo), "--model", str(run.folder), *options]) == 0
    assert list((tmp_path / "marked").rglob("*.tiles.png"))

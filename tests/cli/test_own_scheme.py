"""A landmark scheme of one's own, from labels to landmarks on new photographs, by the documented commands."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import lineament
from lineament.cli.main import main
from lineament.data.images import write_image
from lineament.faces.labels import FaceLabel, LabelFile, read_keypoints, write_keypoints
from lineament.faces.schemes import scheme
from lineament.synthetic.source import SyntheticFaces

YAML = """name: six
points: [left_brow, right_brow, left_eye, right_eye, nose, chin]
mirror: [[left_brow, right_brow], [left_eye, right_eye]]
inter_ocular: [left_eye, right_eye]
"""
# Where they are among the 68.
PLACES = [19, 24, 36, 45, 30, 8]
COUNT = 6


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Photographs, a scheme file, and labels of six points of which one is missing."""
    photos = tmp_path / "photos"
    faces = []
    source = SyntheticFaces(0, COUNT, 96)
    (tmp_path / "six.yaml").write_text(YAML)
    for index in range(COUNT):
        sample = source[index]
        write_image(photos / f"{index}.png", sample.image)
        assert sample.landmarks is not None
        points = sample.landmarks[PLACES].clone()
        if index == 2:
            points[5] = math.nan
        faces.append(FaceLabel(f"{index}.png", points, sample.box))
    six = scheme(str(tmp_path / "six.yaml"))
    write_keypoints(tmp_path / "labels.json", LabelFile(six, faces))
    write_keypoints(tmp_path / "labels.csv", LabelFile(six, faces))
    rows = [
        ";".join(
            [face.image, *("" if math.isnan(v) else f"{v:.3f}" for v in face.landmarks.flatten().tolist())]
        )
        for face in faces
        if face.landmarks is not None
    ]
    header = ";".join(["image", *(f"{axis}{i}" for i in range(6) for axis in "xy")])
    (tmp_path / "unnamed.csv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path


def train(base: Path, run: Path, *words: str) -> int:
    common = ["--base", str(base), "--steps", "2", "--batch-size", "3", "--run", str(run)]
    return main(["train", "dve-landmarks", *common, *words])


def test_labels_that_carry_their_scheme_just_work(
    labelled: Path, descriptor_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = labelled / "run"
    words = ["--data", str(labelled / "photos"), "--annotations", str(labelled / "labels.json")]
    assert train(descriptor_run, run, *words) == 0
    assert "scheme of the labels: six" in capsys.readouterr().out
    # The run works elsewhere, without the scheme's file and without the labels.
    moved = labelled / "elsewhere"
    shutil.move(run, moved)
    photo = labelled / "new.png"
    shutil.copy(labelled / "photos/0.png", photo)
    boxes = write_keypoints(
        labelled / "boxes.json",
        LabelFile(None, [FaceLabel("new.png", box=torch.tensor([20.0, 15.0, 75.0, 80.0]))]),
    )
    evaluated = ["--data", str(labelled / "photos"), "--annotations", str(labelled / "labels.json")]
    assert main(["evaluate", str(moved), *evaluated]) == 0
    shown = capsys.readouterr().out
    assert "scheme six" in shown and "1 of 36 points have no label" in shown
    for name in ("six.yaml", "labels.json", "labels.csv"):
        (labelled / name).unlink()
    assert main(["landmarks", str(photo), "--model", str(moved), "--boxes", str(boxes)]) == 0
    found = read_keypoints(labelled / "new.png.landmarks.json")
    assert found.scheme is not None and found.scheme.name == "six" and len(found.scheme) == 6
    assert found.scheme.mirror == (1, 0, 3, 2, 4, 5)
    faces = lineament.load(moved)(str(photo), boxes=[[20, 15, 75, 80]])
    assert faces[0].landmarks.shape == (6, 2) and faces[0].scheme.names[4] == "nose"


def test_a_scheme_file_names_points_without_names(
    labelled: Path, descriptor_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(labelled / "photos"), "--annotations", str(labelled / "unnamed.csv")]
    assert train(descriptor_run, labelled / "run", *data, "--scheme", str(labelled / "six.yaml")) == 0
    assert lineament.load(labelled / "run").scheme.names[5] == "chin"
    # Without it nobody knows which points swap in a mirrored picture.
    assert train(descriptor_run, labelled / "other", *data) == 2
    assert "--mirror 0" in capsys.readouterr().err
    assert train(descriptor_run, labelled / "third", *data, "--mirror", "0") == 0


def test_csv_columns_name_an_own_scheme(labelled: Path, descriptor_run: Path) -> None:
    data = ["--data", str(labelled / "photos"), "--annotations", str(labelled / "labels.csv")]
    assert train(descriptor_run, labelled / "run", *data) == 0
    model = lineament.load(labelled / "run")
    assert model.scheme.names == scheme(str(labelled / "six.yaml")).names and model.scheme.mirror_known


def test_prepared_crops_take_labels_of_their_photographs(
    labelled: Path, descriptor_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxed = json.loads((labelled / "labels.json").read_text())
    for face in boxed["faces"]:
        face.pop("landmarks")
    (labelled / "photos/labels.json").write_text(json.dumps({**boxed, "scheme": None}))
    crops = labelled / "crops"
    assert main(["data", "prepare", "folder", str(labelled / "photos"), "--out", str(crops)]) == 0
    data = ["--data", str(crops), "--annotations", str(labelled / "labels.json")]
    assert train(descriptor_run, labelled / "run", *data) == 0
    from lineament.data.registry import open_data, with_labels

    text = with_labels(str(crops), labelled / "labels.json")
    source, plain = open_data(text), open_data(str(crops))
    assert len(source) == COUNT and source.fingerprint != plain.fingerprint
    truth = read_keypoints(labelled / "labels.json", allow_missing=True)
    for index in range(COUNT):
        sample = source[index]
        matrix = torch.tensor(sample.meta["crop_to_photo"])
        assert sample.landmarks is not None
        back = sample.landmarks @ matrix[:, :2].T + matrix[:, 2]
        expected = next(face.landmarks for face in truth.faces if face.image == sample.id)
        assert expected is not None
        torch.testing.assert_close(back, expected, rtol=0, atol=1e-3, equal_nan=True)
    capsys.readouterr()
    stranger = labelled / "strange.csv"
    stranger.write_text("image,nose_x,nose_y\nelsewhere.jpg,1,2\n")
    assert train(descriptor_run, labelled / "none", "--data", str(crops), "--annotations", str(stranger)) == 1
    assert "labels none of the 6 crops" in capsys.readouterr().err


def test_every_recipe_of_landmarks_learns_an_own_scheme(labelled: Path) -> None:
    data = ["--data", str(labelled / "photos"), "--annotations", str(labelled / "labels.json")]
    small = ["--preset", "tiny", "--run", str(labelled / "run"), "--size", "64"]
    assert main(["train", "fabrec-landmarks", *small, *data]) == 0
    assert lineament.load(labelled / "run").scheme.name == "six"

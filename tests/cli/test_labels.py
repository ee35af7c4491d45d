"""`lineament labels convert` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineament.cli.main import main
from lineament.faces.labels import read_keypoints

CVAT = """<annotations><image id="0" name="a.jpg" width="64" height="48">
<points label="mouth_left" occluded="1" points="1.5,2.5"/><points label="mouth_right" occluded="0" points="3.5,4.5"/>
</image><image id="1" name="b.png">
<points label="mouth_left" occluded="0" points="5.5,6.5"/></image></annotations>"""


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "annotations.xml"
    path.write_text(CVAT)
    return path


@pytest.mark.parametrize("to", ["json", "csv", "coco"])
def test_labels_of_one_tool_become_those_of_another(
    labels: Path, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"new/labels.{to}"
    assert main(["labels", "convert", str(labels), "--to", to, "--out", str(out)]) == 0
    assert "2 faces in 2 images, 2 points (scheme own-2), 1 points missing." in capsys.readouterr().out
    read = read_keypoints(out, allow_missing=True)
    assert read.scheme is not None and read.scheme.names == ("mouth_left", "mouth_right")
    first, second = read.faces
    assert first.landmarks is not None and first.landmarks.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert first.visible is not None and first.visible.tolist() == [False, True]
    assert second.placed.tolist() == [True, False]
    before = out.read_bytes()
    assert main(["labels", "convert", str(labels), "--to", to, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["labels", "convert", str(labels), "--to", to, "--out", str(out), "--overwrite"]) == 0
    assert out.read_bytes() == before


def test_pts_goes_into_a_folder(labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pts"
    assert main(["labels", "convert", str(labels), "--to", "pts", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.pts", "b.pts"]
    assert "nan nan" in (out / "b.pts").read_text()
    # 300-W calls the first pixel 1, where CVAT calls its middle 0.5.
    assert "\n2 3\n4 5\n" in (out / "a.pts").read_text()
    assert main(["labels", "convert", str(labels), "--to", "pts", "--out", str(labels)]) == 2


def test_the_first_pixel_and_the_scheme_can_be_said(labels: Path, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("name: two\npoints: [left_m, right_m]\n")
    table = tmp_path / "t.csv"
    table.write_text("image;x0;y0;x1;y1;x2;y2\na.jpg;1;2;3;4;5;6\n")
    (tmp_path / "three.yaml").write_text("name: three\npoints: [left_m, right_m, chin]\n")
    words = ["--to", "json", "--out", str(tmp_path / "o.json"), "--first-pixel", "1"]
    assert main(["labels", "convert", str(table), "--scheme", str(tmp_path / "three.yaml"), *words]) == 0
    read = read_keypoints(tmp_path / "o.json")
    assert read.scheme is not None and read.scheme.name == "three" and read.scheme.mirror == (1, 0, 2)
    assert read.faces[0].landmarks is not None and read.faces[0].landmarks.tolist()[0] == [0.0, 1.0]
    assert main(["labels", "convert", str(labels), "--scheme", str(tmp_path / "two.yaml"), *words]) == 2
    assert main(["labels", "convert", str(table), "--first-pixel", "2", "--to", "csv", "--out", "x"]) == 2


def test_sizes_of_pictures_that_are_there_go_into_coco(labels: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((7, 9, 3), np.uint8)).save(tmp_path / "b.png")
    out = tmp_path / "coco.json"
    assert main(["labels", "convert", str(labels), "--to", "coco", "--out", str(out)]) == 0
    images = json.loads(out.read_text())["images"]
    assert [(image["width"], image["height"]) for image in images] == [(64, 48), (9, 7)]


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--to", "json", "--out", str(tmp_path / "o.json")]
    (tmp_path / "note.txt").write_text("hello\n")
    for name, code in (("absent.xml", 1), ("note.txt", 1), (".", 1)):
        assert main(["labels", "convert", str(tmp_path / name), *words]) == code
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "o.json").exists()

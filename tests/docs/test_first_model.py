"""The page of the first model, typed as it stands: own photos, ten labels of an own scheme, landmarks on new photos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.docs.documents import ROOT, Document

from lineament.cli.main import main
from lineament.data.images import write_image
from lineament.faces.labels import read_keypoints
from lineament.synthetic.source import SyntheticFaces

PAGE = Document(ROOT / "docs" / "first-model.md")
# Where the page's five points lie among the 68: a mean of the eye's contour, or one point.
PLACES = [range(36, 42), range(42, 48), [30], [48], [54]]
LABELS, PHOTOS = 10, 12
# Training is cut short; all else is typed as the page has it.
SHORT = {
    "fabrec-ae": ["--preset", "tiny"],
    "fabrec-landmarks": ["--steps", "2", "--batch-size", "2"],
    "fabrec-modern": ["--steps", "2", "--batch-size", "2"],
}


def own_points(landmarks: torch.Tensor) -> list[list[float]]:
    return [landmarks[list(place)].mean(0).tolist() for place in PLACES]


def write_labels(path: Path, points: dict[str, list[list[float]]]) -> None:
    """What the labelling page writes."""
    faces = [{"image": name, "landmarks": each} for name, each in points.items()]
    path.write_text(json.dumps({"scheme": "my_scheme.yaml", "faces": faces}))


def fill(folder: Path) -> None:
    """The reader's files: photos to learn from and others, the scheme, labels of ten and of the last two faces."""
    (scheme,) = (fence.text for fence in PAGE.fences if fence.language == "yaml")
    (folder / "my_scheme.yaml").write_text(scheme)
    drawn = SyntheticFaces(0, PHOTOS + 2, 160, max_yaw=0.2)
    labels = {}
    for index in range(PHOTOS):
        sample = drawn[index]
        assert sample.landmarks is not None
        write_image(folder / "photos" / f"{index}.png", sample.image)
        labels[f"photos/{index}.png"] = own_points(sample.landmarks)
    names = list(labels)
    write_labels(folder / "labels.json", {name: labels[name] for name in names[:LABELS]})
    write_labels(folder / "test.json", {name: labels[name] for name in names[LABELS:]})
    write_image(folder / "more_photos" / "a.png", drawn[PHOTOS].image)
    write_image(folder / "more_photos" / "b.png", drawn[PHOTOS + 1].image)
    (folder / "photo.jpg").write_bytes((folder / "more_photos" / "a.png").read_bytes())


def shortened(words: list[str]) -> list[str]:
    if words[0] != "train":
        return words
    given = [word for word in words if word not in ("--preset", "small")]
    return [*given, *SHORT[words[1]]]


def test_the_page_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    commands = [words[1:] for words in PAGE.commands if "runs/demo" not in " ".join(words)]
    assert [words[:2] for words in commands] == [
        ["data", "prepare"],
        ["train", "fabrec-ae"],
        ["train", "fabrec-landmarks"],
        ["landmarks", "more_photos/"],
        ["train", "fabrec-modern"],
        ["evaluate", "runs/marks"],
    ]
    shown = ""
    for words in commands:
        assert main(shortened(words)) == 0, (words, capsys.readouterr().err)
        shown = capsys.readouterr().out
    assert "mean shape" in shown and "scheme my-five" in shown
    for run in ("faces", "marks", "better"):
        assert (tmp_path / "runs" / run / "report.html").is_file()
    for name in ("a", "b"):
        found = read_keypoints(tmp_path / f"more_photos-landmarks/{name}.png.landmarks.json")
        assert found.scheme is not None and found.scheme.name == "my-five"
        assert found.scheme.mirror == (1, 0, 2, 4, 3)
        for ending in ("csv", "pts", "png"):
            assert (tmp_path / f"more_photos-landmarks/{name}.png.landmarks.{ending}").stat().st_size

    # The three lines of Python say what the command says.
    names: dict[str, Any] = {}
    (snippet,) = (fence.text for fence in PAGE.fences if fence.language == "python")
    exec(compile(snippet, str(PAGE.path), "exec"), names)
    written = read_keypoints(tmp_path / "more_photos-landmarks/a.png.landmarks.json").faces[0].landmarks
    assert names["face"].landmarks.shape == (5, 2)
    torch.testing.assert_close(names["face"].landmarks, written, rtol=0, atol=1e-2)

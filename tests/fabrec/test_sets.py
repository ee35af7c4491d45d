"""Evaluations of small sets in their true layouts, from predictions in a file: every table, subset and rule."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from tests.data import trees

from lineament.cli.main import main
from lineament.data.readers.w300 import FABREC_FOLDERS, FOLDERS
from lineament.data.registry import open_data
from lineament.data.sample import FaceSource
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme

# Distance of every predicted landmark from the true one, in pixels.
OFF = 5.0


def make_300w(root: Path) -> str:
    trees.make_300w(root, 1)
    for part, folder in FOLDERS.items():
        (root / FABREC_FOLDERS[part]).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / folder, root / FABREC_FOLDERS[part])
    return f"300w:{root}?split=test&subset=true"


def make_wflw(root: Path) -> str:
    points = np.random.default_rng(0).uniform(5, 55, (3, 98, 2)).round(4)
    folder = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    folder.mkdir(parents=True)
    # Two faces of one picture, on either side of it, and one alone.
    flags = ("1 1 1 0 0 0", "0 0 0 1 1 1", "0 0 0 0 0 0")
    lines = []
    for i, (shift, name) in enumerate(((0, "a.jpg"), (80, "a.jpg"), (0, "b.jpg"))):
        trees.save_picture(root / "WFLW_images" / name, 150, 60, i)
        words = " ".join(map(str, (points[i] + [shift, 0]).reshape(-1)))
        lines.append(f"{words} {4 + shift} 5 {56 + shift} 57 {flags[i]} {name}")
    (folder / "list_98pt_rect_attr_test.txt").write_text("\n".join(lines) + "\n")
    return f"wflw:{root}?split=test&subset=true"


def make_aflw(root: Path) -> str:
    points = np.random.default_rng(1).uniform(5, 60, (3, 19, 2))
    seen = np.ones((3, 19))
    seen[2, 3] = 0
    names = np.empty((3, 1), dtype=object)
    for i in range(3):
        names[i, 0] = f"0/image{i}.jpg"
        trees.save_picture(root / "data" / "flickr" / "0" / f"image{i}.jpg", 80, 70, i)
    content = {
        "nameList": names,
        "bbox": np.tile([[5.0, 65.0, 4.0, 34.0]], (3, 1)),
        "data": np.concatenate([points[..., 0], points[..., 1]], 1),
        "mask_new": seen,
        "ra": np.array([[1, 2, 3]]),
    }
    scipy.io.savemat(root / "AFLWinfo_release.mat", content)
    return f"aflw19:{root}?split=test&subset=true&training=1"


def write_predictions(source: FaceSource, path: Path) -> Path:
    """Every landmark 3 px to the right of and 4 px below its place, by the last folder and name of the picture."""
    samples = [source[i] for i in range(len(source))]
    shift = torch.tensor([3.0, 4.0])
    faces = [FaceLabel("/".join(sample.path.parts[-2:]), sample.landmarks + shift) for sample in samples]
    return write_keypoints(path, LabelFile(scheme(samples[0].scheme), faces))


SETS = {
    # Subsets and the numbers of their faces.
    "300w": (make_300w, {"challenging": 1, "common": 2}),
    "wflw": (
        make_wflw,
        dict.fromkeys(("blur", "expression", "illumination", "make-up", "occlusion", "pose"), 1),
    ),
    "aflw": (make_aflw, {"frontal": 1}),
}


@pytest.mark.parametrize("name", SETS)
def test_every_table_of_every_set(name: str, tmp_path: Path):
    make, subsets = SETS[name]
    words = make(tmp_path / "set")
    source = open_data(words)
    theirs = write_predictions(source, tmp_path / "theirs.json")
    tables = tmp_path / "tables"
    options = ["--tables", str(tables), "--out", str(tmp_path / "cards.json"), "--normaliser", "box-side"]
    assert main(["evaluate", str(theirs), "--data", words, *options]) == 0
    rows = {row["faces of"]: row for row in json.loads((tables / "subsets.json").read_text())}
    assert {key: row["faces"] for key, row in rows.items()} == {"all faces": len(source), **subsets}
    boxes = torch.stack([source[i].box for i in range(len(source))])
    errors = OFF / (boxes[:, 2:] - boxes[:, :2]).amax(-1)
    every = rows["all faces"]
    assert every["all"] == pytest.approx(100 * float(errors.mean()), rel=1e-4)
    if name != "aflw":
        assert every["inner"] == pytest.approx(every["outline"], rel=1e-4) == every["all"]
    curve = json.loads((tables / "cumulative.json").read_text())
    assert set(curve["curves"]) == set(rows)
    heat = json.loads((tables / "landmarks.json").read_text())
    assert {len(row) for row in heat["errors_percent"].values()} == {len(heat["landmarks"])}
    assert len((tables / "faces.csv").read_text().splitlines()) == len(source) + 1


def test_both_rules_for_the_area(tmp_path: Path):
    words = make_300w(tmp_path / "set")
    theirs = write_predictions(open_data(words), tmp_path / "theirs.json")
    areas = {}
    for rule in ("exact", "paper"):
        out = tmp_path / f"{rule}.json"
        options = ["--out", str(out), "--normaliser", "box-side", "--area", rule]
        assert main(["evaluate", str(theirs), "--data", words, *options]) == 0
        card = json.loads(out.read_text())[2]
        areas[rule] = card["value"]
        assert ("50 thresholds" in card["definition"]) == (rule == "paper")
    # Every face is off by 5 of 91 px, 5.49 %: of the thresholds k / 49 of 10 % the 27th is the first above it.
    assert areas["exact"] == pytest.approx(1 - 100 * OFF / 91 / 10, abs=1e-4)
    assert areas["paper"] == pytest.approx((50 - 27) / 50)

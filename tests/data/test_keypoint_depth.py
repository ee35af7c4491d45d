"""Keypoints with depth: 3DFAW's layout, the synthetic stand-in, point files, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.cli.main import main
from lineament.data.images import write_image
from lineament.data.keypoint_depth import (
    KeypointFaces,
    collect,
    depth_in_pixels,
    keypoint_record,
    read_arrays,
    write_arrays,
)
from lineament.data.registry import open_data, open_source
from lineament.data.sample import FaceSample
from lineament.data.subset import Subset
from lineament.errors import DataError, UsageError
from lineament.faces.labels.point_rows import read_point_rows
from lineament.heads.load import load_head
from lineament.synthetic.keypoints import landmark_head


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tiny 3DFAW."""
    root = tmp_path / "3dfaw"
    rng = np.random.default_rng(0)
    for part, names in (("train", ["b", "a"]), ("valid", ["v1", "t1"])):
        (root / f"{part}_lm").mkdir(parents=True)
        for name in names:
            write_image(root / f"{part}_img" / f"{name}.jpg", torch.rand(3, 40, 60))
            rows = rng.uniform(5, 35, (66, 3))
            text = "\n".join(",".join(f"{v:.4f}" for v in row) for row in rows)
            # Without a newline at the end: no point may be lost.
            (root / f"{part}_lm" / f"{name}_lm.csv").write_text(text)
    (root / "list_valid_test.txt").write_text("v1,valid,left\nt1,test,right\n")
    return root


def test_order_scaling_and_prepared_files(tree: Path, tmp_path: Path, capsys):
    out = tmp_path / "arrays"
    assert main(["data", "prepare", "3dfaw", str(tree), "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("wrote") == 3
    train = read_arrays(out / "train.npz")
    assert train.ids == ("a", "b")
    rows = read_point_rows(tree / "train_lm" / "a_lm.csv", 66)
    expected = torch.stack([rows[:, 0] / 60, rows[:, 1] / 40], dim=1).float()
    assert torch.equal(train.keypoints[0], expected)
    assert train.depth is not None and torch.allclose(train.depth[0], (rows[:, 2] / 50).float())
    assert read_arrays(out / "test.npz").orientations == ("right",)
    before = (out / "train.npz").stat().st_mtime_ns
    assert main(["data", "prepare", "3dfaw", str(tree), "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("before") == 3
    assert (out / "train.npz").stat().st_mtime_ns == before
    assert open_source("3dfaw-keypoints", out).fingerprint == open_source("3dfaw-keypoints", tree).fingerprint


def test_only_headers_of_pictures_are_read(tree: Path):
    path = tree / "train_img" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    assert len(open_source("3dfaw-keypoints", tree)) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: (t / "list_valid_test.txt").unlink(), "list_valid_test.txt is missing"),
        (lambda t: (t / "list_valid_test.txt").write_text("v1;valid\n"), "line 1"),
        (lambda t: (t / "list_valid_test.txt").write_text("t1,test,up\n"), "orientation"),
        (
            lambda t: (t / "list_valid_test.txt").write_text("v1,valid,left\n"),
            "no image of the split 'test'",
        ),
        (lambda t: (t / "valid_lm" / "t1_lm.csv").write_text("1,2,3\n" * 65), "65 points"),
        (lambda t: (t / "valid_lm" / "t1_lm.csv").write_text("1,2\n" * 66), "no depths"),
        (lambda t: (t / "valid_lm" / "t1_lm.csv").write_text("1,2,x\n" * 66), "not numbers"),
        (lambda t: (t / "valid_img" / "t1.jpg").unlink(), "no image"),
    ],
)
def test_faults_are_named(tree: Path, change, words: str):
    change(tree)
    with pytest.raises(DataError, match=words):
        open_source("3dfaw-keypoints", tree, split="test")


@pytest.mark.parametrize("separator", [",", " ", ";", ", "])
def test_point_rows(tmp_path: Path, separator: str):
    path = tmp_path / "points.txt"
    path.write_text(f"1.5{separator}2\n\n3{separator}4")
    assert read_point_rows(path, (2, 3)).tolist() == [[1.5, 2.0], [3.0, 4.0]]
    with pytest.raises(DataError, match="2 points, 66 or 68 are needed"):
        read_point_rows(path, (66, 68))
    path.write_text(f"1{separator}2\n3\n")
    with pytest.raises(DataError, match="line 2"):
        read_point_rows(path)


def test_pts_counts_from_one(tmp_path: Path):
    path = tmp_path / "face.pts"
    body = "\n".join(f"{i + 1} {2 * i + 1}" for i in range(68))
    path.write_text(f"version: 1\nn_points: 68\n{{\n{body}\n}}\n")
    assert read_point_rows(path, 68)[3].tolist() == [3.0, 6.0]


@pytest.mark.parametrize("head", ["builtin", "ict"])
def test_synthetic_keypoints_are_those_of_the_pictures(head: str, request: pytest.FixtureRequest):
    where = f":{request.getfixturevalue('packs')}" if head == "ict" else ""
    drawn = open_data(f"synthetic{where}?count=3&head={head}&size=64")
    faces = collect(open_data(f"synthetic-keypoints{where}?count=3&head={head}&size=64"))
    for index in range(3):
        keypoints, depth = keypoint_record(drawn[index])
        assert faces.depth is not None and depth is not None
        torch.testing.assert_close(faces.keypoints[index], keypoints, rtol=0, atol=1e-5)
        torch.testing.assert_close(faces.depth[index], depth, rtol=0, atol=1e-5)
        # Scheme 66: the nose tip lies in front of the upper ends of the jaw.
        assert bool((depth[30] < depth[[0, 16]]).all())


def test_reduced_head_is_small():
    head = load_head("builtin")
    assert len(landmark_head(head).neutral) < len(head.neutral) / 5


def test_splits_noise_and_orientations():
    test = collect(open_data("synthetic-keypoints?split=test&count=9"))
    assert test.orientations == ("left",) * 3 + ("center",) * 3 + ("right",) * 3
    valid = collect(open_data("synthetic-keypoints?split=valid&count=4"))
    train = collect(open_data("synthetic-keypoints?count=4"))
    assert not torch.equal(valid.keypoints, train.keypoints)
    noisy = collect(open_data("synthetic-keypoints?count=4&noise=0.01"))
    eyes = (train.keypoints[:, 36] - train.keypoints[:, 45]).norm(dim=1)
    moved = (noisy.keypoints - train.keypoints).square().mean((1, 2)).sqrt() / eyes
    assert bool((moved > 0.008).all()) and bool((moved < 0.012).all())
    assert noisy.depth is not None and train.depth is not None and torch.equal(noisy.depth, train.depth)
    with pytest.raises(UsageError, match="multiple of 3"):
        open_data("synthetic-keypoints?split=test&count=10")


def test_arrays_survive_a_file_and_samples(tmp_path: Path):
    faces = collect(open_data("synthetic-keypoints?split=test&count=6"))
    again = read_arrays(write_arrays(tmp_path / "faces.npz", faces))
    assert again.ids == faces.ids and again.orientations == faces.orientations
    assert torch.equal(again.keypoints, faces.keypoints)
    source = KeypointFaces("faces", again)
    sample = source[2]
    assert sample.image.shape == (3, 128, 128) and sample.landmarks is not None
    chosen = collect(Subset(source, [4, 2]))
    assert chosen.ids == (faces.ids[4], faces.ids[2])
    (tmp_path / "bad.npz").write_bytes(b"PK not an archive")
    for name, words in (("bad.npz", "cannot be read"), ("none.npz", "cannot be read")):
        with pytest.raises(DataError, match=words):
            read_arrays(tmp_path / name)


def test_a_sample_without_landmarks_is_refused():
    with pytest.raises(DataError, match="no landmarks"):
        keypoint_record(FaceSample("x", torch.zeros(3, 4, 4)))


def test_units_of_a_picture_that_is_not_square():
    """Over its width, its height, and half the sum of both; depths of a camera are pixels at the mean depth."""
    points = torch.rand(66, 2, generator=torch.Generator().manual_seed(0)) * 50
    z = torch.linspace(-30, 30, 66)
    sample = FaceSample(
        id="one", image=torch.zeros(3, 40, 80), landmarks=points, scheme="66", meta={"landmark_z": z}
    )
    keypoints, depth = keypoint_record(sample)
    torch.testing.assert_close(keypoints, points / torch.tensor([80.0, 40.0]))
    torch.testing.assert_close(depth, z / 60)
    # 500 mm away on average: at a focal length of 1000 px a millimetre is two pixels.
    found = depth_in_pixels(torch.tensor([490.0, 500.0, 510.0]).double(), 1000.0)
    assert found.tolist() == pytest.approx([-20.0, 0.0, 20.0])

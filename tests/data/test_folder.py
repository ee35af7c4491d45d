"""Folders of pictures with labels in every form."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trees

from lineament.data.registry import open_data, open_source, with_labels
from lineament.errors import DataError, UsageError
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i, name in enumerate(("a.png", "b.jpg", "ann/1.png", "ann/2.png", "bob/1.png")):
        trees.save_picture(tmp_path / name, 40, 30, i)
    return tmp_path


@pytest.mark.parametrize("place", [0, 4095, -4096, -1])
def test_a_picture_replaced_at_equal_size_changes_the_fingerprint(photos: Path, place: int) -> None:
    path = photos / "large.bmp"
    trees.save_picture(path, 100, 80, 9)
    before = open_source("folder", photos).fingerprint
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * 4096
    data[place] ^= 1
    path.write_bytes(bytes(data))
    assert open_source("folder", photos).fingerprint != before
    data[place] ^= 1
    path.write_bytes(bytes(data))
    assert open_source("folder", photos).fingerprint == before


def test_every_byte_of_a_small_picture_counts(photos: Path) -> None:
    before = open_source("folder", photos).fingerprint
    path = photos / "a.png"
    original = path.read_bytes()
    assert len(original) < 2 * 4096
    for place in range(0, len(original), max(1, len(original) // 20)):
        data = bytearray(original)
        data[place] ^= 8
        path.write_bytes(bytes(data))
        assert open_source("folder", photos).fingerprint != before, place


def test_a_copy_has_the_fingerprint_of_the_original(
    photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = open_source("folder", photos).fingerprint
    copy = tmp_path_factory.mktemp("elsewhere") / photos.name
    shutil.copytree(photos, copy, copy_function=shutil.copyfile)
    for path in copy.rglob("*.png"):
        os.utime(path, (0, 0))
    assert open_source("folder", copy).fingerprint == before


def points(start: float) -> torch.Tensor:
    return torch.arange(10).reshape(5, 2).float() + start


def test_pictures_without_labels(photos: Path) -> None:
    source = open_source("folder", photos)
    assert [s.id for s in source] == ["a.png", "ann/1.png", "ann/2.png", "b.jpg", "bob/1.png"]
    assert source[0].landmarks is None and source[0].scheme is None and source[0].path == photos / "a.png"
    assert [s.identity for s in open_source("folder", photos, identity="folder")][1:3] == ["ann", "ann"]
    assert len(open_source("folder", photos, recursive=False)) == 2
    assert [s.id for s in open_source("folder", photos / "a.png")] == ["a.png"]
    with pytest.raises(UsageError, match="kind of identity"):
        open_source("folder", photos, identity="person")


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_label_files(photos: Path, suffix: str) -> None:
    faces = [
        FaceLabel("ann/1.png", points(1)),
        FaceLabel("a.png", points(2), torch.tensor([1.0, 2, 30, 25])),
        FaceLabel("a.png", points(3)),
    ]
    write_keypoints(photos / f"labels{suffix}", LabelFile(scheme("5"), faces))
    source = open_source("folder", photos)
    assert [s.id for s in source] == ["a.png", "a.png#2", "ann/1.png", "ann/2.png", "b.jpg", "bob/1.png"]
    assert torch.equal(source[0].landmarks, points(2)) and source[0].box.tolist() == [1, 2, 30, 25]
    assert torch.equal(source[1].landmarks, points(3)) and source[0].scheme == "5"
    assert source[4].landmarks is None and source[4].scheme is None
    assert [s.id for s in open_source("folder", photos, labelled=True)] == ["a.png", "a.png#2", "ann/1.png"]
    assert all(s.landmarks is None for s in open_source("folder", photos, labels="none"))
    elsewhere = photos.parent / f"{photos.name}-elsewhere{suffix}"
    (photos / f"labels{suffix}").rename(elsewhere)
    assert open_source("folder", photos, labels=str(elsewhere)).fingerprint == source.fingerprint


def test_pts_beside_pictures(photos: Path) -> None:
    marks = np.random.default_rng(0).uniform(2, 25, (68, 2)).round(3)
    trees.write_pts(photos / "a.pts", marks)
    (photos / "b.pts").write_text("broken")
    trees.write_pts(photos / "ann" / "1.pts", marks[:5])
    source = open_source("folder", photos)
    assert np.allclose(source[0].landmarks.numpy(), marks - 1, atol=1e-4) and source[0].scheme == "68"
    with pytest.raises(DataError, match=r"ann/1\.png cannot be used.*5 points"):
        source[1]
    with pytest.raises(DataError, match=r"b\.jpg cannot be used"):
        source[3]
    assert source[2].landmarks is None


def test_bad_labels_are_bad_samples(photos: Path) -> None:
    faces = [
        {"image": "a.png", "landmarks": [None, None, None, None, None]},
        {"image": "b.jpg", "box": [50, 5, 60, 9]},
        {"image": "gone.png", "box": [5, 5, 60, 9]},
    ]
    (photos / "labels.json").write_text(
        json.dumps({"format": "lineament-faces", "scheme": "5", "faces": faces})
    )
    source = open_source("folder", photos)
    for index, expected in (
        (0, "no point of the face has a place"),
        (3, "outside the 40x30"),
        (5, "no such image"),
    ):
        with pytest.raises(DataError, match=expected):
            source[index]
    assert source[1].landmarks is None


def test_unreadable_label_files_are_named(photos: Path) -> None:
    (photos / "labels.json").write_text("{")
    with pytest.raises(DataError, match=r"labels\.json"):
        open_source("folder", photos)


def test_train_and_val_are_parts_of_all(tmp_path: Path) -> None:
    for i in range(60):
        trees.save_picture(tmp_path / f"p{i // 4}" / f"{i}.png", 4, 4, i)
    parts = {
        split: {s.id: s.identity for s in open_source("folder", tmp_path, split=split, identity="folder")}
        for split in ("train", "val", "all")
    }
    assert {**parts["train"], **parts["val"]} == parts["all"]
    assert not set(parts["train"].values()) & set(parts["val"].values()) and parts["val"]


def test_single_missing_points_stay_with_the_face(photos: Path) -> None:
    points = [[1, 2], None, [3, 4], [5, 6], [7, 8]]
    face = {"image": "a.png", "landmarks": points, "visible": [True, None, False, True, True]}
    (photos / "labels.json").write_text(json.dumps({"scheme": "5", "faces": [face]}))
    source = open_source("folder", photos, labelled=True)
    sample = source[0]
    assert sample.landmarks is not None and sample.visibility is not None
    assert sample.landmarks.isfinite().all(-1).tolist() == [True, False, True, True, True]
    assert sample.visibility.tolist() == [True, False, False, True, True]
    before = source.fingerprint
    face["visible"] = [True, None, True, True, True]
    (photos / "labels.json").write_text(json.dumps({"scheme": "5", "faces": [face]}))
    assert open_source("folder", photos, labelled=True).fingerprint != before


def test_own_schemes_and_other_tools(photos: Path) -> None:
    table = photos / "points.csv"
    table.write_text("image;x0;y0;x1;y1;x2;y2\na.png;1;2;3;4;5,5;6\n")
    for name in ("one", "two"):
        folder = photos / name
        folder.mkdir()
        (folder / "three.yaml").write_text(f"name: three\npoints: [left_{name}, right_{name}, chin]\n")
    sources = [
        open_data(f"{photos}?labels={table}&labelled=true&scheme={photos / name / 'three.yaml'}")
        for name in ("one", "two")
    ]
    first, second = (source[0] for source in sources)
    assert first.scheme is not None and second.scheme is not None
    assert scheme(first.scheme).names == ("left_one", "right_one", "chin")
    # Two schemes of one name stay apart, in what is given out and in what caches are known by.
    assert scheme(second.scheme).name == "three" and first.scheme != second.scheme
    assert sources[0].fingerprint != sources[1].fingerprint
    (photos / "one/three.yaml").unlink()
    assert scheme(sources[0][0].scheme or "").names == ("left_one", "right_one", "chin")
    moved = open_data(f"{photos}?labels={table}&labelled=true&first_pixel=1")[0]
    assert moved.landmarks is not None and moved.landmarks[0].tolist() == [0.0, 1.0]


def test_a_label_file_is_named_beside_the_data(photos: Path) -> None:
    (photos / "labels.json").unlink(missing_ok=True)
    table = photos / "points.csv"
    table.write_text("image,nose_x,nose_y\na.png,1,2\n")
    text = with_labels(str(photos), table)
    assert len(open_data(text)) == 1
    assert len(open_data(with_labels(f"{photos}?split=all", table))) == 1
    with pytest.raises(DataError, match="there is no label file"):
        with_labels(str(photos), photos / "absent.csv")
    with pytest.raises(UsageError, match="has labels of its own"):
        with_labels("synthetic?count=4", table)


def test_labels_beside_the_folder_name_its_pictures_wherever_both_are_seen_from(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two paths is relative, and with a detour in it."""
    folder = photos / "photos"
    folder.mkdir()
    (photos / "a.png").rename(folder / "a.png")
    label = FaceLabel("photos/a.png", torch.rand(5, 2) * 20)
    write_keypoints(photos / "labels.json", LabelFile(scheme("5"), [label]))
    monkeypatch.chdir(photos)
    for data in ("photos", "./photos/", "ann/../photos", str(folder)):
        for labels in ("labels.json", "ann/../labels.json", str(photos / "labels.json")):
            source = open_data(with_labels(data, Path(labels)))
            assert [source[i].id for i in range(len(source))] == ["a.png"], (data, labels)
            assert len(open_data(f"{data}?labels={labels}")) == 1

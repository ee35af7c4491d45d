"""VGGFace2, AffectNet, WFLW, AFLW with 19 points, and 300-W in the layout of 3FabRec, from small trees."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import trees

from lineament.data.readers.w300 import FABREC_FOLDERS, FOLDERS
from lineament.data.registry import open_source
from lineament.errors import DataError, UsageError


def make_wflw(root: Path) -> np.ndarray:
    """Two faces of one test picture: the first of no subset, the second of pose and blur; three training faces."""
    points = np.random.default_rng(0).uniform(5, 55, (3, 98, 2)).round(4)
    folder = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    folder.mkdir(parents=True)
    flags = ("0 0 0 0 0 0", "1 0 0 0 0 1", "0 0 0 1 0 0")
    for part, count in (("train", 3), ("test", 2)):
        lines = []
        for i in range(count):
            name = f"{part}--Parade/{part}_{i // 2}.jpg"
            trees.save_picture(root / "WFLW_images" / name, 70, 60, i)
            lines.append(f"{' '.join(map(str, points[i].reshape(-1)))} 4 5 56 57 {flags[i]} {name}")
        (folder / f"list_98pt_rect_attr_{part}.txt").write_text("\n".join(lines) + "\n")
    return points


def test_wflw_and_its_subsets(tmp_path: Path) -> None:
    points = make_wflw(tmp_path)
    test = open_source("wflw", tmp_path, split="test", subset=True)
    assert len(test) == 2 and test[0].id != test[1].id
    assert test[0].scheme == "98"
    np.testing.assert_allclose(test[1].landmarks.numpy(), points[1], rtol=1e-5)
    assert test[1].box.tolist() == [3.5, 4.5, 55.5, 56.5]
    assert test[1].meta["subsets"] == ("pose", "blur") and test[0].meta["subsets"] == ()
    assert len(open_source("wflw", tmp_path, split="blur", subset=True)) == 1
    with pytest.raises(DataError, match="holds no samples"):
        open_source("wflw", tmp_path, split="make-up", subset=True)
    with pytest.raises(DataError, match="2,500"):
        open_source("wflw", tmp_path, split="test")
    listed = tmp_path / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / "list_98pt_rect_attr_test.txt"
    listed.write_text("1 2 3 a.jpg\n")
    with pytest.raises(DataError, match=r"line 1 of .* holds 4 words"):
        open_source("wflw", tmp_path, split="test", subset=True)


def test_vggface2_keeps_high_faces(tmp_path: Path) -> None:
    (tmp_path / "bb_landmark").mkdir()
    (tmp_path / "bb_landmark" / "loose_bb_train.csv").write_text(
        'NAME_ID,X,Y,W,H\n"n000001/0001_01",20,30,90,120\n"n000001/0002_01",20,30,80,100\n'
    )
    trees.save_picture(tmp_path / "train" / "imgs" / "n000001" / "0001_01.jpg", 150, 180)
    source = open_source("vggface2", tmp_path)
    assert len(source) == 1
    assert source[0].box.tolist() == [19.5, 29.5, 109.5, 149.5]
    assert source[0].identity == "n000001" and source[0].landmarks is None
    assert len(open_source("vggface2", tmp_path, min_height=50)) == 2
    (tmp_path / "bb_landmark" / "loose_bb_train.csv").write_text("NAME,X\na,1\n")
    with pytest.raises(DataError, match="expected NAME_ID"):
        open_source("vggface2", tmp_path)


def test_affectnet_keeps_faces_with_an_expression(tmp_path: Path) -> None:
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    marks = ";".join(f"{20 + i % 17};{30 + i % 13}" for i in range(68))
    rows = [f"1/a.jpg,10,12,60,70,{marks},1,0,0", f"1/b.jpg,10,12,60,70,{marks},9,0,0"]
    (tmp_path / "training.csv").write_text("\n".join([header, *rows]) + "\n")
    trees.save_picture(tmp_path / "cropped_Annotated" / "1" / "a.jpg", 100, 100)
    source = open_source("affectnet", tmp_path)
    assert len(source) == 1
    sample = source[0]
    assert sample.box.tolist() == [9.5, 11.5, 69.5, 81.5]
    assert sample.landmarks.shape == (68, 2) and sample.meta["expression"] == "happy"
    assert open_source("affectnet", tmp_path, corners=True)[0].box.tolist() == [9.5, 11.5, 59.5, 69.5]
    (tmp_path / "training.csv").write_text(f"{header}\n1/a.jpg,10,12,60,70,1;2,1,0,0\n")
    with pytest.raises(DataError, match="2 numbers of landmarks instead of 136"):
        open_source("affectnet", tmp_path)


def test_aflw19_follows_its_permutation(tmp_path: Path) -> None:
    count = 5
    points = np.random.default_rng(1).uniform(5, 60, (count, 19, 2))
    seen = np.ones((count, 19))
    seen[2, 3] = 0
    names = np.empty((count, 1), dtype=object)
    for i in range(count):
        names[i, 0] = f"0/image{i}.jpg"
        trees.save_picture(tmp_path / "data" / "flickr" / "0" / f"image{i}.jpg", 80, 70, i)
    content = {
        "nameList": names,
        "bbox": np.tile([[5.0, 65.0, 4.0, 60.0]], (count, 1)),
        "data": np.concatenate([points[..., 0], points[..., 1]], 1),
        "mask_new": seen,
        "ra": np.array([[4, 5, 3, 1, 2]]),
    }
    scipy.io.savemat(tmp_path / "AFLWinfo_release.mat", content)
    options = {"subset": True, "training": 2}
    train = open_source("aflw19", tmp_path, **options)
    assert [sample.id for sample in train] == ["0/image3.jpg#3", "0/image4.jpg#4"]
    test = open_source("aflw19", tmp_path, split="test", **options)
    assert test[0].id == "0/image2.jpg#2" and not bool(test[0].visibility[3])
    np.testing.assert_allclose(test[0].landmarks.numpy(), points[2], rtol=1e-5)
    assert test[0].box.tolist() == [4.5, 3.5, 64.5, 59.5]
    assert len(open_source("aflw19", tmp_path, split="frontal", **options)) == 2
    scipy.io.savemat(tmp_path / "AFLWinfo_release.mat", {**content, "bbox": np.zeros((2, 4))})
    with pytest.raises(DataError, match="holds bbox"):
        open_source("aflw19", tmp_path, **options)


def test_300w_in_the_layout_of_3fabrec(tmp_path: Path) -> None:
    trees.make_300w(tmp_path)
    for part, folder in FOLDERS.items():
        (tmp_path / FABREC_FOLDERS[part]).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(tmp_path / folder, tmp_path / FABREC_FOLDERS[part])
    test = open_source("300w", tmp_path, split="test", subset=True)
    assert {sample.meta["subsets"] for sample in test} == {("common",), ("challenging",)}
    detected = open_source("300w", tmp_path, split="test", subset=True, boxes="detector")
    assert (detected[0].box - test[0].box).tolist() == [1.0, 1.0, 1.0, 1.0]
    with pytest.raises(UsageError, match="kind of box"):
        open_source("300w", tmp_path, subset=True, boxes="mine")

"""Portrait packs: a zip and an index of boxes."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
import trees
from PIL import Image

from lineament.data.registry import open_data, open_source
from lineament.errors import DataError
from lineament.faces.detection import Detection
from lineament.pipeline.evaluate import portraits as portraits_to_judge
from lineament.progress import silent


@pytest.mark.parametrize(("prefix", "inside"), [("face", ""), ("head_box", "photos/2020/")])
def test_boxes_span_their_pixels(tmp_path: Path, prefix: str, inside: str) -> None:
    trees.make_portraits(tmp_path, prefix=prefix, inside=inside)
    source = open_source("portraits", tmp_path)
    assert len(source) == 6
    assert source[0].box.tolist() == [2.5, 3.5, 22.5, 27.5] and source[5].box is None
    assert source[2].identity == source[2].id == "P002" and source[2].meta == {"grey": "102"}
    assert source[0].image.shape == (3, 50, 40)


def test_train_and_val_share_nothing(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path, count=40)
    parts = [
        {s.id for s in open_source("portraits", tmp_path, split=split)} for split in ("train", "val", "all")
    ]
    assert not parts[0] & parts[1] and parts[0] | parts[1] == parts[2] and 2 < len(parts[1]) < 20


def test_plain_files_and_the_archive_itself_work_too(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path / "zipped")
    zipped = open_source("portraits", tmp_path / "zipped")
    by_file = open_source("portraits", tmp_path / "zipped" / "pictures.zip")
    assert torch.equal(by_file[1].image, zipped[1].image)
    plain = tmp_path / "plain"
    with zipfile.ZipFile(tmp_path / "zipped" / "pictures.zip") as archive:
        archive.extractall(plain)
    (plain / "index.csv").write_text((tmp_path / "zipped" / "index.csv").read_text())
    assert torch.equal(open_source("portraits", plain)[1].image, zipped[1].image)
    assert torch.equal(open_data(tmp_path / "zipped")[1].image, zipped[1].image)


def test_archives_survive_pickling_and_change_the_fingerprint(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path)
    source = open_source("portraits", tmp_path)
    before = source.fingerprint
    assert torch.equal(pickle.loads(pickle.dumps(source))[1].image, source[1].image)
    # The same names and sizes, other pixels: the checksum in the archive tells.
    with zipfile.ZipFile(tmp_path / "pictures.zip") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    first = next(iter(content))
    content[first] = content[first][:-10] + b"0123456789"
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    assert open_source("portraits", tmp_path).fingerprint != before


def rewrite(root: Path, old: str, new: str) -> None:
    index = root / "index.csv"
    index.write_text(index.read_text().replace(old, new))


def test_bad_rows_are_bad_samples(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path)
    rewrite(tmp_path, "P001,3,4,20,24", "P001,3,x,20,24")
    rewrite(tmp_path, "P002,3,4,20,24", "P002,300,4,20,24")
    rewrite(tmp_path, "P003,3,4,20,24", "P003,3,nan,20,24")
    rewrite(tmp_path, "P004,", "P999,")
    source = open_source("portraits", tmp_path)
    for index, expected in (
        (1, "not four numbers"),
        (2, "outside the 40x50 image"),
        (3, "not finite"),
        (4, "line 6, but there is no such image"),
    ):
        with pytest.raises(DataError, match=expected):
            source[index]
    assert source[0].box is not None


def test_unusable_indices_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.csv is missing"):
        open_source("portraits", tmp_path)
    trees.make_portraits(tmp_path)
    whole = (tmp_path / "index.csv").read_text()
    rewrite(tmp_path, "face_x", "left")
    with pytest.raises(DataError, match=r"expected a box in columns \*_x"):
        open_source("portraits", tmp_path)
    (tmp_path / "index.csv").write_text(whole.splitlines()[0] + "\n")
    with pytest.raises(DataError, match="lists no images"):
        open_source("portraits", tmp_path)
    (tmp_path / "index.csv").write_text(whole + "P001,3,4,20,24,1\n")
    with pytest.raises(DataError, match="'P001' twice"):
        open_source("portraits", tmp_path)
    (tmp_path / "index.csv").write_text(whole)
    (tmp_path / "pictures.zip").write_bytes(b"PK not really")
    with pytest.raises(DataError, match=r"pictures\.zip cannot be opened as a zip"):
        open_source("portraits", tmp_path)


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path)
    data = bytearray((tmp_path / "pictures.zip").read_bytes())
    data[200:260] = bytes(60)
    (tmp_path / "pictures.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"pictures\.zip/P000\.jpg"):
        open_source("portraits", tmp_path)[0]


def test_ambiguous_names_are_refused(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "one.png")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "a") as archive:
        archive.write(tmp_path / "one.png", "other/P001.png")
    with pytest.raises(DataError, match="two images are called 'P001'"):
        open_source("portraits", tmp_path)


def test_the_real_pack(packs: Path) -> None:
    source = open_source("portraits", packs / "congress_portraits_gray")
    assert len(source) > 100
    sample = source[0]
    assert sample.image.shape[0] == 3 and sample.box is not None
    x0, y0, x1, y1 = sample.box.tolist()
    assert -1 <= x0 < x1 <= sample.image.shape[2] and -1 <= y0 < y1 <= sample.image.shape[1]


def test_boxes_of_the_pack_are_never_those_of_the_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = torch.tensor([3.0, 4.0, 33.0, 44.0])
    found = Detection(box, 0.99, torch.rand(5, 2) * 20 + 8)
    monkeypatch.setattr(portraits_to_judge, "detect_faces", lambda image, detector, **options: [[found]])
    rows = ["id,face_x,face_y,face_w,face_h"]
    for index in range(20):
        Image.new("RGB", (50, 60), (index * 9, 90, 90)).save(tmp_path / f"{index}.png")
        rows.append(f"{index},5,6,{30 if index % 2 else 0},30")
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    judged = portraits_to_judge.find_portraits(tmp_path, "all", silent)
    assert len(judged.found) == 20 and len(judged.boxes_of_the_pack) == 10
    assert judged.boxes_of_the_pack.name.endswith("boxes of the pack (10 of 20)")
    for index in range(10):
        assert judged.boxes_of_the_pack[index].box.tolist() == [4.5, 5.5, 34.5, 35.5]


def test_a_column_says_what_is_held_out_and_boxes_may_be_missing(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path)
    rows = "".join(f"P{i:03d}.jpg,{'train' if i < 4 else 'test'}\n" for i in range(6))
    (tmp_path / "index.csv").write_text("file,split\n" + rows)
    assert [each.id for each in open_source("portraits", tmp_path, split="train")] == [
        f"P{i:03d}.jpg" for i in range(4)
    ]
    held = open_source("portraits", tmp_path, split="test")
    assert [each.id for each in held] == ["P004.jpg", "P005.jpg"] and held[0].box is None
    assert [each.id for each in open_source("portraits", tmp_path, split="val")] == ["P004.jpg", "P005.jpg"]
    rewrite(tmp_path, "P001.jpg,train", "P001.jpg,")
    with pytest.raises(DataError, match=r"line 3 of .* has nothing in the column 'split'"):
        open_source("portraits", tmp_path, split="train")
    assert len(open_source("portraits", tmp_path)) == 6

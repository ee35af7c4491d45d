"""FFHQ, AFHQ's cats and MetFaces, each from a small tree in its true format, and what is wrong with others."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import trees

from lineament.cli.main import main
from lineament.data.registry import open_data, open_source, parse_data
from lineament.errors import DataError, UsageError


def test_ffhq_is_read_in_its_archive_in_the_order_of_names(tmp_path: Path) -> None:
    names = trees.make_ffhq(tmp_path / "ffhq16x16.zip", count=40)
    source = open_data(tmp_path / "ffhq16x16.zip")
    assert [sample.id for sample in source] == names and source.name == "ffhq16x16/all"
    with zipfile.ZipFile(tmp_path / "ffhq16x16.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    folder = open_source("ffhq", tmp_path / "unpacked")
    assert [sample.id for sample in folder] == names
    for one, other in zip(source, folder, strict=True):
        assert torch.equal(one.image, other.image)
    # Nothing was written beside the archive.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ffhq16x16.zip", "unpacked"]
    parts = [open_source("ffhq", tmp_path / "ffhq16x16.zip", split=split) for split in ("train", "val")]
    assert sorted(sample.id for part in parts for sample in part) == names


def test_an_archive_of_another_size_than_asked_for_or_named_is_refused(tmp_path: Path) -> None:
    trees.make_ffhq(tmp_path / "ffhq32x32.zip", side=16)
    with pytest.raises(DataError, match="is 16x16, the name says 32x32"):
        open_source("ffhq", tmp_path / "ffhq32x32.zip")
    shutil.move(tmp_path / "ffhq32x32.zip", tmp_path / "faces.zip")
    with pytest.raises(DataError, match="images of 16 px, not of 32"):
        open_source("ffhq", tmp_path / "faces.zip", resolution=32)
    assert len(open_source("ffhq", tmp_path / "faces.zip", resolution=16)) == 5
    trees.save_picture(tmp_path / "wide" / "a.png", 20, 10)
    with pytest.raises(DataError, match=r"a.png is 20x10: .* square"):
        open_source("ffhq", tmp_path / "wide")


def test_archives_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    trees.make_ffhq(tmp_path / "good.zip")
    whole = (tmp_path / "good.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "text.zip").write_text("no archive")
    for name in ("cut", "empty", "text"):
        with pytest.raises(DataError, match=f"{name}.zip cannot be opened as a zip archive"):
            open_data(tmp_path / f"{name}.zip")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("dataset.json", "{}")
        archive.writestr("__MACOSX/00000/._img.png", b"")
    with pytest.raises(DataError, match="holds no image"):
        open_data(tmp_path / "none.zip")
    for member in ("../out.png", "/out.png", "a/../../out.png"):
        with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
            archive.writestr(member, b"x")
        with pytest.raises(DataError, match="leads out of it"):
            open_data(tmp_path / "out.zip")


def test_a_damaged_image_in_an_archive_is_named_and_listed_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = trees.make_ffhq(tmp_path / "ffhq16x16.zip", count=120)
    trees.make_ffhq(tmp_path / "others.zip", count=120)
    data = bytearray((tmp_path / "ffhq16x16.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "ffhq16x16.zip") as archive:
        place = archive.getinfo(names[7]).header_offset
    data[place + 300] ^= 8
    (tmp_path / "ffhq16x16.zip").write_bytes(data)
    assert main(["data", "check", "ffhq", str(tmp_path / "ffhq16x16.zip")]) == 0
    assert names[7] in capsys.readouterr().out
    # The other archive holds images of the same names.
    assert (
        len(open_data(tmp_path / "ffhq16x16.zip")) == 119 and len(open_data(tmp_path / "others.zip")) == 120
    )
    assert json.loads((tmp_path / "ffhq16x16.reject.json").read_text())["rejects"].keys() == {names[7]}


def test_cats_are_read_in_their_folder_and_archive(tmp_path: Path) -> None:
    folder = tmp_path / "afhq_v2_train_cat_512"
    names = trees.make_afhq(folder)
    archive = trees.pack(folder, tmp_path / "cats.zip")
    assert parse_data(archive).reader.name == "afhqcat"
    for place in (folder, archive):
        source = open_source("afhqcat", place)
        assert [sample.id for sample in source] == names
    assert torch.equal(open_data(archive)[1].image, open_source("afhqcat", folder)[1].image)


def test_cats_without_pose_and_poses_without_image_are_bad_samples(tmp_path: Path) -> None:
    names = trees.make_afhq(tmp_path / "cats")
    labels = json.loads((tmp_path / "cats" / "dataset.json").read_text())["labels"]
    of = dict(labels)
    of["00000/gone.png"] = of.pop(names[0])
    of[names[1]] = of[names[1]][:9]
    of[names[2]] = [float("nan"), *of[names[2]][1:]]
    (tmp_path / "cats" / "dataset.json").write_text(json.dumps({"labels": list(of.items())}))
    for place in (tmp_path / "cats", trees.pack(tmp_path / "cats", tmp_path / "cats.zip")):
        source = open_source("afhqcat", place)
        faults = {}
        for index in range(len(source)):
            try:
                _ = source[index]
            except DataError as error:
                faults[source.id_of(index)] = str(error)
        assert faults.keys() == {*names[:3], "00000/gone.png"}
        assert "has no pose of it" in faults[names[0]] and "no such image" in faults["00000/gone.png"]
        assert "not 25 finite numbers" in faults[names[1]] and "not 25" in faults[names[2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is missing or has no labels"),
        ('{"labels": null}', "cannot be read as EG3D's labels .it has no labels"),
        ('{"other": 1}', "is missing or has no labels"),
        ("torn", "cannot be read as EG3D's labels"),
        ('{"labels": [["a.png"]]}', "cannot be read as EG3D's labels"),
        ('{"labels": [["z.png", []]]}', "names no image that is there .z.png"),
        (
            '{"labels": [["00000/img00000000.png", []], ["00000/img00000000.png", []]]}',
            "names an image twice",
        ),
    ],
)
def test_labels_that_cannot_be_used_say_why(tmp_path: Path, text: str | None, message: str) -> None:
    trees.make_afhq(tmp_path / "cats")
    path = tmp_path / "cats" / "dataset.json"
    path.unlink() if text is None else path.write_text(text)
    for place in (tmp_path / "cats", trees.pack(tmp_path / "cats", tmp_path / "cats.zip")):
        with pytest.raises(DataError, match=message):
            open_source("afhqcat", place)


def test_metfaces_with_and_without_flips(tmp_path: Path) -> None:
    names = trees.make_metfaces(tmp_path / "plain", count=40, flips=False)
    assert [sample.id for sample in open_source("metfaces", tmp_path / "plain")] == names
    with pytest.raises(DataError, match="40 images and no flip"):
        open_source("metfaces", tmp_path / "plain", flips="needed")
    trees.make_metfaces(tmp_path / "both", count=40)
    both = open_source("metfaces", tmp_path / "both", flips="needed")
    assert len(both) == 80 and len(open_source("metfaces", tmp_path / "both", flips="none")) == 40
    by_name = {sample.id: sample for sample in both}
    one, other = by_name[names[0]], by_name[names[0].replace(".png", "_xflip.png")]
    assert torch.equal(one.image.flip(2), other.image) and one.identity == other.identity
    # A painting and its mirror image are on one side.
    val = open_source("metfaces", tmp_path / "both", split="val")
    assert 0 < len(val) < 80 and len({sample.identity for sample in val}) * 2 == len(val)


def test_flips_of_flips_are_refused_and_what_has_no_flip_is_a_bad_sample(tmp_path: Path) -> None:
    names = trees.make_metfaces(tmp_path / "m")
    flip = tmp_path / "m" / names[0].replace(".png", "_xflip.png")
    flip.rename(tmp_path / "kept.png")
    source = open_source("metfaces", tmp_path / "m")
    assert len(source) == 5 and source[1].id == names[1]
    with pytest.raises(DataError, match="it has no flip"):
        _ = source[0]
    (tmp_path / "m" / "alone_xflip.png").write_bytes((tmp_path / "kept.png").read_bytes())
    with pytest.raises(DataError, match="it is the flip of no image"):
        _ = open_source("metfaces", tmp_path / "m")[5]
    (tmp_path / "m" / "alone_xflip.png").unlink()
    assert len(open_source("metfaces", tmp_path / "m", flips="none")) == 3
    shutil.copy(tmp_path / "kept.png", flip)
    shutil.copy(tmp_path / "kept.png", flip.with_name(flip.stem + "_xflip.png"))
    with pytest.raises(DataError, match=r"flips of flips .1, "):
        open_source("metfaces", tmp_path / "m")
    with pytest.raises(UsageError, match="did you mean 'needed'"):
        open_source("metfaces", tmp_path / "m", flips="need")
    with pytest.raises(DataError, match="is no folder"):
        open_source("metfaces", tmp_path / "kept.png")

"""From photographs to crops: found, cut, accounted for, resumed, and read back with exact transforms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import trees

from lineament.data.images import write_image
from lineament.data.registry import open_data, open_source
from lineament.data.sample import FaceSource
from lineament.errors import DataError, LineamentError, UsageError
from lineament.faces.crops import named_crop
from lineament.faces.detection import Detection, register_detector
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.prepare.options import PrepareOptions
from lineament.pipeline.prepare.run import prepare

FIVE = torch.tensor([[-10.0, -8], [10, -8], [0, 3], [-8, 13], [8, 13]])


class BrightSpots:
    """Finds a face of 40x50 pixels about every pure red pixel; the redder ones come first."""

    def __call__(
        self, images: torch.Tensor, *, min_face: float | None, min_score: float
    ) -> list[list[Detection]]:
        found = []
        for image in images:
            red = (image[0] > 0.9) & (image[1:].amax(0) < 0.1)
            centres = torch.nonzero(red).flip(-1).float()
            found.append([Detection(torch.cat([c - 20, c + 20]), 0.9, FIVE + c) for c in centres])
        return found


register_detector("bright-spots")(BrightSpots)
OPTIONS = PrepareOptions(detector="bright-spots", size=32, around=0)


def photo(path: Path, *centres: tuple[int, int], side: int = 120) -> None:
    image = torch.linspace(0.2, 0.8, side).expand(3, side, side).clone()
    for x, y in centres:
        image[:, y, x] = torch.tensor([1.0, 0, 0])
    write_image(path, image)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    photo(folder / "one.png", (60, 50))
    photo(folder / "two.png", (40, 40), (80, 85))
    photo(folder / "none.png")
    photo(folder / "sub" / "one.png", (70, 70), side=140)
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    return folder


def left_out(out: Path) -> dict[str, str]:
    with (out / "left_out.csv").open(newline="") as file:
        return {row["photo"]: row["reason"] for row in csv.DictReader(file)}


def test_faces_are_cut_and_the_rest_is_listed(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = prepare(open_source("folder", photos), out, OPTIONS)
    assert (report.photos, report.crops, report.skipped) == (5, 3, 0)
    listed = left_out(out)
    assert listed["none.png"] == "no face found"
    assert listed["torn.jpg"].startswith("unreadable: ") and "torn.jpg" in listed["torn.jpg"]
    assert "1 no face found" in report.summary() and "1 unreadable" in report.summary()
    rows = pq.read_table(out / "index.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["one.png", "sub/one.png", "two.png"]
    assert rows[1]["photo"] == str(photos / "sub" / "one.png") and rows[1]["photo_width"] == 140
    assert all(sample.image.shape == (3, 32, 32) for sample in open_data(out))
    assert not list(out.rglob(".writing*"))


def test_transforms_lead_back_to_the_photograph(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = PrepareOptions(detector="bright-spots", size=64, by="box", around=0)
    prepare(open_source("folder", photos), out, options)
    crops = open_data(out)
    assert isinstance(crops, FaceSource) and len(crops) == 3
    sample = crops[0]
    to_photo = Affine2D(torch.tensor(sample.meta["crop_to_photo"]))
    # The box of the detector, in pixels of the crop, moves back to where the detector saw it.
    assert torch.allclose(to_photo.apply_box(sample.box), torch.tensor([40.0, 30, 80, 70]), atol=1e-4)
    points = to_photo.apply(torch.tensor(sample.meta["detected_points"]))
    assert torch.allclose(points, FIVE + torch.tensor([60.0, 50]), atol=1e-4)
    expected = named_crop("box", box=torch.tensor([40.0, 30, 80, 70]), size=64, image_size=(120, 120))
    assert torch.allclose(to_photo.inverse().matrix, expected.matrix, atol=1e-9)
    # A detector's guess is no label.
    assert sample.landmarks is None and sample.meta["photo_size"] == (120, 120)


def test_all_faces_and_small_faces(photos: Path, tmp_path: Path) -> None:
    source = open_source("folder", photos)
    rows = PrepareOptions(detector="bright-spots", size=16, faces="all")
    assert prepare(source, tmp_path / "all", rows).crops == 4
    crops = open_source("crops", tmp_path / "all")
    assert [sample.id for sample in crops] == ["one.png", "sub/one.png", "two.png", "two.png@2"]
    assert crops[2].meta["photo"] == crops[3].meta["photo"]
    with pytest.raises(DataError, match=r"no face of .* could be cut out: 5 photos"):
        prepare(source, tmp_path / "small", PrepareOptions(detector="bright-spots", min_face=41))
    assert "face too small: 40 px" in left_out(tmp_path / "small")["one.png"]


def test_labels_are_used_instead_of_the_detector(photos: Path, tmp_path: Path) -> None:
    marks = FIVE * 2 + torch.tensor([50.0, 55])
    faces = [
        FaceLabel("none.png", marks, torch.tensor([20.0, 20, 90, 100])),
        FaceLabel("two.png", marks + 1),
    ]
    write_keypoints(photos / "labels.json", LabelFile(scheme("5"), faces))
    out = tmp_path / "out"
    prepare(open_source("folder", photos, labelled=True), out, OPTIONS)
    crops = open_source("crops", out)
    assert [s.meta["photo"] for s in crops] == [str(photos / "none.png"), str(photos / "two.png")]
    for sample, points in zip(crops, (marks, marks + 1), strict=True):
        to_photo = Affine2D(torch.tensor(sample.meta["crop_to_photo"]))
        assert sample.scheme == "5"
        assert torch.allclose(to_photo.apply(sample.landmarks), points, atol=1e-4)
    detected = tmp_path / "detected"
    prepare(
        open_source("folder", photos, labelled=True),
        detected,
        PrepareOptions(detector="bright-spots", size=16, detect=True),
    )
    assert set(left_out(detected)) == {"none.png"}


@pytest.mark.parametrize("crop", ["dve-celeba", "ffhq"])
def test_other_rules(photos: Path, tmp_path: Path, crop: str) -> None:
    options = PrepareOptions(detector="bright-spots", size=24, crop=crop, format="jpg")
    assert prepare(open_source("folder", photos), tmp_path / "out", options).crops == 3
    assert open_source("crops", tmp_path / "out")[0].image.shape == (3, 24, 24)


def test_a_rule_that_lacks_landmarks_lists_why(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path / "pack")
    with pytest.raises(DataError, match="could be cut out"):
        prepare(
            open_source("portraits", tmp_path / "pack"),
            tmp_path / "out",
            PrepareOptions(detector="bright-spots", crop="ffhq", min_face=5),
        )
    assert left_out(tmp_path / "out")["P000"].startswith("cannot be cut: ")


def test_portrait_packs_keep_their_people(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path / "pack", count=30)
    options = PrepareOptions(detector="bright-spots", size=16)
    report = prepare(open_source("portraits", tmp_path / "pack"), tmp_path / "out", options)
    assert report.crops == 29 and left_out(tmp_path / "out") == {"P029": "no face found"}
    people = {
        split: {s.identity for s in open_source("crops", tmp_path / "out", split=split)}
        for split in ("train", "val")
    }
    assert len(people["train"] | people["val"]) == 29 and not people["train"] & people["val"]


def test_a_second_run_does_nothing_and_what_is_new_or_changed_is_done(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(open_source("folder", photos), out, OPTIONS)
    before = files(out)
    assert prepare(open_source("folder", photos), out, OPTIONS).skipped == 5
    assert files(out) == before
    photo(photos / "zoe.png", (55, 55))
    photo(photos / "one.png", (62, 50))
    (photos / "two.png").unlink()
    report = prepare(open_source("folder", photos), out, OPTIONS)
    assert (report.skipped, report.crops) == (3, 3)
    crops = open_data(out)
    assert [sample.id for sample in crops] == ["one.png", "sub/one.png", "zoe.png"]
    to_photo = Affine2D(torch.tensor(crops[0].meta["crop_to_photo"]))
    assert torch.allclose(to_photo.apply_box(crops[0].box), torch.tensor([42.0, 30, 82, 70]), atol=1e-4)
    # What was there before has not moved; the changed and the new photograph are in a shard of their own.
    assert {name: data for name, data in files(out).items() if name.startswith("shards/shard-00000")} == {
        name: data for name, data in before.items() if name.startswith("shards/shard-00000")
    }


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_other_settings_and_foreign_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    source = open_source("folder", photos)
    out = tmp_path / "out"
    prepare(source, out, OPTIONS)
    before = (out / "index.parquet").read_bytes()
    other = PrepareOptions(detector="bright-spots", size=16, around=0)
    with pytest.raises(LineamentError, match=r"size 32 -> 16.*--overwrite"):
        prepare(source, out, other)
    assert (out / "index.parquet").read_bytes() == before
    assert prepare(source, out, other, overwrite=True).crops == 3
    assert open_source("crops", out)[0].image.shape == (3, 16, 16)
    for overwrite in (False, True):
        with pytest.raises(LineamentError, match="is not empty and holds no crops"):
            prepare(source, photos, OPTIONS, overwrite=overwrite)
    assert (photos / "one.png").exists()
    with pytest.raises(LineamentError, match="is a file"):
        prepare(source, photos / "one.png", OPTIONS)
    with pytest.raises(UsageError, match="unknown crop"):
        prepare(source, tmp_path / "x", PrepareOptions(crop="boxx"))
    with pytest.raises(UsageError, match="unknown detector"):
        prepare(source, tmp_path / "x", PrepareOptions(detector="mtccn"))
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_asked_for(photos: Path, tmp_path: Path) -> None:
    source = open_source("folder", photos)
    for options, words in (
        (PrepareOptions(crop="ffhq", margins=(0.2, 0.1)), "'ffhq' has no margins"),
        (PrepareOptions(around=-1), "0 to 4 of its sides"),
        (PrepareOptions(quality=0), "quality 1 to 100"),
        (PrepareOptions(crop="fabrec", margins=(float("nan"), 0.1)), "shares of the box's height up to 4"),
        (PrepareOptions(size=9000), "crops of 11700 x 11700 pixels would be refused"),
    ):
        with pytest.raises(UsageError, match=words):
            prepare(source, tmp_path / "x", options)
    assert not (tmp_path / "x").exists()


def test_mtcnn_cuts_real_portraits(packs: Path, tmp_path: Path) -> None:
    from lineament.data.subset import Subset

    source = Subset(open_source("portraits", packs / "congress_portraits_gray"), range(6), "six")
    report = prepare(source, tmp_path / "out", PrepareOptions(detect=True, size=48, around=0))
    assert report.crops >= 5
    for sample in open_source("crops", tmp_path / "out"):
        eyes = np.array(sample.meta["detected_points"])[:2]
        # The eyes of a face in a crop of its box lie in the upper half, left and right of the middle.
        assert (eyes[:, 1] < 26).all() and eyes[0, 0] < 24 < eyes[1, 0]
    assert json.loads((tmp_path / "out" / "cache.json").read_text())["settings"]["crop"] == "box"

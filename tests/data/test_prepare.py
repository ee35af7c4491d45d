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

from lineament.data.images import read_image, write_image
from lineament.data.registry import open_data, open_source
from lineament.data.sample import FaceSource
from lineament.errors import DataError, LineamentError, UsageError
from lineament.faces.crops import named_crop
from lineament.faces.detection import Detection, register_detector
from lineament.faces.keypoints import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme
from lineament.geometry.similarity import Similarity
from lineament.pipeline import prepare as module
from lineament.pipeline.prepare import PrepareOptions, crop_files, prepare

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
OPTIONS = PrepareOptions(detector="bright-spots", size=32)


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
    assert (report.photographs, report.crops, report.skipped) == (5, 3, 0)
    listed = left_out(out)
    assert listed["none.png"] == "no face found"
    assert listed["torn.jpg"].startswith("unreadable: ") and "torn.jpg" in listed["torn.jpg"]
    assert "1 no face found" in report.summary() and "1 unreadable" in report.summary()
    rows = pq.read_table(out / "index.parquet").to_pylist()
    assert [row["file"] for row in rows] == ["crops/one.png", "crops/sub/one.png", "crops/two.png"]
    assert rows[1]["photo"] == str(photos / "sub" / "one.png") and rows[1]["photo_width"] == 140
    assert all(read_image(out / row["file"]).shape == (3, 32, 32) for row in rows)
    assert not list(out.rglob(".writing*"))


def test_transforms_lead_back_to_the_photograph(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(open_source("folder", photos), out, PrepareOptions(detector="bright-spots", size=64, by="box"))
    crops = open_data(out)
    assert isinstance(crops, FaceSource) and len(crops) == 3
    sample = crops[0]
    to_photo = Similarity(torch.tensor(sample.meta["crop_to_photo"]))
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
    photo(photos / "two_2.png", (60, 60))
    source = open_source("folder", photos)
    rows = PrepareOptions(detector="bright-spots", size=16, faces="all")
    assert prepare(source, tmp_path / "all", rows).crops == 5
    files = {p.relative_to(tmp_path / "all").as_posix() for p in (tmp_path / "all" / "crops").rglob("*.png")}
    assert {"crops/two.png", "crops/two__2.png", "crops/two_2.png"} <= files and len(files) == 5
    with pytest.raises(DataError, match=r"no face of .* could be cut out: 6 photographs"):
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
        to_photo = Similarity(torch.tensor(sample.meta["crop_to_photo"]))
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
    options = PrepareOptions(detector="bright-spots", size=24, crop=crop, suffix=".jpg")
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
    assert report.crops == 29 and report.left_out == {"P029": "no face found"}
    people = {
        split: {s.identity for s in open_source("crops", tmp_path / "out", split=split)}
        for split in ("train", "val")
    }
    assert len(people["train"] | people["val"]) == 29 and not people["train"] & people["val"]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_an_interrupted_run_goes_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole"
    prepare(open_source("folder", photos), whole, OPTIONS)
    monkeypatch.setattr(module, "CHUNK", 1)
    out = tmp_path / "out"
    writes = 0

    def write_twice(path: Path, image: torch.Tensor) -> Path:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise Killed
        return write_image(path, image)

    monkeypatch.setattr(module, "write_image", write_twice)
    with pytest.raises(Killed):
        prepare(open_source("folder", photos), out, OPTIONS)
    assert not (out / "index.parquet").exists()
    # A kill can also cut the last line of the journal short.
    with (out / "journal.jsonl").open("a") as file:
        file.write('{"photo": "sub/one.png", "ro')
    report = prepare(open_source("folder", photos), out, OPTIONS)
    assert report.skipped == 2 and report.crops == 3
    for name in ("index.parquet", "left_out.csv", "crops/sub/one.png", "crops/two.png"):
        first, second = (folder / name for folder in (whole, out))
        if name.endswith("parquet"):
            assert pq.read_table(first).to_pylist() == pq.read_table(second).to_pylist()
        else:
            assert first.read_bytes() == second.read_bytes()


def test_a_second_run_does_nothing_and_new_photos_are_added(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(open_source("folder", photos), out, OPTIONS)
    times = {path: path.stat().st_mtime_ns for path in (out / "crops").rglob("*.png")}
    assert prepare(open_source("folder", photos), out, OPTIONS).skipped == 5
    assert times == {path: path.stat().st_mtime_ns for path in (out / "crops").rglob("*.png")}
    photo(photos / "zoe.png", (55, 55))
    (out / "crops" / "one.png").unlink()
    report = prepare(open_source("folder", photos), out, OPTIONS)
    assert (report.skipped, report.crops) == (4, 4) and (out / "crops" / "one.png").exists()


def test_other_settings_and_foreign_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    source = open_source("folder", photos)
    out = tmp_path / "out"
    prepare(source, out, OPTIONS)
    before = (out / "index.parquet").read_bytes()
    other = PrepareOptions(detector="bright-spots", size=16)
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


def test_no_two_crops_share_a_file() -> None:
    names = ["a.png", "A.jpg", "b/c.jpg", "b/c.png", "d.e.png", "plain"]
    files = crop_files(names, ".png")
    assert len({file.casefold() for file in files}) == len(names)
    assert files[4:] == ["crops/d.e.png", "crops/plain.png"] and files[2] == "crops/b/c_jpg.png"


def test_foreign_indices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "index.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(DataError, match=r"index\.parquet cannot be read as an index of crops"):
        open_source("crops", tmp_path)


def test_mtcnn_cuts_real_portraits(packs: Path, tmp_path: Path) -> None:
    from lineament.data.subset import Subset

    source = Subset(open_source("portraits", packs / "congress_portraits_gray"), range(6), "six")
    report = prepare(source, tmp_path / "out", PrepareOptions(detect=True, size=48))
    assert report.crops >= 5
    for sample in open_source("crops", tmp_path / "out"):
        eyes = np.array(sample.meta["detected_points"])[:2]
        # The eyes of a face in a crop of its box lie in the upper half, left and right of the middle.
        assert (eyes[:, 1] < 26).all() and eyes[0, 0] < 24 < eyes[1, 0]
    assert json.loads((tmp_path / "out" / "journal.jsonl").read_text().splitlines()[0])["crop"] == "box"

"""CelebA, MAFL, 300-W, AFLW_M and AFLW_R, each from a small tree in its true format."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trees

from lineament.data.registry import open_source
from lineament.errors import DataError, UsageError


def test_celeba_splits_leave_mafl_out(tmp_path: Path) -> None:
    points = trees.make_celeba(tmp_path)
    train = open_source("celeba", tmp_path, subset=True)
    val = open_source("celeba", tmp_path, split="val", subset=True)
    # Partition 0 is 0, 3, 6 ...; 0 is MAFL. Partition 2 is 2, 5, 8 ...; 2 and 5 are MAFL.
    assert [sample.id for sample in train] == [f"{i + 1:06d}.jpg" for i in range(3, 30, 3)]
    assert [sample.id for sample in val] == [f"{i + 1:06d}.jpg" for i in range(8, 30, 3)]
    sample = train[0]
    assert sample.image.shape == (3, 218, 178) and sample.scheme == "5"
    assert torch.equal(sample.landmarks, torch.from_numpy(points[3]).float())
    assert len(open_source("celeba", tmp_path, split="all", subset=True)) == 30
    assert sample.identity is None


def test_celeba_identities_are_optional(tmp_path: Path) -> None:
    trees.make_celeba(tmp_path)
    (tmp_path / "Anno" / "identity_CelebA.txt").write_text(
        "".join(f"{i + 1:06d}.jpg {i // 2}\n" for i in range(30))
    )
    assert open_source("celeba", tmp_path, subset=True)[0].identity == "1"


def test_mafl_lists_its_own_pictures(tmp_path: Path) -> None:
    trees.make_celeba(tmp_path)
    assert [s.id for s in open_source("mafl", tmp_path, subset=True)] == ["000001.jpg", "000003.jpg"]
    assert [s.id for s in open_source("mafl", tmp_path, split="test", subset=True)] == ["000006.jpg"]
    (tmp_path / "MAFL" / "testing.txt").write_text("999999.jpg\n")
    with pytest.raises(DataError, match=r"no landmarks of 999999\.jpg"):
        open_source("mafl", tmp_path, split="test", subset=True)


def test_celeba_from_the_zip_it_comes_in(tmp_path: Path) -> None:
    trees.make_celeba(tmp_path)
    plain = open_source("celeba", tmp_path, subset=True)
    folder = tmp_path / "Img" / "img_align_celeba_hq"
    with zipfile.ZipFile(tmp_path / "Img" / "img_align_celeba.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
    zipped = open_source("celeba", tmp_path, images="standard", subset=True)
    assert torch.equal(zipped[3].image, plain[3].image)
    shutil.rmtree(folder)
    assert len(open_source("celeba", tmp_path, subset=True)) == len(plain)
    with pytest.raises(UsageError, match="did you mean 'standard'"):
        open_source("celeba", tmp_path, images="standart", subset=True)


def test_300w_reads_points_and_boxes_from_zero(tmp_path: Path) -> None:
    written = trees.make_300w(tmp_path)
    train = open_source("300w", tmp_path, subset=True)
    assert [s.id.rpartition("/")[0] for s in train] == ["afw"] * 2 + ["helen/trainset"] * 2 + [
        "lfpw/trainset"
    ] * 2
    for sample in train:
        assert np.allclose(sample.landmarks.numpy(), written[sample.id] - 1, atol=1e-4)
        # The box 5..95, 8..92 of pixels counted from 1 spans 91 x 85 pixels.
        assert sample.box.tolist() == [3.5, 6.5, 94.5, 91.5] and sample.scheme == "68"


def test_300w_test_leaves_other_ibug_pictures_out(tmp_path: Path) -> None:
    trees.make_300w(tmp_path / "300w")
    assert len(open_source("300w", tmp_path, split="test", subset=True)) == 6
    assert [s.id for s in open_source("300w", tmp_path, split="challenging", subset=True)] == [
        "ibug/image_000.jpg",
        "ibug/image_001.jpg",
    ]


def test_300w_bad_points_make_a_bad_sample_not_a_bad_set(tmp_path: Path) -> None:
    trees.make_300w(tmp_path)
    points = tmp_path / "afw" / "image_000.pts"

    def text(values: np.ndarray, said: int | None = None) -> str:
        rows = "".join(f"{x} {y}\n" for x, y in values)
        return f"version: 1\nn_points: {said or len(values)}\n{{\n{rows}}}\n"

    for content, expected in (
        (text(np.full((68, 2), np.nan)), "missing or not a number"),
        (text(np.ones((67, 2))), "67 points"),
        (text(np.full((68, 2), 500.0)), "all landmarks lie outside"),
        (text(np.ones((68, 2)), said=70), "n_points says 70"),
        ("hello", "between"),
        (text(np.ones((68, 2))).replace("1.0 1.0", "1.0 one", 1), "not a number"),
    ):
        points.write_text(content)
        source = open_source("300w", tmp_path, subset=True)
        with pytest.raises(DataError, match=rf"afw/image_000\.jpg.*{expected}"):
            source[0]
        assert source[1].landmarks is not None
    points.unlink()
    with pytest.raises(DataError, match="cannot read"):
        open_source("300w", tmp_path, subset=True)[0]


def test_aflw_m_points_from_zero(tmp_path: Path) -> None:
    train, test = trees.make_aflw_m(tmp_path)
    source = open_source("aflw-m", tmp_path, subset=True)
    assert [s.id for s in source] == [f"aflw_cropped/crop{i}.jpg" for i in range(4)]
    for i, sample in enumerate(source):
        assert np.allclose(sample.landmarks.numpy(), train[i] - 1, atol=1e-4)
    held_out = open_source("aflw-m", tmp_path, split="test", subset=True)
    assert held_out[0].id == "MTFL/AFLW/0001-image30000.jpg"
    assert np.allclose(held_out[2].landmarks.numpy(), test[2] - 1, atol=1e-4)


def test_aflw_m_refuses_training_on_test_pictures(tmp_path: Path) -> None:
    trees.make_aflw_m(tmp_path)
    index = tmp_path / "aflw_cropped" / "facedata_cropped.csv"
    index.write_text(index.read_text().replace("image20001.jpg", "image30001.jpg"))
    with pytest.raises(DataError, match=r"image30001\.jpg is a training and a test image"):
        open_source("aflw-m", tmp_path, subset=True)


def test_aflw_r_swaps_y_and_x(tmp_path: Path) -> None:
    points = trees.make_aflw_r(tmp_path / "aflw_release-2")
    source = open_source("aflw-r", tmp_path, subset=True)
    assert np.allclose(source[7].landmarks.numpy(), points[7][:, ::-1], atol=1e-4)
    assert source[7].meta["published_size"] == (80, 70)
    ids = [s.id for s in source]
    assert [s.id for s in open_source("aflw-r", tmp_path, split="train-part", subset=True)] == ids[:18]
    assert [s.id for s in open_source("aflw-r", tmp_path, split="minival", subset=True)] == ids[18:]
    assert len(open_source("aflw-r", tmp_path, split="test", subset=True)) == 3


Make = Callable[[Path], object]
SETS: list[tuple[str, Make, list[str]]] = [
    (
        "celeba",
        trees.make_celeba,
        [
            "Img",
            "Img/img_align_celeba_hq",
            "Anno/list_landmarks_align_celeba.txt",
            "Eval/list_eval_partition.txt",
            "MAFL/testing.txt",
        ],
    ),
    ("mafl", trees.make_celeba, ["MAFL/training.txt", "Anno/list_landmarks_align_celeba.txt"]),
    ("300w", trees.make_300w, ["Bounding Boxes/bounding_boxes_afw.mat", "lfpw/trainset"]),
    ("aflw-m", trees.make_aflw_m, ["aflw_cropped/facedata_cropped.csv", "MTFL/testing.txt"]),
    ("aflw-r", trees.make_aflw_r, ["output", "aflw_train_images.txt", "aflw_train_keypoints.mat"]),
]


@pytest.mark.parametrize(("name", "make", "parts"), SETS, ids=[entry[0] for entry in SETS])
def test_missing_parts_are_named_with_their_origin(
    tmp_path: Path, name: str, make: Make, parts: list[str]
) -> None:
    make(tmp_path)
    for part in parts:
        (tmp_path / part).rename(tmp_path / "away")
        with pytest.raises(DataError) as caught:
            open_source(name, tmp_path, subset=True)
        assert part in str(caught.value) and "http" in str(caught.value)
        (tmp_path / "away").rename(tmp_path / part)
    assert open_source(name, tmp_path, subset=True)[0].landmarks is not None


@pytest.mark.parametrize(("name", "make", "parts"), SETS, ids=[entry[0] for entry in SETS])
def test_other_counts_than_published_need_a_word(
    tmp_path: Path, name: str, make: Make, parts: list[str]
) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=r"published data set has .*subset=true"):
        open_source(name, tmp_path)


@pytest.mark.parametrize(("name", "make", "parts"), SETS, ids=[entry[0] for entry in SETS])
def test_damaged_label_files_are_named(tmp_path: Path, name: str, make: Make, parts: list[str]) -> None:
    make(tmp_path)
    labels = [part for part in parts if part.endswith((".txt", ".mat", ".csv"))]
    for part in labels:
        whole = (tmp_path / part).read_bytes()
        (tmp_path / part).write_bytes(b"\xff\xfe\x00 not what it was\n" * 4)
        with pytest.raises(DataError) as caught:
            open_source(name, tmp_path, subset=True)
        assert Path(part).name in str(caught.value)
        (tmp_path / part).write_bytes(whole)


@pytest.mark.parametrize(("name", "make", "parts"), SETS, ids=[entry[0] for entry in SETS])
def test_fingerprints_follow_labels_and_pictures(
    tmp_path: Path, name: str, make: Make, parts: list[str]
) -> None:
    make(tmp_path)
    first = open_source(name, tmp_path, subset=True)
    again = open_source(name, tmp_path, subset=True)
    assert first.fingerprint == again.fingerprint
    with first[0].path.open("ab") as file:
        file.write(b"x")
    changed = open_source(name, tmp_path, subset=True)
    assert changed.fingerprint != first.fingerprint
    (tmp_path / "reject.txt").write_text(f"{first[0].id}\t# ugly\n")
    fewer = open_source(name, tmp_path, subset=True)
    assert len(fewer) == len(first) - 1 and fewer[0].id == first[1].id
    assert fewer.fingerprint != changed.fingerprint

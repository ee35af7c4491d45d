"""`lineament data list | check | prepare` at the command line."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from lineament.cli.main import main
from lineament.data.registry import open_data
from lineament.errors import DataError
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.prepare.options import PrepareOptions


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "torn.png").write_bytes(b"torn")
    return folder


def test_list_names_every_reader(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    for name in ("folder", "synthetic", "portraits", "crops", "celeba", "mafl", "300w", "aflw-m", "aflw-r"):
        assert f"\n{name} " in "\n" + shown
    assert main(["data", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"name", "summary", "splits", "options", "where"} == set(entries[0])


def test_check_writes_a_list_and_says_where(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(photos)]) == 0
    shown = capsys.readouterr().out
    assert "4 samples, 1 unusable" in shown and str(photos / "reject.json") in shown and "torn.png" in shown
    assert list(json.loads((photos / "reject.json").read_text())["rejects"]) == ["torn.png"]
    assert main(["data", "check", "folder", str(photos)]) == 0
    assert main(["data", "check", "folder", str(photos), "--out", str(photos.parent / "list.txt")]) == 0
    assert "torn.png\t" in (photos.parent / "list.txt").read_text()


def test_prepare_says_what_it_could_not_do(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "crops"
    assert main(["data", "prepare", "folder", str(photos), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert "no face of" in error and "left_out.csv" in error and "Traceback" not in error
    assert (out / "left_out.csv").read_text().count("no face found") == 3
    assert not (out / "index.parquet").exists()


def test_prepare_uses_the_boxes_of_a_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (60, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pack / f"{i}.png")
    (pack / "index.csv").write_text(
        "id,face_x,face_y,face_w,face_h\n" + "".join(f"{i},5,6,30,30\n" for i in range(3))
    )
    arguments = ["data", "prepare", "portraits", str(pack), "--out", str(tmp_path / "out"), "--size", "24"]
    assert main(arguments) == 0
    assert f"wrote 3 crops of 3 photos to {tmp_path / 'out'}" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "3 photos were done before" in capsys.readouterr().out
    assert main([*arguments, "--crop", "dve-celeba"]) == 1
    assert "prepared with other settings" in capsys.readouterr().err
    assert main([*arguments, "--crop", "dve-celeba", "--overwrite"]) == 0
    with tarfile.open(tmp_path / "out" / "shards" / "shard-00000.tar") as shard:
        assert shard.getnames() == ["0.webp", "1.webp", "2.webp"]
        assert Image.open(shard.extractfile("0.webp")).size == (24, 24)
    assert main(["data", "check", str(tmp_path / "out")]) == 0
    assert "3 samples, 0 unusable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["data", "check", "/no/such/folder"], 1, "/no/such/folder"),
        (["data", "check", "celebs", "."], 2, "did you mean 'celeba'"),
        (["data", "check", "celeba", "{photos}"], 1, "mmlab.ie.cuhk.edu.hk"),
        (["data", "check", "{photos}", "--split", "tran"], 2, "did you mean 'train'"),
        (["data", "check", "{photos}", "--out", "list.xml"], 2, ".json or .txt"),
        (["data", "check", "{photos}", "--workers", "0"], 2, "--workers"),
        (["data", "check", "{photos}", "--colour"], 2, ""),
        (["data", "prepare", "folder", "{photos}", "--out", "{photos}/crops"], 2, "lies inside"),
        (["data", "prepare", "folder", "{photos}", "--out", "{out}", "--crop", "bax"], 2, "unknown crop"),
        (
            ["data", "prepare", "folder", "{photos}", "--out", "{out}", "--detector", "x"],
            2,
            "unknown detector",
        ),
        (["data", "prepare", "folder", "{photos}", "--out", "{out}", "--size", "0"], 2, "must be positive"),
        (["data", "prepare", "folder", "{photos}", "--out", "{out}", "--min-score", "2"], 2, "0..1"),
        (["data", "prepare", "3dfaw", "{photos}", "--out", "{out}", "--min-score", "0.8"], 2, "--min-score"),
        (["data", "prepare", "3dfaw", "{photos}", "--out", "{out}", "--upright", "off"], 2, "--upright"),
        (["data", "prepare", "3dfaw", "{photos}", "--out", "{out}", "--split", "val"], 2, "--split"),
        (["data", "prepare", "folder", "{photos}/none", "--out", "{out}"], 1, "there is no"),
        (["data", "prepare", "folder", "{photos}/torn.png", "--out", "{out}"], 1, "could be cut out"),
    ],
)
def test_wrong_words_are_one_sentence(
    photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, expected: str
) -> None:
    out = photos.parent / "out"
    given = [word.format(photos=photos, out=out) for word in arguments]
    assert main(given) == code
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error
    assert not (out / "index.parquet").exists()


def test_what_the_verbs_drew_is_no_photograph(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lineament.data.images import is_result, list_images
    from lineament.data.video import list_videos

    (photos / "torn.png").unlink()
    drawn = (
        *("0.png.faces.png", "0.png.landmarks.png", "0.png.landmarks.tiles.png", "0-1.match.png"),
        *("0-photos.matches.png", "0-photos.matches-2.png", "0.png.turn.png", "0.png.turn.gif"),
        *("0.png.onto.png", "0.png.depth.png"),
    )
    for name in drawn:
        (photos / name).write_bytes((photos / "0.png").read_bytes())
        assert is_result(photos / name)
    for name in ("clip.mp4.landmarks.mp4", "0.png.turn.mp4", "holiday.mp4"):
        (photos / name).write_bytes(b"film")
    assert [path.name for path in list_images(photos)] == ["0.png", "1.png", "2.png"]
    assert [path.name for path in list_videos(photos)] == ["holiday.mp4"]
    assert main(["data", "check", str(photos)]) == 0
    assert "3 samples, 0 unusable" in capsys.readouterr().out
    assert main(["data", "prepare", "folder", str(photos), "--out", str(photos.with_name("crops"))]) in (0, 1)
    left_out = photos.with_name("crops") / "left_out.csv"
    assert not left_out.exists() or not any(name in left_out.read_text() for name in drawn)
    for name in ("0.png", "1.png", "2.png"):
        (photos / name).unlink()
    with pytest.raises(DataError, match="only images that earlier runs drew"):
        list_images(photos)


def test_every_option_of_prepare_is_refused_for_3dfaw_or_used() -> None:
    """Whatever is added to the options of cutting is refused where nothing is cut."""
    values = {
        "margins": ("0.1", "0.1"),
        "by": ("box",),
        "faces": ("all",),
        "upright": ("off",),
        "format": ("jpg",),
    }
    for name, value in vars(PrepareOptions()).items():
        flag = "--" + name.replace("_", "-")
        words = (
            [flag]
            if value is False
            else [flag, *values.get(name, ("lbp",) if name == "detector" else ("7",))]
        )
        if name == "crop":
            words = [flag, "dve-celeba"]
        elif name == "min_score":
            words = [flag, "0.9"]
        elif name == "around":
            words = [flag, "1"]
        base = ["data", "prepare", "3dfaw", ".", "--out", "/nowhere/out"]
        extra = ["--crop", "fabrec"] if name == "margins" else []
        assert main([*base, *words, *extra]) == 2, flag


def test_prepare_turns_faces_upright(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    face = Image.fromarray(data.astronaut()).crop((120, 20, 320, 220))
    for turn in (0, 90, 180, 270):
        face.rotate(turn, expand=True).save(photos / f"{turn:03}.png")
    out = tmp_path / "out"
    words = ["data", "prepare", "folder", str(photos), "--out", str(out), "--size", "64", "--crop", "ffhq"]
    assert main(words) == 0
    samples = list(open_data(out))
    assert [sample.meta["turn"] for sample in samples] == [0, 270, 180, 90]
    upright = samples[0]
    for sample, turn in zip(samples, (0, 90, 180, 270), strict=True):
        # The same crop but for the resampling, and the transform leads to the same pixel of the photograph as it lies.
        assert float((sample.image - upright.image).abs().mean()) < 0.01
        to_photo = Affine2D(torch.tensor(sample.meta["crop_to_photo"]))
        back = Affine2D.quarter_turn(turn, (200, 200)).inverse()
        corners = torch.tensor([[0.0, 0.0], [63, 0], [63, 63], [0, 63]], dtype=torch.float64)
        expected = Affine2D(torch.tensor(upright.meta["crop_to_photo"])).apply(corners)
        torch.testing.assert_close(back.apply(to_photo.apply(corners)), expected, atol=0.05, rtol=0)
    assert main([*words, "--upright", "off"]) == 1, "prepared with other settings"

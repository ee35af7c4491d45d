"""Folders of synthetic faces: what is written is what was drawn, and a kill costs at most a few pictures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lineament.cli.main import main
from lineament.data.registry import open_data, open_source
from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError
from lineament.synthetic import dataset
from lineament.synthetic.dataset import INDEX, write_faces
from lineament.synthetic.folder import SyntheticFolder
from lineament.synthetic.world import TRUTHS, World

WORLD = World(seed=5, size=32, truth=TRUTHS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faces") / "drawn"
    assert write_faces(out, WORLD, 6, workers=1) == 6
    return out


def test_round_trip(folder: Path) -> None:
    read, drawn = SyntheticFolder(folder), WORLD.source(6)
    assert isinstance(read, FaceSource)
    assert len(read) == 6 and read.name == drawn.name
    for index in range(6):
        one, other = read[index], drawn[index]
        for name in ("image", "landmarks", "visibility", "box", "pose", "depth", "mask", "identity_coefficients",
                     "expression_coefficients"):  # fmt: skip
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-6)
        torch.testing.assert_close(one.correspondence, other.correspondence, equal_nan=True)
        assert one.normals is not None and other.normals is not None
        torch.testing.assert_close(one.normals, other.normals, rtol=0, atol=0.02)
        assert one.camera is not None and other.camera is not None
        torch.testing.assert_close(one.camera.intrinsics, other.camera.intrinsics)
        torch.testing.assert_close(one.camera.world_to_camera, other.camera.world_to_camera)
        assert (
            one.identity == other.identity and one.scheme == "68" and one.meta["mood"] == other.meta["mood"]
        )
        np.testing.assert_allclose(
            one.meta["light"]["harmonics"], other.meta["light"]["harmonics"], rtol=1e-5
        )


def test_index_names_its_reader(folder: Path) -> None:
    metadata = pq.read_schema(folder / INDEX).metadata
    assert metadata[b"lineament.reader"] == b"synthetic"
    assert json.loads(metadata[b"lineament.world"])["seed"] == 5
    assert not (folder / "rows").exists()


def test_a_larger_count_adds_and_the_same_does_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    write_faces(out, WORLD, 3, workers=1)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert write_faces(out, WORLD, 3, workers=1) == 0
    seen: list[int] = []
    assert write_faces(out, WORLD, 6, workers=1, advance=seen.append) == 3
    assert sum(seen) == 6
    after = {path.name: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert all(after[name] == stamp for name, stamp in before.items())
    assert pq.read_table(out / INDEX).equals(pq.read_table(folder / INDEX))
    assert write_faces(out, WORLD, 2, workers=1) == 0 and len(SyntheticFolder(out)) == 6


def test_pictures_drawn_by_processes_that_run_already_are_the_same(folder: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert write_faces(tmp_path / "faces", WORLD, 6, submit=pool.submit) == 6
    assert pq.read_table(tmp_path / "faces" / INDEX).equals(pq.read_table(folder / INDEX))
    for path in (folder / "images").iterdir():
        assert (tmp_path / "faces" / "images" / path.name).read_bytes() == path.read_bytes()


def test_another_world_needs_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "faces"
    write_faces(out, World(seed=1, size=16), 2, workers=1)
    with pytest.raises(UsageError, match="seed 1 there, 2 asked"):
        write_faces(out, World(seed=2, size=16), 2, workers=1)
    write_faces(out, World(seed=2, size=16), 1, workers=1, overwrite=True)
    assert SyntheticFolder(out).world["seed"] == 2
    assert len(list((out / "images").iterdir())) == 1


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_faces(tmp_path, World(size=16), 1, workers=1, overwrite=True)
    assert (tmp_path / "holiday.txt").read_text() == "mine"
    with pytest.raises(DataError, match=r"index\.parquet"):
        SyntheticFolder(tmp_path)
    (tmp_path / INDEX).write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="cannot read"):
        SyntheticFolder(tmp_path)


def test_damaged_truth_is_named(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces"
    write_faces(out, World(size=16, truth=("depth",)), 1, workers=1)
    (out / "truth" / "0000000.npz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"0000000\.npz"):
        SyntheticFolder(out)[0]


def test_goes_on_after_sigkill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, count = tmp_path / "faces", 60
    script = (
        "from pathlib import Path; from lineament.synthetic import dataset as d; d.CHUNK = 5;"
        f"d.write_faces(Path({str(out)!r}), d.World(seed=9, size=16), {count}, workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while (
        len(list((out / "rows").glob("[0-9]*.parquet"))) < 2
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for read in (open_data, lambda place: open_source("folder", place)):
        with pytest.raises(DataError, match=r"is unfinished: `lineament data synth` was interrupted: repeat"):
            read(out)
    monkeypatch.setattr(dataset, "CHUNK", 5)
    drawn = write_faces(out, World(seed=9, size=16), count, workers=1)
    assert 0 < drawn <= count - 10, "the finished chunks are kept"
    assert isinstance(open_data(out), SyntheticFolder)
    read, fresh = SyntheticFolder(out), World(seed=9, size=16).source(count)
    assert len(read) == count
    for index in range(0, count, 7):
        assert torch.equal(read[index].image, fresh[index].image)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "faces"
    words = ["data", "synth", "--count", "3", "--size", "16", "--workers", "1", "--out", str(out)]
    assert main([*words, "--truth", "depth,mask", "--sheet"]) == 0
    assert str(out) in capsys.readouterr().out
    assert (out / "contact_sheet.jpg").is_file()
    sample = SyntheticFolder(out)[0]
    assert sample.depth is not None and sample.mask is not None and sample.normals is None
    assert main([*words, "--truth", "deep"]) == 2
    assert "depth" in capsys.readouterr().err
    assert main([*words, "--seed", "4"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words[:2], "--count", "0", "--out", str(tmp_path / "none")]) == 2
    assert main([*words[:2], "--head", "ict", "--packs", str(tmp_path), "--out", str(tmp_path / "none")]) == 1
    assert not (tmp_path / "none").exists()
    assert main([*words[:2], "--max-yaw", "400", "--out", str(tmp_path / "none")]) == 2


def test_two_processes_write_what_one_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "CHUNK", 3)
    out = tmp_path / "faces"
    write_faces(out, WORLD, 6, workers=2)
    assert pq.read_table(out / INDEX).equals(pq.read_table(folder / INDEX))
    for path in sorted((folder / "images").iterdir()):
        assert path.read_bytes() == (out / "images" / path.name).read_bytes()

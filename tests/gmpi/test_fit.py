"""Multiplane images fitted to views: `lineament gmpi fit`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lineament.cli.main import main
from lineament.errors import DataError
from lineament.geometry.multiplane import SphereCameras
from lineament.methods.gmpi import fitting
from lineament.methods.gmpi.fitting import FitSettings, MultiplaneFit
from lineament.pipeline.gmpi import fit as pipeline
from lineament.pipeline.gmpi.fit_views import draw_views, read_views
from lineament.report.multiplane_files import read_multiplane
from lineament.synthetic.head_scan import read_head_scan

SIDE, VIEWS = 16, 9
CAMERAS = SphereCameras(math.radians(12.6), 1.0, 1.0, (-0.6, 0.6), (-0.3, 0.3))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball of radius 1.5 about (-0.134, 1.5, 0), in the units of a head scan, chequered."""
    folder = tmp_path_factory.mktemp("scan")
    rows, columns = 48, 64
    down, around = np.meshgrid(
        np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, columns + 1), indexing="ij"
    )
    ball = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], -1)
    vertices = 1.5 * ball.reshape(-1, 3) + np.array([-0.134, 1.5, 0.0])
    first = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    below = first + columns + 1
    faces = np.concatenate(
        [np.stack([first, below, below + 1], 1), np.stack([first, below + 1, first + 1], 1)]
    )
    uv = np.stack([around / (2 * np.pi), 1 - down / np.pi], -1).reshape(-1, 2)
    faces = faces.astype(np.int32)
    np.savez(
        folder / "head.npz",
        vertices=vertices.astype(np.float32),
        faces=faces,
        uv=uv.astype(np.float32),
        faces_uv=faces,
    )
    chequered = (np.indices((64, 64)) // 8).sum(0) % 2 * 120 + 100
    Image.fromarray(np.repeat(chequered[..., None], 3, 2).astype(np.uint8)).save(folder / "albedo.png")
    return folder


@pytest.fixture(scope="module")
def views(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_views(scan, tmp_path_factory.mktemp("views") / "views", VIEWS, SIDE, 0)


def words(source: Path, out: Path, *more: str) -> list[str]:
    return ["gmpi", "fit", str(source), "--out", str(out), "--planes", "8", "--steps", "60", *more]


def test_a_scan_is_seen_where_it_is(scan: Path):
    seen = read_head_scan(scan, CAMERAS).see(CAMERAS, torch.tensor([0.0, 0.5]), torch.zeros(2), 33)
    # Lengths of the world for one of the scan, which spans 2 x 2.382 across.
    unit = math.tan(CAMERAS.fov / 2) / 2.382
    # The crop's middle lies in the middle of the ball, at the eyes' depth of 1.939 before it.
    assert float(seen.depth[0, 16, 16]) == pytest.approx(1 + (1.939 - 1.5) * unit, abs=2e-4)
    share = float(seen.mask[0].float().mean())
    smaller = 1 / (1 + 1.939 * unit)
    # Pixels that the outline cuts do not count.
    assert share == pytest.approx(math.pi * (1.5 * smaller) ** 2 / (2 * 2.382) ** 2, abs=0.03)
    # Seen from the right, what lies behind the centre is seen on the right.
    columns = seen.mask[1].nonzero()[:, 1].float()
    assert float(columns.mean()) > 17


def test_held_back_views_are_shown(views: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(words(views, tmp_path / "out", "--steps", "150")) == 0
    facts = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert len(facts["held_back"]) == 3 and facts["fitted"] == 6
    assert facts["psnr_mask"] > 22 and facts["depth_error"] < 0.01
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "fitted.mpi.npz", "fitted.mpi", "fitted.html", "held-back.png", "fit.json"
    }  # fmt: skip
    image = read_multiplane(tmp_path / "out" / "fitted.mpi.npz")
    assert image.alpha.shape == (8, SIDE, SIDE) and bool((image.alpha[-1] == 1).all())
    given = read_views(views)
    yaw, pitch = image.cameras.middle
    image.render(torch.tensor([yaw]), torch.tensor([pitch]))
    assert image.cameras.yaw_limits == given.scene.poses.yaw_range
    capsys.readouterr()
    assert main(words(views, tmp_path / "out", "--steps", "150")) == 0
    assert "done before" in capsys.readouterr().out
    assert main(words(views, tmp_path / "out", "--steps", "10")) == 2
    assert "steps 150, now 10" in capsys.readouterr().err


def test_fitting_goes_on_where_it_stopped(views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert main(words(views, tmp_path / "whole")) == 0
    step = MultiplaneFit.advance

    def stopping(self: MultiplaneFit) -> float:
        if self.step == 40:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(MultiplaneFit, "advance", stopping)
    main(words(views, tmp_path / "parts"))
    assert (tmp_path / "parts" / pipeline.STATE_NAME).is_file()
    assert main(words(views, tmp_path / "parts", "--planes", "9")) == 2
    monkeypatch.setattr(MultiplaneFit, "advance", step)
    assert main(words(views, tmp_path / "parts")) == 0
    assert not (tmp_path / "parts" / pipeline.STATE_NAME).exists()
    whole, parts = (read_multiplane(tmp_path / name / "fitted.mpi.npz") for name in ("whole", "parts"))
    torch.testing.assert_close(parts.alpha, whole.alpha, atol=0, rtol=0)
    torch.testing.assert_close(parts.colour, whole.colour, atol=0, rtol=0)


def test_levels_go_from_few_texels_to_all(views: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fitting, "_LEAST_SIDE", 4)
    given = read_views(views, held_back=0)
    fit = MultiplaneFit(given.views, given.scene, FitSettings(planes=4, steps=20, batch=3))
    sides = []
    while not fit.done:
        fit.advance()
        sides.append(fit.side)
    assert sides == [4] * 9 + [8] * 6 + [16] * 5
    # Each view is seen once before any is seen again.
    fit.step = 0
    seen = []
    for fit.step in range(3):
        seen += fit._chosen()
    assert sorted(seen) == list(range(VIEWS))


def test_a_scan_is_drawn_and_fitted(scan: Path, tmp_path: Path):
    more = ["--views", "6", "--held-back", "2", "--resolution", str(SIDE), "--steps", "5"]
    assert main(words(scan, tmp_path, *more)) == 0
    facts = json.loads((tmp_path / "fit.json").read_text())
    assert facts["fitted"] == 4 and facts["psnr_mask"] > 5
    assert len(list(tmp_path.glob("views-6-16-0/*.png"))) == 6


def test_wrong_input_is_told_in_a_sentence(
    views: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    empty, plain, wide = (tmp_path / name for name in ("empty", "plain", "wide"))
    for folder in (empty, plain, wide):
        folder.mkdir()
    grey = np.full((16, 16, 3), 99, np.uint8)
    Image.fromarray(grey).save(plain / "a.png")
    Image.fromarray(grey[:, :12]).save(wide / "view0000.png")
    scan_only = tmp_path / "scan"
    scan_only.mkdir()
    (scan_only / "head.npz").write_bytes((scan / "head.npz").read_bytes())
    for source, more, told in (
        (empty, [], "no image in"),
        (tmp_path / "none", [], "is no folder"),
        (plain, [], "no dataset.json"),
        (plain, ["--pose", str(views / "dataset.json")], "has no pose of 1 of the 1 images"),
        (wide, ["--pose", str(views), "--held-back", "0"], "leaves fewer than 2"),
        (scan_only, [], "no albedo map"),
        (views, ["--held-back", "8"], "leaves fewer than 2"),
        (views, ["--steps", "0"], "--steps must lie"),
        (views, ["--resolution", "64"], "--resolution must lie"),
        (views, ["--near", "3"], "0 < near < far"),
    ):
        assert main(words(source, tmp_path / "out", *more)) in (1, 2)
        error = capsys.readouterr().err
        assert told in error and "Traceback" not in error
    assert not (tmp_path / "out" / "fit.json").exists()
    (scan_only / "albedo.png").write_bytes((scan / "albedo.png").read_bytes())
    (scan_only / "head.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match="cannot be read as the scan of a head"):
        read_head_scan(scan_only, CAMERAS)

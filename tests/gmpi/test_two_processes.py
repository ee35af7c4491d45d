"""Two processes (gloo) that share a batch learn what one process learns from the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.gmpi.shared_draws import REPLACED

from lineament.cli.main import main
from lineament.geometry.sphere_camera import camera_on_sphere, invert_rigid
from lineament.methods.gmpi.datasets import eg3d_labels
from lineament.methods.gmpi.pose_formats import write_dataset_json
from lineament.training.run import open_run

ROOT = Path(__file__).parents[2]
IMAGES = 6


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A training of four images a step, whose discriminator sees poses and whose gradients are clipped."""
    photos = tmp_path / "photos"
    photos.mkdir()
    generator = torch.Generator().manual_seed(0)
    cameras = camera_on_sphere(
        torch.linspace(-0.3, 0.3, IMAGES), torch.zeros(IMAGES), radius=1.0, centre_z=0.0
    )
    labels = eg3d_labels(invert_rigid(cameras.double()), centre_z=0.0, fov=0.22)
    for number in range(IMAGES):
        pixels = torch.randint(0, 256, (16, 16, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(photos / f"{number}.png")
    write_dataset_json(
        photos / "dataset.json", {f"{number}.png": row.tolist() for number, row in enumerate(labels)}
    )
    given = {
        "preset": "tiny",
        "data": photos,
        "pose": photos / "dataset.json",
        "batch-size": 4,
        "steps": 3,
        # With the large epsilon a small rate would hardly move anything.
        "learning-rate": 0.5,
        "clip": 0.5,
        "lights": "none",
        "device": "cpu",
        "checkpoint-every": 0,
    }
    return [
        "train",
        "gmpi-ffhq256",
        *(word for name, value in given.items() for word in (f"--{name}", str(value))),
    ]


def test_two_processes_learn_what_one_does(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "--", "tests.gmpi.shared_draws", *command, "--run", str(tmp_path / "two")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for place, name, value in REPLACED:
        monkeypatch.setattr(place, name, value)
    assert main([*command, "--run", str(tmp_path / "one")]) == 0
    one, two = (open_run(tmp_path / name) for name in ("one", "two"))
    for alone, together in zip(one.metrics("train"), two.metrics("train"), strict=True):
        assert alone.keys() == together.keys()
        for key in alone.keys() - {"kind"}:
            assert together[key] == pytest.approx(alone[key], rel=1e-4, abs=1e-6), key
    first, second = (run.read_checkpoint().groups for run in (one, two))
    for group in ("networks", "ema", "ema2"):
        assert first[group].keys() == second[group].keys()
        for key, value in first[group].items():
            # Each process follows the styles that it drew.
            if not key.endswith("w_avg"):
                torch.testing.assert_close(second[group][key], value, rtol=1e-4, atol=2e-6, msg=key)
    assert len(two.environment()) == 1 and two.environment()[0]["processes"] == 2

"""Training of GMPI from a folder: that it learns, resumes, takes a base and poses over, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lineament.cli.main import main
from lineament.data.sample import FaceSample
from lineament.errors import DataError, UsageError
from lineament.geometry.sphere_camera import angles_on_sphere, camera_on_sphere
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.figures import fixed_latents
from lineament.methods.gmpi.pose_labels import mirrored, on_scene, read_poses
from lineament.methods.gmpi.recipe import GMPIRecipe
from lineament.training.loop import LoopOptions, resume, train
from lineament.training.registry import get_recipe
from lineament.training.run import Run, open_run

QUIET = LoopOptions(device="cpu", progress=False, report=False, figures=False)
YAWS, PITCHES = torch.tensor([-0.3, 0.1, 0.2, 0.0]), torch.tensor([0.1, 0.0, -0.1, 0.05])


def recipe(name: str = "gmpi-folder", **fields: Any) -> Any:
    entry = get_recipe(name)
    return entry.build(entry.config("tiny", **fields), preset="tiny")


class Plain:
    """Images of nearly one colour."""

    name = "plain"
    fingerprint = "plain-1"

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> FaceSample:
        generator = torch.Generator().manual_seed(index)
        colour = torch.tensor([0.85, 0.2, 0.4])[:, None, None]
        image = (colour + 0.05 * torch.randn(3, 16, 16, generator=generator)).clamp(0, 1)
        return FaceSample(f"{index}.png", image)


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    """Poses as EG3D writes them: y up, z towards the viewer, the face in the origin."""
    cameras = camera_on_sphere(YAWS, PITCHES, radius=2.7, centre_z=0.0).double()
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    labels = [
        [f"{number}.png", [*(flip @ camera).flatten().tolist(), *[0.0] * 9]]
        for number, camera in enumerate(cameras)
    ]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": labels}))
    return path


def test_poses_are_read_onto_the_sphere_and_mirrored(poses: Path):
    scene = SCENES["ffhq256"]
    cameras = on_scene(torch.stack([*read_poses(poses).cameras.values()]), scene)
    for factor, both in ((1, cameras), (-1, mirrored(cameras))):
        yaw, pitch = angles_on_sphere(both.double(), centre_z=scene.centre_z)
        torch.testing.assert_close(pitch.float(), PITCHES, rtol=0, atol=1e-5)
        torch.testing.assert_close(yaw.float(), factor * YAWS, rtol=0, atol=1e-5)


def test_it_learns_the_colour_of_its_images(tmp_path: Path):
    trained = recipe(steps=40, learning_rate=0.01, batch_size=4, ema_decay=0.5, checkpoint_every=0)
    run = train(trained, Plain(), tmp_path / "run", options=QUIET)
    cameras = torch.zeros(1, 2)

    def error(networks: Any) -> float:
        images: Tensor = trained.predictor(networks).views(fixed_latents(8, 8), cameras)[0]
        return float((images.mean((0, 1, 3, 4)) - torch.tensor([0.85, 0.2, 0.4])).abs().mean())

    torch.manual_seed(0)
    before = error({name: net.eval() for name, net in trained.networks().items()})
    after = error(run.load_networks())
    assert before > 0.15
    assert after < 0.6 * before


def assert_same(first: Run, second: Run) -> None:
    one, other = first.read_checkpoint(), second.read_checkpoint()
    assert one.groups.keys() == other.groups.keys()
    for group, tensors in one.groups.items():
        assert all(torch.equal(value, other.groups[group][key]) for key, value in tensors.items()), group
    for key, value in one.state["tensors"].items():
        assert torch.equal(value, other.state["tensors"][key]), key


def test_a_resumed_training_has_the_bits_of_one_that_never_stopped(tmp_path: Path, poses: Path):
    def trained() -> GMPIRecipe:
        built: GMPIRecipe = recipe(
            steps=7, checkpoint_every=3, split=2, pose=str(poses), mirror=True, lights_after=1
        )
        return built

    straight = train(trained(), Plain(), tmp_path / "straight", options=QUIET)
    cut = tmp_path / "cut"
    with pytest.raises(Exception, match="stopped after step 5"):
        train(trained(), Plain(), cut, options=replace(QUIET, stop_after=5))
    assert_same(straight, resume(cut, Plain(), options=QUIET, recipe=trained()))
    # Steps 2 to 6, two parts each of the discriminator's and the generator's images.
    assert float(straight.read_checkpoint().state["tensors"]["light_calls"]) == 5 * 4


def test_weights_that_a_base_lacks_are_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base = train(recipe("stylegan2"), Plain(), tmp_path / "base", options=QUIET)
    trained = recipe(base=str(base.folder), resolution=None)
    train(trained, Plain(), tmp_path / "run", options=replace(QUIET, progress=True))
    said = [line for line in capsys.readouterr().err.splitlines() if "has no weights" in line]
    assert len(said) == 1 and len(said[0]) < 400
    assert f" and {len(trained.not_taken) - 4} more: learnt anew." in said[0]


def test_a_base_gives_its_sizes_and_weights(tmp_path: Path, poses: Path):
    base = train(recipe("stylegan2", latent=12), Plain(), tmp_path / "base", options=QUIET)
    trained = recipe(base=str(base.folder), pose=str(poses), resolution=None, latent=None)
    assert (trained.config.latent, trained.config.resolution) == (12, 16)
    networks, before = trained.networks(), base.load_networks()
    for name, value in before["generator"].state_dict().items():
        assert torch.equal(networks["generator"].state_dict()[name], value), name
    row = networks["discriminator"].b4.out.weight
    assert torch.equal(row, before["discriminator"].b4.out.weight.expand(16, -1))
    assert all("plane_embedding" in name or "toalpha" in name for name in trained.not_taken)
    assert trained.not_taken
    with pytest.raises(UsageError, match="has latent 12, not 8"):
        recipe(base=str(base.folder))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resolution": 48}, "a power of two from 16 to 1024, not 48"),
        ({"accumulate": 2}, "give --split 2"),
        ({"planes": 1}, "--planes is a number of 2 or more, not 1"),
        ({"near": 1.2}, "0 < near < far"),
        ({"lights": "none", "lights_after": 3}, "has no effect without lights"),
        ({"clip": -1.0}, "are 0 or more"),
        ({"variant": "thick"}, "thick"),
    ],
)
def test_settings_that_contradict_are_refused(fields: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        recipe(**fields)


def test_poses_that_are_missing_or_no_poses_are_refused(poses: Path):
    labels = json.loads(poses.read_text())["labels"]
    texts = {
        "no pose of 1 of the 4 images of plain": json.dumps({"labels": labels[1:]}),
        "is no file of poses": "{}",
        "is no file of poses .*": "no json",
        "holds no pose": '{"labels": []}',
        "has no inverse": json.dumps({"labels": [["0.png", [0.0] * 25]]}),
    }
    for words, text in texts.items():
        poses.write_text(text)
        with pytest.raises(DataError, match=words):
            recipe(pose=str(poses)).training_source(Plain())
    with pytest.raises(DataError, match="is no file of poses"):
        recipe(pose=str(poses.with_name("nowhere.json"))).training_source(Plain())


def test_the_command_trains_a_folder_and_draws_it(
    tmp_path: Path, poses: Path, capsys: pytest.CaptureFixture[str]
):
    place, run = tmp_path / "photos", tmp_path / "run"
    place.mkdir()
    for number, pixels in enumerate(
        np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    ):
        Image.fromarray(pixels).save(place / f"{number}.png")
    words = ["train", "gmpi-folder", "--preset", "tiny", "--pose", str(poses)]
    assert main([*words, "--data", str(place), "--run", str(run)]) == 0, capsys.readouterr().err
    folder = open_run(run).figures(2)
    assert sorted(path.name for path in folder.glob("*.png")) == ["depth.png", "samples.png", "yaws.png"]
    assert Image.open(folder / "samples.png").size == Image.open(folder / "depth.png").size == (128, 64)
    assert Image.open(folder / "yaws.png").size == (6 * 16, 4 * 16)
    facts = json.loads((folder / "depth.json").read_text())
    assert 0.9 * 2.7 < facts["mean_depth"] < 1.2 * 2.7 and facts["std_of_depth_within_images"] > 0
    Image.new("RGB", (16, 16)).save(place / "new.png")
    assert main([*words, "--data", str(place), "--run", str(tmp_path / "other")]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no pose of 1 of the 5 images" in error and "new.png" in error
    assert not (tmp_path / "other").exists()

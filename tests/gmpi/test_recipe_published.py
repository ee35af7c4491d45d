"""The paper's trainings by name: what was published for them, and bases that are files of other programs."""

from __future__ import annotations

import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from tests.gmpi.old_gmpi import settings
from tests.gmpi.old_pickles import networks, persistent, published, write
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lineament.cli.main import main
from lineament.data.sample import FaceSample
from lineament.errors import CheckpointError, UsageError
from lineament.geometry.sphere_camera import camera_on_sphere, invert_rigid
from lineament.methods.gmpi.alpha import VARIANTS
from lineament.methods.gmpi.datasets import BASE_FILES, SCENES, eg3d_labels
from lineament.methods.gmpi.pose_formats import write_coefficients, write_dataset_json
from lineament.training.config import config_to_dict
from lineament.training.distributed import make_fabric
from lineament.training.loop import LoopOptions, resume, train
from lineament.training.registry import get_recipe
from lineament.training.run import open_run
from lineament.training.state import TrainingState
from lineament.training.stopping import TrainingInterrupted
from lineament.training.update import GradientUpdate

QUIET = LoopOptions(device="cpu", progress=False, report=False, figures=False)
# Images, parts and multiplane images seen at once on one GPU; the same of images and parts with learnt tokens.
PUBLISHED = {
    "ffhq256": ((8, 1, 4), (4, 1)),
    "ffhq512": ((4, 1, 2), (4, 2)),
    "ffhq1024": ((4, 2, 1), (4, 2)),
    "afhqcat": ((4, 1, 2), (4, 1)),
    "metfaces": ((4, 2, 1), (4, 2)),
}


def built(name: str, preset: str | None = None, **fields: Any) -> Any:
    entry = get_recipe(name)
    fields = {"base": "random", "pose": "none"} | fields
    return entry.build(entry.config(preset, **fields), preset=preset)


@pytest.mark.parametrize("data_set", PUBLISHED)
def test_what_is_not_given_is_what_was_published(data_set: str):
    recipe, scene = built(f"gmpi-{data_set}"), SCENES[data_set]
    config = recipe.config
    images, tokens = PUBLISHED[data_set]
    assert (config.batch_size, config.split, config.view_batch) == images
    assert recipe.renderer.scene == scene
    assert config.channel_base == (16384 if scene.resolution == 256 else 32768)
    assert (config.planes, config.views, config.conv_clamp, config.variant) == (32, 4, 256, "plane-depth")
    assert (config.learning_rate, config.r1_weight, config.clip, config.steps) == (0.002, 10, 10, 5000)
    assert config.lights == "black-in" and config.lights_after == 1000
    by_token = built(f"gmpi-{data_set}", variant="normalize_add_z/learnable_param").config
    assert (by_token.batch_size, by_token.split) == tokens
    # The paper had eight GPUs.
    assert built(f"gmpi-{data_set}", "paper").config.batch_size == 8 * images[0]
    if tokens[0] < images[0]:
        with pytest.raises(UsageError, match=f"give --batch-size {8 * tokens[0]}"):
            built(f"gmpi-{data_set}", "paper", variant="plane-token")
    paper = built(f"gmpi-{data_set}", "paper", variant="plane-token", batch_size=8 * tokens[0]).config
    assert (paper.split, paper.low_precision) == (tokens[1], "float16")


@pytest.mark.parametrize(("resolution", "channels"), [(256, 16384), (512, 32768), (None, 16384)])
def test_channels_of_a_folder_follow_the_resolution(resolution: int | None, channels: int):
    entry = get_recipe("gmpi-folder")
    recipe = entry.build(entry.config(resolution=resolution))
    assert recipe.config.channel_base == channels
    assert "channel_base" in recipe.inherited


def test_without_a_base_or_poses_one_sentence_says_what_to_give(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "gmpi-metfaces", "--data", "nowhere"]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "lineament import stylegan2" in said
    assert all(name in said for name in BASE_FILES.values())
    with pytest.raises(UsageError, match="metfaces_xflip_deep3dface_coeffs, or --pose none"):
        built("gmpi-metfaces", pose="")


def test_a_mean_pitch_needs_poses():
    for name in ("gmpi-folder", "gmpi-metfaces"):
        with pytest.raises(UsageError, match=r"--mean-pitch .* has no effect without camera poses"):
            built(name, mean_pitch=0.1)
        # As a run that was interrupted before its first checkpoint is built again.
        entry = get_recipe(name)
        entry.build(built(name, "tiny").config, preset="tiny")


def differing(network: nn.Module) -> nn.Module:
    """The network with other weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    return network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    generator, discriminator = networks()
    older = persistent(differing(networks()[0]), {})
    return write(tmp_path / "faces.pkl", published(generator, discriminator, 32) | {"G": older})


@pytest.mark.parametrize("name", ["gmpi-folder", "gmpi-ffhq256"])
def test_a_published_file_is_a_base(name: str, file: Path, tmp_path: Path):
    pose = tmp_path / "dataset.json"
    numbers = [*torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])).flatten().tolist(), *[0.0] * 9]
    numbers[11] = 2.7
    pose.write_text(f'{{"labels": [["0.png", {numbers}]]}}')
    recipe = built(name, base=str(file), pose=str(pose), resolution=32, planes=4)
    config = recipe.config
    assert (config.channel_base, config.channel_max, config.latent, config.conv_clamp) == (256, 16, 12, 256)
    state = TrainingState(recipe, make_fabric("cpu", "32-true"), "32-true", "")
    generator, discriminator = networks()
    for made in [state.networks, *(average.networks for average in state.averages.values())]:
        for key, value in generator.state_dict().items():
            assert torch.equal(made["generator"].state_dict()[key], value), key
    assert {"ema", "ema2"} == set(state.averages)
    judge = state.networks["discriminator"].state_dict()
    for key, value in discriminator.state_dict().items():
        assert torch.equal(judge[key], value.expand_as(judge[key])), key
    assert recipe.not_taken and all("plane_embedding" in key or "toalpha" in key for key in recipe.not_taken)


def test_a_base_of_another_size_or_a_damaged_one_is_refused(file: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="makes images of 32 px, gmpi-ffhq512 learns 512 px: give another"):
        built("gmpi-ffhq512", base=str(file))
    with pytest.raises(UsageError, match=r"has resolution 32, not 64"):
        built("gmpi-ffhq512", base=str(file), resolution=64)
    assert built("gmpi-ffhq256", base=str(file), resolution=32, conv_clamp=0.0).config.conv_clamp == 0
    damaged = tmp_path / "damaged.pkl"
    damaged.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"damaged\.pkl"):
        built("gmpi-ffhq256", base=str(damaged))
    other = write(tmp_path / "other.pkl", {"G_ema": {}})
    with pytest.raises(CheckpointError, match=r"other\.pkl: it has no discriminator"):
        built("gmpi-folder", base=str(other))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images of 16 px and their cameras, in the published layout of MetFaces."""
    folder, coefficients = tmp_path / "photos", tmp_path / "poses" / "coeffs"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (16, 16), (60 * number, 90, 120)).save(folder / f"{number}.png")
        camera = camera_on_sphere(torch.tensor(0.1 * number), torch.tensor(0.0), radius=1.0, centre_z=0.0)
        path = coefficients / f"{number}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_coefficients(path, invert_rigid(camera.double()))
    return folder


def train_words(folder: Path, *more: str) -> list[str]:
    words = ["train", "gmpi-metfaces", "--preset", "tiny", "--data", str(folder), "--device", "cpu"]
    return [*words, "--run", str(folder.parent / "run"), *more]


def plain(number: int, side: int) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (60 * number, 90, 120)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def place(photos: Path) -> Path:
    """Three data sets where the published program has them: one image of MetFaces has no pose."""
    folder, poses = photos.parent / "runtime_dataset", photos.parent / "poses" / "coeffs"
    metfaces, coefficients = folder / "metfaces1024x1024_xflip", folder / "metfaces_xflip_deep3dface_coeffs"
    cats = folder / "afhq_v2_train_cat_512"
    for each in (metfaces, coefficients / "coeffs", cats):
        each.mkdir(parents=True)
    labels = {}
    for number in range(4):
        for name in (f"{number}", f"{number}_xflip"):
            (metfaces / f"{name}.png").write_bytes(plain(number, 1024))
            shutil.copy(poses / f"{number}.mat", coefficients / "coeffs" / f"{name}.mat")
        (cats / f"{number}.png").write_bytes(plain(number, 512))
        camera = camera_on_sphere(torch.tensor(0.1 * number), torch.tensor(0.0), radius=2.7, centre_z=0.0)
        labels[f"{number}.png"] = eg3d_labels(invert_rigid(camera.double()), centre_z=0.0, fov=0.23).tolist()
    write_dataset_json(cats / "dataset.json", labels)
    (coefficients / "fail_list.txt").write_text("3.png\n")
    with zipfile.ZipFile(folder / "ffhq256x256.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"00000/{number}.png", plain(number, 256))
    shutil.copytree(poses, folder / "ffhq256_deep3dface_coeffs" / "00000")
    return folder


@pytest.mark.parametrize(
    ("data_set", "pose", "said"),
    [
        ("metfaces", "metfaces_xflip_deep3dface_coeffs", "no pose for 1 images, which are left out"),
        ("ffhq256", "ffhq256_deep3dface_coeffs", "4 images; 4 cut to their middle square and scaled."),
        ("afhqcat", "afhq_v2_train_cat_512/dataset.json", "4 images; 4 cut"),
    ],
)
def test_the_published_layouts_are_trained_on(
    data_set: str,
    pose: str,
    said: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(place.parent)
    words = ["train", f"gmpi-{data_set}", "--preset", "tiny", "--pose", f"runtime_dataset/{pose}"]
    assert main([*words, "--steps", "1", "--low-precision", "float16", "--device", "cpu"]) == 0
    run = open_run(Path("runs") / f"gmpi-{data_set}")
    scene = SCENES[data_set]
    assert (run.config["yaw_std"], run.config["data_set"]) == (scene.poses.yaw_std, data_set)
    assert said in capsys.readouterr().err


def test_without_data_the_published_place_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "gmpi-ffhq512", "--preset", "tiny"]) == 1
    assert "runtime_dataset/ffhq512x512.zip" in capsys.readouterr().err.splitlines()[-1]


def test_settings_of_an_old_file_choose_the_variant(photos: Path, tmp_path: Path):
    old = tmp_path / "gmpi.yml"
    old.write_text(yaml.safe_dump(settings("plane-token")))
    assert main(train_words(photos, "--config", str(old), "--pose", "none", "--steps", "1")) == 0
    assert open_run(tmp_path / "run").config["variant"] == "plane-token"
    again = ["--config", str(old), "--pose", "none", "--steps", "1", "--overwrite", "--variant", "none/none"]
    assert main(train_words(photos, *again)) == 0
    assert open_run(tmp_path / "run").config["variant"] == "none/none"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (yaml.safe_dump(settings(G_final_img_act="sigmoid")), "have G_final_img_act sigmoid"),
        (yaml.safe_dump(settings(torgba_cond_on_pos_enc="add_xyz")), "none of GMPI's four variants"),
        (yaml.safe_dump(settings(G_select_worse_view="none")), "trains on the worst view alone"),
        (yaml.safe_dump(settings(use_mbstd_in_D=False)), "have use_mbstd_in_D False"),
        ("lr: 1", "do not name torgba_cond_on_pos_enc"),
        ("a: [", "cannot be read as YAML"),
        (None, "cannot be read as YAML"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    text: str | None, said: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    old = tmp_path / "gmpi.yml"
    if text is not None:
        old.write_text(text)
    assert main(train_words(photos, "--config", str(old), "--pose", "none")) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line and str(old) in line
    assert not (tmp_path / "run").exists()


def test_settings_of_another_method_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "fabrec-ae", "--config", "gmpi.yml"]) == 2
    assert "--config means nothing to recipes of fabrec" in capsys.readouterr().err


def spoil(folder: Path, what: str) -> list[str]:
    """Make one thing wrong; what to add to the command."""
    poses, other = folder.parent / "poses", folder.parent / "other"
    given = ["--pose", str(poses)]
    if what == "size":
        Image.new("RGB", (20, 16)).save(folder / "0.png")
        return [*given, "--no-resize"]
    if what == "image":
        (folder / "0.png").write_bytes(b"no image")
    if what == "one pose":
        (poses / "coeffs" / "2.mat").unlink()
    if what == "pose file":
        (poses / "coeffs" / "2.mat").write_bytes(b"MATLAB 5.0 and nothing else")
    if what == "no poses":
        return ["--pose", str(other)]
    if what == "pickle":
        return [*given, "--base", str(write(other, {"weights": {"x": torch.ones(2)}}))]
    if what == "text":
        other.write_text("no pickle")
        return [*given, "--base", str(other)]
    if what == "run":
        return [*given, "--base", str(other)]
    if what == "planes":
        return [*given, "--planes", "1"]
    if what == "variant":
        return [*given, "--variant", "normalize_add_z/none"]
    return given


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("size", 1, "1 of 4 images of photos/all are not 16x16 (0.png is 20x16): give --resize"),
        ("image", 1, "0.png"),
        ("one pose", 1, "has no pose of 1 of the 4 images of photos/all (2.png)"),
        ("pose file", 1, "2.mat cannot be read as coefficients"),
        ("no poses", 1, "is no file of poses: it cannot be read"),
        ("pickle", 1, "other: "),
        ("text", 1, "other"),
        ("run", 1, "other"),
        ("planes", 2, "--planes is a number of 2 or more, not 1"),
        ("variant", 2, "normalize_add_z/none"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    what: str, code: int, said: str, photos: Path, capsys: pytest.CaptureFixture[str]
):
    before = sorted(photos.parent.iterdir())
    more = spoil(photos, what)
    assert main(train_words(photos, *more)) == code
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in line and line[-1] in ".?", line
    assert not (photos.parent / "run").exists()
    assert {*photos.parent.iterdir()} <= {*before, photos.parent / "other"}


class Greys:
    """Images of one grey each."""

    name = "greys"
    fingerprint = "greys-1"

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> FaceSample:
        return FaceSample(f"{index}.png", torch.full((3, 32, 32), 0.3 + 0.4 * index))


def test_a_training_on_a_file_goes_on_without_it(file: Path, tmp_path: Path):
    sizes = dict.fromkeys(("channel_base", "channel_max", "latent", "mapping_layers"))
    recipe = built("gmpi-afhqcat", "tiny", base=str(file), resolution=32, steps=2, **sizes)
    with pytest.raises(TrainingInterrupted):
        train(recipe, Greys(), tmp_path / "run", options=replace(QUIET, stop_after=1))
    file.unlink()
    run = resume(tmp_path / "run", Greys(), options=QUIET)
    assert run.read_checkpoint().step == 2
    assert config_to_dict(run.build_recipe().config) == run.config
    assert (run.config["far"], run.config["batch_size"], run.config["channel_max"]) == (2.8, 2, 16)


class Convolutions(TorchDispatchMode):
    """Notes the number types of what is convolved."""

    def __init__(self) -> None:
        super().__init__()
        self.types: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        # Derivatives of our own are convolutions too, of the gradients' type and outside of autocast.
        differentiating = torch._C._current_graph_task_id() != -1
        if "convolution" in str(function) and not differentiating:
            dtype = arguments[0].dtype
            self.types[dtype] = self.types.get(dtype, 0) + 1
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_mixed_precision_convolves_in_bfloat16(variant: str):
    recipe = built("gmpi-ffhq256", "tiny", variant=variant)
    state = TrainingState(recipe, make_fabric("cpu", "bf16-mixed"), "bf16-mixed", "")
    update = GradientUpdate(state.fabric, state.optimisers, 1)
    batch = {"image": torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)}
    with Convolutions() as seen:
        values = recipe.step(state.networks, batch, state.context(update))
    assert all(bool(torch.isfinite(value)) for value in values.values())
    assert values["loss"].dtype == torch.float32
    assert seen.types.keys() == {torch.bfloat16}, seen.types

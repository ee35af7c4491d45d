"""Training of StyleGAN2: its settings, what it refuses, that it learns, and its command."""

from __future__ import annotations

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
from lineament.methods.gmpi.figures import fixed_latents, image_grid
from lineament.methods.gmpi.generator import StyleGAN2Generator
from lineament.methods.gmpi.recipe_stylegan2 import StyleGAN2Recipe
from lineament.training.distributed import make_fabric
from lineament.training.loop import LoopOptions, resume, train
from lineament.training.registry import get_recipe
from lineament.training.run import open_run
from lineament.training.state import TrainingState
from lineament.training.update import GradientUpdate

QUIET = LoopOptions(device="cpu", progress=False, report=False, figures=False)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe(preset: str | None = "tiny", **fields: Any) -> StyleGAN2Recipe:
    entry = get_recipe("stylegan2")
    built: StyleGAN2Recipe = entry.build(entry.config(preset, **fields), preset=preset)
    return built


class Plain:
    """Images of nearly one colour."""

    name = "plain"
    fingerprint = "plain-1"

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> FaceSample:
        generator = torch.Generator().manual_seed(index)
        colour = torch.tensor([0.85, 0.2, 0.4])[:, None, None]
        return FaceSample(
            f"{index}", (colour + 0.05 * torch.randn(3, 16, 16, generator=generator)).clamp(0, 1)
        )


@pytest.mark.parametrize(
    ("resolution", "batch", "rate", "base", "gamma", "average"),
    [
        (64, 64, 0.0025, 16384, 1 / 16, 20_000),
        (256, 64, 0.0025, 16384, 1.0, 20_000),
        (512, 64, 0.0025, 32768, 0.5, 20_000),
        (1024, 32, 0.002, 32768, 2.0, 10_000),
    ],
)
def test_the_paper_s_settings_follow_the_resolution(
    resolution: int, batch: int, rate: float, base: int, gamma: float, average: int
):
    config = recipe("paper", resolution=resolution).config
    found = (
        config.batch_size,
        config.learning_rate,
        config.channel_base,
        config.gamma,
        config.average_images,
    )
    assert found == (batch, rate, base, gamma, average)
    assert config.steps * batch == 25_000_000 // batch * batch
    assert recipe("paper", resolution=resolution, batch_size=8, gamma=3.0).config.gamma == 3.0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resolution": 48}, "a power of two from 16 to 1024, not 48"),
        ({"accumulate": 2}, "give --split 2"),
        ({"split": 5}, "cannot be split in 5"),
        ({"split": 0}, "--split is a number of 1 or more, not 0"),
        ({"batch_size": 6, "std_group": 4}, "6 images of a pass cannot be compared in groups of 4"),
        ({"augment_parts": ("blur",)}, "augment parts are blit, geometry, colour, not 'blur'"),
        ({"augment_probability": 0.5}, "has no effect without --augment fixed"),
        ({"augment": "none", "augment_target": 0.5}, "has no effect without adaptive augmentation"),
        ({"path_every": 0, "path_weight": 1.0}, "has no effect without path length penalties"),
        ({"ema_decay": 0.9, "average_images": 7}, "has no effect without --ema-decay 0"),
        ({"style_mixing": 2.0}, "lie in 0..1"),
        ({"gamma": -1.0}, "are 0 or more"),
    ],
)
def test_settings_that_contradict_are_refused(fields: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        recipe(**fields)


def test_it_learns_the_colour_of_its_images(tmp_path: Path):
    trained = recipe(steps=40, learning_rate=0.03, average_images=40, mirror=False, checkpoint_every=0)
    run = train(trained, Plain(), tmp_path / "run", options=QUIET)

    def error(images: Tensor) -> float:
        return float((images.mean((0, 2, 3)) - torch.tensor([0.85, 0.2, 0.4])).abs().mean())

    latents = fixed_latents(16, 8)
    torch.manual_seed(0)
    before = trained.predictor({n: net.eval() for n, net in trained.networks().items()}).images(latents)
    after = trained.predictor(run.load_networks()).images(latents)
    assert error(before) > 0.2
    assert error(after) < 0.1


def stepped(trained: StyleGAN2Recipe, steps: int) -> tuple[TrainingState, list[dict[str, Tensor]]]:
    """Some steps on random images."""
    state = TrainingState(trained, make_fabric("cpu", "32-true"), "32-true", "")
    update = GradientUpdate(state.fabric, state.optimisers, 1)
    images = torch.randint(
        0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    values = []
    for _ in range(steps):
        values.append(trained.step(state.networks, {"image": images}, state.context(update)))
        state.finish_step()
    return state, values


def test_regularisation_is_lazy():
    _, values = stepped(recipe(r1_every=3, path_every=2), 4)
    assert ["r1" in each for each in values] == [True, False, False, True]
    assert ["path_length" in each for each in values] == [True, False, True, False]
    _, values = stepped(recipe(path_every=0), 2)
    assert not any("path_length" in each for each in values)


def test_the_probability_follows_the_signs_of_the_real_scores():
    trained = recipe(augment_images=64)
    state, _ = stepped(trained, 1)
    context = state.context(GradientUpdate(state.fabric, state.optimisers, 1))
    for signs, expected in [(4.0, 0.25), (4.0, 0.5), (2.0, 0.25), (-4.0, 0.0), (-4.0, 0.0)]:
        state.tensors["real_signs"].fill_(signs)
        trained._adapt(replace(context, step=8))
        assert float(state.tensors["augment_probability"]) == pytest.approx(expected)
        assert float(state.tensors["real_signs"]) == 0
    state.tensors["real_signs"].fill_(4.0)
    trained._adapt(replace(context, step=9))
    assert float(state.tensors["augment_probability"]) == 0


def test_augmentation_that_is_off_or_fixed_stays_so():
    for fields, expected in [({"augment": "none"}, 0.0), ({"augment": "fixed"}, 0.2)]:
        _, values = stepped(recipe(**fields), 6)
        assert all(float(each["augment_probability"]) == pytest.approx(expected) for each in values)


def test_parts_of_a_batch_make_the_update_of_the_whole(monkeypatch: pytest.MonkeyPatch):
    """Without what is drawn at random, one part and two give the same gradients; groups of one see no other image."""

    def same(_self: Any, generator: Any, count: int, _context: Any) -> Tensor:
        styles: Tensor = generator.styles(torch.ones(count, 8))
        return styles

    def still(generator: Any, styles: Tensor) -> Tensor:
        made: Tensor = generator.synthesis(styles, noise_mode="const")
        return made

    monkeypatch.setattr(StyleGAN2Recipe, "_styles", same)
    monkeypatch.setattr(StyleGAN2Generator, "images", still)
    found = []
    for split in (1, 2):
        # Rates so small that the gradients are compared at the same weights; path lengths are along random noise.
        fields = {"learning_rate": 1e-9, "std_group": 1, "augment": "none", "path_every": 0}
        state, values = stepped(recipe(split=split, **fields), 1)
        networks = [*state.networks["generator"].parameters(), *state.networks["discriminator"].parameters()]
        found.append(([p.grad for p in networks], values[0]))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        # The last bias of the discriminator does not change the gradient by the image.
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-5 * float(one.abs().max()))
    for key, value in found[0][1].items():
        assert torch.allclose(value, found[1][1][key], rtol=1e-4), key


@pytest.mark.parametrize("low_precision", ["bfloat16", "float16"])
def test_low_precision_trains(low_precision: str):
    _, values = stepped(recipe(low_precision=low_precision, conv_clamp=256.0), 2)
    assert all(bool(torch.isfinite(value)) for each in values for value in each.values())


def test_a_resumed_training_has_the_bits_of_one_that_never_stopped(tmp_path: Path):
    def trained() -> StyleGAN2Recipe:
        return recipe(steps=9, checkpoint_every=3, augment_images=64, split=2, r1_every=4)

    straight = train(trained(), Plain(), tmp_path / "straight", options=QUIET)
    cut = tmp_path / "cut"
    with pytest.raises(Exception, match="stopped after step 5"):
        train(trained(), Plain(), cut, options=replace(QUIET, stop_after=5))
    again = resume(cut, Plain(), options=QUIET, recipe=trained())
    first, second = straight.read_checkpoint(), again.read_checkpoint()
    for group, tensors in first.groups.items():
        assert all(torch.equal(value, second.groups[group][key]) for key, value in tensors.items()), group
    for key, value in first.state["tensors"].items():
        assert torch.equal(value, second.state["tensors"][key]), key


def test_the_grid_goes_row_by_row():
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 2, 2) / 10
    grid = image_grid(images, 3)
    assert grid.shape == (3, 4, 6)
    assert torch.allclose(grid[0, ::2, ::2], torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 1.0]]))


def test_fixed_latents_are_the_same_however_many():
    assert torch.equal(fixed_latents(9, 4)[:3], fixed_latents(3, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 4), dtype=np.uint8)
    for i in range(4):
        Image.fromarray(pixels[i, ..., :3]).save(place / f"{i}.png")
    Image.fromarray(pixels[4, ..., 0]).save(place / "grey.png")
    Image.fromarray(pixels[5]).save(place / "glass.png")
    return place


def training_words(folder: Path) -> tuple[Path, list[str]]:
    """A run's folder, and the command that trains it."""
    run = folder.parent / "run"
    given = ("--preset", "tiny", "--no-resize", "--data", str(folder), "--run", str(run))
    return run, ["train", "stylegan2", *given]


def test_the_command_trains_a_folder_and_says_what_it_holds(folder: Path, capsys: pytest.CaptureFixture[str]):
    run, words = training_words(folder)
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "6 images; 1 grey, taken as three equal channels; 1 with transparency, laid on white" in said
    assert "each also mirrored" in said
    figures = sorted(path.name for path in open_run(run).figures(2).iterdir())
    assert figures == ["samples-psi0.7.json", "samples-psi0.7.png", "samples.json", "samples.png"]
    assert Image.open(open_run(run).figures(2) / "samples.png").size == (8 * 16, 4 * 16)
    assert "--resolution 16" not in (run / "report.html").read_text()  # the preset says so already


def test_bad_images_are_refused_in_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]):
    run, words = training_words(folder)
    Image.new("RGB", (20, 16)).save(folder / "wide.png")
    assert main(words) == 1
    error = capsys.readouterr().err.strip()
    assert "1 of 7 images" in error and "wide.png is 20x16" in error and "--resize" in error
    assert len(error.splitlines()) == 1 and not run.exists()
    (folder / "wide.png").write_bytes(b"no image")
    assert main([*words, "--batch-size", "8"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "wide.png is not an image" in error and not run.exists()


def test_other_commands_say_what_such_a_run_holds(folder: Path, capsys: pytest.CaptureFixture[str]):
    run = folder.parent / "run"
    assert main(["train", "stylegan2", "--preset", "tiny", "--data", str(folder), "--run", str(run)]) == 0
    capsys.readouterr()
    assert main(["landmarks", str(folder / "0.png"), "--model", str(run)]) == 2
    assert "a generator of images (StyleGAN2)" in capsys.readouterr().err


def test_an_image_of_another_size_names_itself_where_headers_are_not_known():
    with pytest.raises(DataError, match="0 is 16x16, not 32x32"):
        recipe(resolution=32, resize=False).item(Plain()[0], torch.Generator())

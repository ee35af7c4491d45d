"""Faces projected into runs of multiplane images: `lineament gmpi project`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

from lineament.cli.main import main
from lineament.data.images import read_image
from lineament.errors import DataError, UsageError
from lineament.faces.crops import crop_image
from lineament.geometry.affine2d import Affine2D
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.planes import normalised_depths
from lineament.methods.gmpi.predictor import GMPIPredictor
from lineament.methods.gmpi.projection import Projection, ProjectSettings
from lineament.methods.gmpi.renderer import Renderer
from lineament.pipeline.gmpi.project_face import paste

SIDE = 16
SETTINGS = ProjectSettings(20, 10, 10, feature_weight=0.0)


@pytest.fixture(scope="module")
def predictor() -> GMPIPredictor:
    torch.manual_seed(0)
    renderer = Renderer(replace(SCENES["ffhq256"], resolution=SIDE), 6)
    generator = GMPIGenerator(
        SIDE, normalised_depths(renderer.planes), z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=1
    )  # fmt: skip
    return GMPIPredictor(generator.eval(), renderer)


@pytest.fixture(scope="module")
def target(predictor: GMPIPredictor) -> torch.Tensor:
    """A face of the generator itself, seen from a pitch of 0.1 and a yaw of -0.3."""
    latent = torch.randn(1, 8, generator=torch.Generator().manual_seed(5))
    return predictor.views(latent, torch.tensor([[0.1, -0.3]]))[0][0, 0]


def projection(predictor: GMPIPredictor, target: torch.Tensor, **more: object) -> Projection:
    return Projection(predictor, target, torch.tensor([0.0, -0.2]), SETTINGS, **more)  # type: ignore[arg-type]


def test_the_error_falls_and_the_run_stays_as_it_is(predictor: GMPIPredictor, target: torch.Tensor):
    before = {name: value.clone() for name, value in predictor.generator.state_dict().items()}
    work = projection(predictor, target)
    first = work.advance()
    while not work.done:
        work.advance()
    assert work.error < 0.3 * first
    shown = work.result().multiplane(torch.zeros(8)).render(*work.pitch_yaw.detach().flip(0)[:, None])
    assert float((shown.image[0] - target).square().mean()) == pytest.approx(work.error, rel=0.3)
    for name, value in predictor.generator.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


def test_it_goes_on_where_it_stopped(predictor: GMPIPredictor, target: torch.Tensor):
    whole, parts = projection(predictor, target), projection(predictor, target)
    for _ in range(34):
        parts.advance()
    again = projection(predictor, target)
    again.restore(parts.state())
    while not whole.done:
        whole.advance()
    while not again.done:
        again.advance()
    torch.testing.assert_close(again.pitch_yaw, whole.pitch_yaw, atol=0, rtol=0)
    made = [each.result().multiplane(torch.zeros(8)).alpha for each in (again, whole)]
    torch.testing.assert_close(*made, atol=0, rtol=0)


def test_features_and_pixels_outside_the_photo(predictor: GMPIPredictor, target: torch.Tensor):
    weight = torch.zeros(SIDE, SIDE)
    weight[:, :8] = 1
    spoilt = target.clone()
    spoilt[..., 8:] = 0.5
    errors = [projection(predictor, each, weight=weight).advance() for each in (target, spoilt)]
    assert errors[0] == errors[1]
    settings = replace(SETTINGS, feature_weight=1.0)
    seen = Projection(predictor, target, torch.zeros(2), settings, lambda images: images.mean((2, 3)))
    seen.advance()
    plain = Projection(predictor, target, torch.zeros(2), SETTINGS)
    plain.advance()
    assert not torch.equal(seen.styles, plain.styles)
    with pytest.raises(DataError, match="is projected into this run"):
        projection(predictor, target[:, :8])
    with pytest.raises(UsageError, match="--w-steps"):
        ProjectSettings(-1).check()


def test_a_view_is_pasted_where_it_was_cut():
    photo = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0)) * 0.1
    crop = Affine2D.from_similarity(1.0, 0.0, translation=(-10.0, -5.0))
    view = torch.full((3, 24, 24), 0.9)
    made = paste(photo, view, crop)
    assert float(made[0, 17, 22]) == pytest.approx(0.9, abs=1e-5)
    torch.testing.assert_close(made[:, :4], photo[:, :4])
    torch.testing.assert_close(made[..., 36:], photo[..., 36:])
    torch.testing.assert_close(paste(photo, crop_image(photo, crop, 24), crop), photo, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Multiplane images after a step."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "photos").mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(folder / "photos" / f"{number}.png")
    more = ["--resolution", "32", "--steps", "1", "--batch-size", "2", "--channel-max", "8", "--latent", "8"]
    more += ["--planes", "4", "--mapping-layers", "1", "--figures-every", "0", "--channel-base", "256"]
    words = ["--data", str(folder / "photos"), "--run", str(folder / "run"), *more]
    assert main(["train", "gmpi-folder", *words]) == 0
    return folder / "run"


def test_a_photo_is_projected(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    photo = tmp_path / "photo.png"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    words = [
        "gmpi",
        "project",
        str(photo),
        str(run),
        "--out",
        str(tmp_path / "out"),
        "--outputs",
        "page",
        "mpi",
    ]
    words += ["--w-steps", "2", "--w-plus-steps", "2"]
    assert main([*words, "--tuning-steps", "1"]) == 0
    facts = json.loads((tmp_path / "out" / "photo.project.json").read_text())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*facts["files"], "photo.project.json"}
    # The astronaut looks at the viewer, a little to the side.
    assert abs(facts["pose_before"]["yaw"]) < 25 and facts["psnr"] > 5
    assert read_image(tmp_path / "out" / "photo.pasted.png").shape == (3, 512, 512)
    assert main([*words, "--tuning-steps", "1"]) == 0
    assert "done before" in capsys.readouterr().out
    assert main([*words, "--tuning-steps", "2"]) == 2
    assert "tuning_steps 1, now 2" in capsys.readouterr().err


def test_wrong_input_is_told_in_a_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    photo = run.parent / "photos" / "0.png"
    for words, told in (
        ([str(photo), str(run)], "no face was found"),
        ([str(photo), "face-68"], "draws no multiplane images"),
        ([str(tmp_path / "none.png"), str(run)], "none.png"),
        ([str(photo), str(run), "--outputs", "film"], "film"),
    ):
        assert main(["gmpi", "project", *words, "--out", str(tmp_path / "out")]) in (1, 2)
        error = capsys.readouterr().err
        assert told in error and "Traceback" not in error

"""Multiplane images of photos: the parts by closed forms, and the verb on a real photo."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.browser import Shown
from tests.depthnet.turning import KEYPOINTS, astronaut
from torch import Tensor

from lineament.cli.main import main
from lineament.data.video import VideoReader
from lineament.errors import UsageError
from lineament.geometry.multiplane import MultiplaneImage
from lineament.pipeline.mpi.behind import spread
from lineament.pipeline.mpi.build import build_multiplane, separated
from lineament.pipeline.mpi.options import MpiOptions
from lineament.pipeline.mpi.person import Silhouette, guided_filter, person_matte
from lineament.pipeline.mpi.run import PhotoMultiplane, photo_multiplane
from lineament.pipeline.turn.options import FaceOptions
from lineament.pipeline.turn.run import FaceRequest
from lineament.report.multiplane_files import read_multiplane

FACE = ["--keypoints", str(KEYPOINTS), "--model", "head"]


def decibels(image: Tensor, other: Tensor) -> float:
    return -10 * math.log10(max(float(((image - other) ** 2).mean()), 1e-12))


def seen(image: MultiplaneImage, yaw: float, pitch: float, size: int) -> Tensor:
    angles = torch.deg2rad(torch.tensor([[yaw, pitch]], dtype=torch.float64))
    return image.render(angles[:, 0], angles[:, 1], size).image[0]


def write_photo(path: Path, image: Tensor) -> Path:
    Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy()).save(path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PhotoMultiplane:
    """The astronaut's, at half the size."""
    photo = write_photo(tmp_path_factory.mktemp("photo") / "astronaut.png", astronaut())
    request = FaceRequest.open(FaceOptions(keypoints=KEYPOINTS, model=Path("head")))
    return photo_multiplane(photo, request, MpiOptions(size=256))


def test_spread_keeps_what_is_known():
    image = torch.rand(3, 13, 22, generator=torch.Generator().manual_seed(0))
    known = torch.zeros(13, 22)
    known[3:7, 5:9] = 1
    filled = spread(image, known)
    assert torch.equal(filled[:, 3:7, 5:9], image[:, 3:7, 5:9])
    low, high = image[:, 3:7, 5:9].amin((1, 2)), image[:, 3:7, 5:9].amax((1, 2))
    assert bool((filled >= low[:, None, None] - 1e-5).all() and (filled <= high[:, None, None] + 1e-5).all())
    # Of one colour everything is that colour.
    torch.testing.assert_close(spread(torch.full((1, 9, 9), 0.3), torch.eye(9)), torch.full((1, 9, 9), 0.3))


def test_the_guided_filter_finds_the_edge_of_the_image():
    image = torch.zeros(3, 20, 30)
    image[:, :, 15:] = 0.8
    rough = ((torch.arange(30).float() - 10.5) / 8).clamp(0, 1).expand(20, 30)
    found = guided_filter(image, rough, 6, 1e-4)
    # A ramp across the edge becomes a step there.
    assert float(found[10].diff().max()) > 0.5 and int(found[10].diff().argmax()) == 14
    # What is linear in the colours stays as it is.
    torch.testing.assert_close(guided_filter(image, 1 - image[0], 3, 1e-9), 1 - image[0], atol=1e-4, rtol=0)


def test_a_person_of_another_colour_is_found():
    """A head on shoulders, whose hair the fitted head does not know of."""
    y, x = np.mgrid[:120, :100].astype(float)
    skull = np.hypot((x - 50) / 18, (y - 45) / 24) < 1
    hair = np.hypot((x - 50) / 24, (y - 40) / 28) < 1
    body = (y > 80) & (np.abs(x - 50) < 42)
    person = hair | body | skull | ((np.abs(x - 50) < 10) & (y > 60))
    noise = np.random.default_rng(0).normal(0, 0.02, (3, 120, 100))
    colours = np.where(
        person, np.array([0.6, 0.35, 0.2])[:, None, None], np.array([0.3, 0.5, 0.7])[:, None, None]
    )
    image = torch.from_numpy((colours + noise).clip(0, 1)).float()
    matte = person_matte(image, Silhouette(skull, 22.0, 50.0, 82.0, 42.0))
    found = (matte > 0.5).numpy()
    # At the lowest corners arms would be as likely as a wall.
    found, person, skull = found[:95], person[:95], skull[:95]
    union = (found | person).sum()
    assert (found & person).sum() / union > 0.95 > (skull & person).sum() / union + 0.3


def scene(side: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """A red disc, half of which is 15 px nearer, before a blue wall."""
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    matte = (torch.hypot(x - 31.5, y - 31.5) < 20).float()
    image = torch.where(
        matte > 0, torch.tensor([0.9, 0.1, 0.1])[:, None, None], torch.tensor([0.1, 0.1, 0.9])[:, None, None]
    )
    depth = torch.where(x < 31.5, 0.0, 15.0)
    return image, matte, depth


def test_a_surface_has_no_gaps_and_lies_at_its_depth():
    image, matte, depth = scene()
    mpi = build_multiplane(image, matte, depth, neck=10.0, unit=20.0, focal=160.0)
    assert decibels(seen(mpi, 0, 0, 64), image) > 50
    straight = mpi.render(torch.zeros(1), torch.zeros(1), 64)
    inside = (
        torch.hypot(*(torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij"))) < 15
    )
    near = inside & (torch.arange(64) < 28)
    far = inside & (torch.arange(64) > 35)
    found = (straight.depth[0] - 1) * 160
    assert float(found[near].mean()) == pytest.approx(0, abs=0.3)
    assert float(found[far].mean()) == pytest.approx(15, abs=0.3)
    middle = (
        torch.hypot(*(torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij"))) < 9
    )
    for yaw, pitch in ((20, 0), (-20, 0), (0, 12), (14, -9)):
        view = seen(mpi, yaw, pitch, 64)
        # The step within the disc shows the disc, from either side, and no wall.
        assert float(view[2][middle].max()) < 0.15
        # And the wall behind is the wall, without the disc.
        assert float(view[0, :6].max()) < 0.15
    # A point before the middle goes one way and the wall the other.
    assert mpi.cameras.centre_z == pytest.approx(1 + 10 / 160)


@pytest.mark.parametrize("size", [(40, 90), (90, 40), (64, 64)])
def test_every_pose_within_the_limits_is_covered(size: tuple[int, int]):
    height, width = size
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    matte = torch.zeros(size)
    matte[height // 3 :, width // 3 : 2 * width // 3] = 1
    mpi = build_multiplane(image, matte, torch.zeros(size), neck=3.0, unit=12.0, focal=1.2 * max(size))
    yaw, pitch = (torch.tensor(limits) for limits in (mpi.cameras.yaw_limits, mpi.cameras.pitch_limits))
    views = mpi.render(yaw.repeat(2), pitch.repeat_interleave(2), max(size), outside="raise")
    assert tuple(views.image.shape[2:]) == size
    assert float(views.opacity.min()) > 0.999
    assert decibels(seen(mpi, 0, 0, max(size)), image) > 38


def test_hair_is_told_from_what_is_behind():
    image, matte, _ = scene()
    thin = image.clone()
    # A pixel that is half of the disc and half of the wall, beside the disc.
    thin[:, 31, 52] = (image[:, 31, 31] + image[:, 0, 0]) / 2
    share, behind = separated(thin, matte, 30.0)
    assert float(share[31, 52]) == pytest.approx(0.5, abs=0.15) and float(share[5, 5]) == 0
    torch.testing.assert_close(behind[:, 31, 52], image[:, 0, 0], atol=0.02, rtol=0)
    assert float(behind[0].max()) < 0.15  # nothing of the disc is left
    # Where everything is the person, there is nothing behind.
    everything, _ = separated(image, torch.ones_like(matte), 30.0)
    assert bool((everything == 1).all())


def test_straight_on_it_is_the_photo(made: PhotoMultiplane):
    assert tuple(made.photo.shape) == (3, 256, 256) and made.scale == 0.5
    assert decibels(seen(made.image, 0, 0, 256), made.photo) >= 38
    assert made.note == "" and made.image.facts["photo"] == "astronaut.png"


def test_the_nose_goes_before_the_background(made: PhotoMultiplane):
    """Seen from the right, the nose moves left, and what is behind it right; shoulders hardly move."""
    straight = made.image.render(torch.zeros(1), torch.zeros(1), 256).depth[0]
    nose = made.found.points[30] * made.scale
    depth = straight[int(nose[1]), int(nose[0])]
    assert float(depth) < float(straight[60:64, 110].mean()) < made.image.cameras.centre_z + 0.05
    assert float(straight[10, 10]) == pytest.approx(made.image.far, abs=1e-3)
    assert float(straight[200, 100]) < made.image.far - 0.02


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str], show_page: Callable[[Path], Shown]):
    photo = write_photo(tmp_path / "astronaut.png", astronaut())
    words = ["mpi", str(photo), *FACE, "--size", "128", "--frames", "3", "--video-size", "64"]
    words += ["--results", "page", "video", "atlas", "npz"]
    assert main(words) == 0
    assert "planes: wrote" in capsys.readouterr().out
    stem = "astronaut.png.mpi"
    names = {"astronaut.png", stem, *(f"{stem}.{end}" for end in ("html", "mp4", "npz", "json"))}
    assert {path.name for path in tmp_path.iterdir()} == names
    image = read_multiplane(tmp_path / f"{stem}.npz")
    expected = seen(image, 10, -5, 128)
    torch.testing.assert_close(
        seen(read_multiplane(tmp_path / stem), 10, -5, 128), expected, atol=0.03, rtol=0
    )
    with VideoReader(tmp_path / f"{stem}.mp4") as video:
        assert [tuple(frame.image.shape) for frame in video] == [(3, 64, 64)] * 3
    facts = json.loads((tmp_path / f"{stem}.json").read_text())
    assert facts["meta"]["width"] == 512 and len(facts["faces"][0]["landmarks"]) == 68
    assert facts["faces"][0]["planes"] == len(image.planes)
    shown = show_page(tmp_path / f"{stem}.html")
    shown.page.evaluate("() => lineament.started")
    pose = [math.radians(10), math.radians(-5)]
    values = shown.page.evaluate("pose => Array.from(lineament.image(pose, 128, 128))", pose)
    page = torch.tensor(values).view(128, 128, 4)[..., :3].permute(2, 0, 1) / 255
    assert float((page - expected).abs().max()) <= 3 / 255 and not shown.faults
    assert "made up" in shown.page.inner_text("footer")
    assert main(words) == 0 and "done before" in capsys.readouterr().out
    assert main([*words, "--planes", "12"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_photo_without_a_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = write_photo(folder / "wall.png", torch.full((3, 96, 128), 0.6))
    assert main(["mpi", str(photo), "--landmarks-model", "head", "--model", "head"]) == 1
    said = capsys.readouterr().err
    assert "no face was found" in said and said.count("\n") == 1
    assert not list(folder.glob("*.mpi*"))
    # Among several it is counted, and stops nothing.
    assert main(["mpi", str(folder), "--landmarks-model", "head", "--model", "head"]) == 0
    assert "1 without a face" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--size", "2000"], "--size must lie between 64 and 1024"),
        (["--planes", "3"], "--planes must lie between 8 and 256"),
        (["--frames", "1"], "--frames must lie between"),
        (["--fps", "0"], "--fps must lie above 0"),
        (["--results", "mesh"], "result"),
    ],
)
def test_impossible_options(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["mpi", str(tmp_path / "none.png"), *words]) == 2
    assert sentence in capsys.readouterr().err
    with pytest.raises(UsageError):
        MpiOptions(size=3).check()

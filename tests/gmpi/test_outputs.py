"""Samples, videos and meshes of a run of multiplane images."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from tests.browser import Shown

from lineament.capabilities import MultiplaneGenerator
from lineament.cli.main import main
from lineament.data.images import read_image
from lineament.data.video import VideoReader
from lineament.errors import DataError, UsageError
from lineament.geometry.isosurface import extract_surface
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.planes import make_planes, normalised_depths
from lineament.methods.gmpi.predictor import GMPIPredictor
from lineament.methods.gmpi.renderer import Renderer
from lineament.pipeline.gmpi.mesh import LEVEL, OPAQUE, draw_mesh, volume_of, write_mesh
from lineament.pipeline.gmpi.options import parse_seeds
from lineament.pipeline.gmpi.source import between, latent_of
from lineament.pipeline.gmpi.video import camera_path
from lineament.report.multiplane_files import read_multiplane, write_atlas, write_npz

SIDE = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Multiplane images after two steps."""
    folder = tmp_path_factory.mktemp("gmpi")
    (folder / "photos").mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(noise).save(folder / "photos" / f"{number}.png")
    words = ["--data", str(folder / "photos"), "--run", str(folder / "run"), "--resolution", str(SIDE)]
    words += ["--steps", "2", "--batch-size", "2", "--planes", "6", "--channel-max", "8", "--latent", "8"]
    words += ["--mapping-layers", "1", "--figures-every", "0", "--channel-base", "256"]
    assert main(["train", "gmpi-folder", *words]) == 0
    return folder / "run"


def predictor(variant: str = "plane-depth", planes: int = 6, **options: Any) -> GMPIPredictor:
    torch.manual_seed(0)
    renderer = Renderer(replace(SCENES["ffhq256"], resolution=SIDE), planes)
    sizes: dict[str, Any] = {"z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 8}
    generator = GMPIGenerator(
        SIDE, normalised_depths(renderer.planes), variant=variant, mapping_layers=1, **sizes, **options
    )
    return GMPIPredictor(generator.eval(), renderer)


@pytest.mark.parametrize("variant", ["plane-depth", "plane-token", "predicted-depth", "none"])
def test_opacities_in_parts_are_those_of_the_planes_at_once(variant: str):
    made = predictor(variant, alpha_resolution=16, background_alpha_full=False)
    latent, count = latent_of(3, 8), 6 if variant == "none" else 11
    parts = list(made.opacities(latent, count, 0.7, batch=4))
    whole = made.generator(latent[None], torch.linspace(0, 1, count), truncation_psi=0.7, noise_mode="const")
    assert [len(part) for part in parts] == [4] * (count // 4) + [count % 4]
    # Products of other sizes round otherwise, which the steep ramp around a predicted depth magnifies.
    close = {"atol": 1e-4, "rtol": 1e-3} if variant == "predicted-depth" else {"atol": 1e-6, "rtol": 1e-5}
    torch.testing.assert_close(torch.cat(parts), whole.alpha[0], **close)


def test_a_multiplane_image_is_what_the_renderer_of_the_training_shows():
    made = predictor()
    assert isinstance(made, MultiplaneGenerator)
    pose = torch.tensor([[0.1, 0.3]])  # pitch, yaw
    for planes in (None, 11):
        image = made.multiplane(latent_of(1, 8), planes)
        assert len(image.planes) == (planes or 6) and bool((image.alpha[-1] == 1).all())
        seen = image.render(pose[:, 1], pose[:, 0])
        if planes is None:
            expected, depth = made.views(latent_of(1, 8)[None], pose)
            torch.testing.assert_close(seen.image, expected[0], atol=2e-6, rtol=0)
            torch.testing.assert_close(seen.depth, depth[0, :, 0], atol=1e-6, rtol=0)


def test_samples_are_drawn_once(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["gmpi", "sample", str(run), "--seeds", "0", "5..6", "--yaw", "-20,0,20", "--planes", "8"]
    words += ["--out", str(tmp_path), "--single", "--mpi", "npz", "atlas"]
    assert main(words) == 0
    grid = read_image(tmp_path / "colour.png")
    assert grid.shape == (3, 3 * SIDE, 3 * SIDE)
    assert read_image(tmp_path / "depth.png").shape == grid.shape
    # A row for each seed, a column for each yaw.
    single = read_image(tmp_path / "seed0005.yaw+20.pitch+0.colour.png")
    assert torch.equal(single, grid[:, SIDE : 2 * SIDE, 2 * SIDE :])
    image = read_multiplane(tmp_path / "seed0005.mpi.npz")
    seen = image.render(torch.deg2rad(torch.tensor([20.0])), torch.zeros(1)).image[0]
    torch.testing.assert_close(seen, single, atol=0.51 / 255, rtol=0)
    assert len(image.planes) == 8 and image.facts["seed"] == 5
    torch.testing.assert_close(
        read_multiplane(tmp_path / "seed0005.mpi").alpha, image.alpha, atol=0.51 / 255, rtol=0
    )
    with Image.open(tmp_path / "seed0006.rgba.png") as planes:
        assert planes.mode == "RGBA" and planes.size == (8 * SIDE, SIDE)
    files = json.loads((tmp_path / "samples.json").read_text())["files"]
    assert sorted(files) == sorted(p.name for p in tmp_path.iterdir() if p.name != "samples.json")
    capsys.readouterr()
    assert main(words) == 0 and "done before" in capsys.readouterr().out
    assert main([*words, "--truncation", "0.5"]) == 2
    assert "truncation 1.0, now 0.5" in capsys.readouterr().err
    assert main([*words, "--truncation", "0.5", "--overwrite"]) == 0


def test_videos_of_several_seeds_do_not_overwrite_each_other(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["gmpi", "video", str(run), "--planes", "4", "--frames", "6", "--out", str(tmp_path)]
    assert main([*words, "--seeds", "0..1", "--fps", "25"]) == 0
    assert main([*words, "--seeds", "0..1", "--interpolate", "--path", "circle", "--loop"]) == 0
    names = ["seed0000", "seed0001", "seeds0-1"]
    wanted = [f"{name}.{end}" for name in names for end in ("colour.mp4", "depth.mp4", "json")]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(wanted)
    for name in names:
        with VideoReader(tmp_path / f"{name}.colour.mp4") as video:
            frames = [frame.image for frame in video]
            assert len(frames) == 6 and frames[0].shape == (3, SIDE, SIDE)
            assert video.facts.rate == pytest.approx(8 if name == "seeds0-1" else 25, rel=0.01)
    capsys.readouterr()
    # What was interrupted is made again, what was done is left.
    (tmp_path / "seed0001.json").unlink()
    assert main([*words, "--seeds", "0..1", "--fps", "25"]) == 0
    out = capsys.readouterr().out
    assert "done before: " + str(tmp_path / "seed0000.json") in out and "wrote seed0001.colour.mp4" in out


def test_a_mesh_in_both_formats(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["gmpi", "mesh", str(run), "--smooth", "0", "--whole", "--out", str(tmp_path)]
    assert main([*words, "--seeds", "0"]) == 0
    assert "done before" not in capsys.readouterr().out
    facts = json.loads((tmp_path / "seed0000.mesh.json").read_text())
    for kind in ("ply", "glb"):
        mesh = trimesh.load(tmp_path / f"seed0000.{kind}", force="mesh", process=False)
        assert (len(mesh.vertices), len(mesh.faces)) == (facts["vertices"], facts["triangles"])
    assert main([*words, "--seeds", "0"]) == 0 and "done before" in capsys.readouterr().out
    assert main([*words, "--seeds", "0", "--format", "ply"]) == 2


def test_pages_of_seeds_and_of_files(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    show_page: Callable[[Path], Shown],
):
    words = ["gmpi", "view", str(run), "--seeds", "0", "5", "--planes", "4", "--out", str(tmp_path / "pages")]
    assert main(words) == 0
    names = ["seed0000.html", "seed0000.view.json", "seed0005.html", "seed0005.view.json"]
    assert sorted(p.name for p in (tmp_path / "pages").iterdir()) == names
    shown = show_page(tmp_path / "pages" / "seed0005.html")
    shown.page.evaluate("() => lineament.started")
    assert "Seed 5 of" in shown.page.title() and "not a photo" in shown.page.inner_text("footer")
    assert shown.page.get_attribute("#plane", "max") == "4" and not shown.faults
    capsys.readouterr()
    assert main(words) == 0 and capsys.readouterr().out.count("done before") == 2
    assert main([*words, "--truncation", "0.5"]) == 2
    assert "truncation 1.0, now 0.5" in capsys.readouterr().err

    # Both kinds of files, with a name that is text in the page and no part of it.
    image = predictor().multiplane(latent_of(1, 8))
    name = "<img src=x onerror=alert(1)> & 'b'"
    npz = write_npz(tmp_path / f"{name}.mpi.npz", image)
    folder = write_atlas(tmp_path / "atlas.mpi", image)
    assert main(["gmpi", "view", str(npz)]) == 0
    assert main(["gmpi", "view", str(folder / "mpi.json"), "--out", str(tmp_path / "b")]) == 0
    shown = show_page(tmp_path / f"{name}.html")
    assert shown.page.inner_text("h1") == name and not shown.faults and not shown.outside
    scenes = [(tmp_path / f"{name}.html").read_text(), (tmp_path / "b" / "atlas.html").read_text()]
    pictures = [text[text.index('"textures"') : text.index('<script>\n"use')] for text in scenes]
    assert pictures[0] == pictures[1]
    assert main(["gmpi", "view", str(npz), "--seeds", "3"]) == 2
    assert main(["gmpi", "view", str(npz), "--out", str(npz)]) == 2
    capsys.readouterr()
    assert main(["gmpi", "view", str(tmp_path / "none.npz")]) == 1
    assert "none.npz cannot be read" in capsys.readouterr().err
    # Another multiplane image of that name does not take the page's place unasked.
    write_npz(npz, predictor().multiplane(latent_of(2, 8)))
    assert main(["gmpi", "view", str(npz)]) == 2
    assert main(["gmpi", "view", str(npz), "--overwrite"]) == 0


def ellipsoid(side: int, count: int) -> np.ndarray:
    """Opacities of an ellipsoid's front and all behind it: cells [slices, rows, columns]."""
    steps = np.linspace(-1, 1, side)
    inside = 1 - (steps / 0.6) ** 2 - ((steps / 0.75) ** 2)[:, None]
    surface = np.where(inside > 0, (1 - 0.8 * np.sqrt(inside.clip(0))) * count, np.inf)
    return (np.arange(count)[:, None, None] >= surface).astype(np.float32)


class Made:
    """Draws an ellipsoid."""

    latent_size, resolution, any_planes = 1, 64, True

    def __init__(self) -> None:
        self.scene = predictor()
        self.cameras, self.planes = self.scene.cameras, make_planes(SCENES["ffhq256"], 96)

    def opacities(self, latent, planes, psi=1.0, batch=32):
        yield from torch.from_numpy(ellipsoid(64, planes)).split(batch)

    def multiplane(self, latent, planes=None, psi=1.0):
        ramp = torch.linspace(0, 1, 64)
        colour = torch.stack([ramp.expand(64, -1), ramp[:, None].expand(-1, 64), torch.zeros(64, 64)])
        image = self.scene.multiplane(latent_of(0, 8))
        return replace(image, colour=colour, background=colour, alpha=torch.ones(6, 64, 64))


def test_the_mesh_lies_where_the_renderer_sees_the_surface(tmp_path: Path):
    made = Made()
    mesh = draw_mesh(made, torch.zeros(1), sigma=0.0)
    volume = volume_of(made.planes, 64)
    # Its foremost point: in the middle, a fifth of the way from the first to the last plane.
    z = mesh.vertices[:, 2]
    front = mesh.vertices[z > z.max() - 1e-6].mean(0)
    cell = volume.width / 63
    expected = made.cameras.centre_z - (volume.near + 0.2 * (volume.far - volume.near))
    assert abs(front[0]) < 2 * cell and abs(front[1]) < 2 * cell
    assert front[2] == pytest.approx(expected, abs=1.5 * cell)
    # Taller than wide, and red grows to the right, green downwards.
    wide, tall = np.ptp(mesh.vertices, 0)[:2]
    assert tall / wide == pytest.approx(0.75 / 0.6, rel=0.05)
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    assert np.corrcoef(colours[:, 0], mesh.vertices[:, 0])[0, 1] > 0.99
    assert np.corrcoef(colours[:, 1], mesh.vertices[:, 1])[0, 1] < -0.99
    # Triangles face outwards: those in front the viewer.
    assert mesh.face_normals[:, 2].mean() > 0
    for kind in ("ply", "glb"):
        back = trimesh.load(write_mesh(tmp_path / f"a.{kind}", mesh), force="mesh", process=False)
        np.testing.assert_allclose(np.sort(back.vertices[:, 2]), np.sort(mesh.vertices[:, 2]), atol=1e-6)
        assert len(back.faces) == len(mesh.faces)
    assert len(draw_mesh(made, torch.zeros(1)).faces) > 1000


def test_smoothing_moves_the_surface_by_less_than_a_cell():
    volume = ellipsoid(64, 48) - OPAQUE
    plain, smooth = (extract_surface(volume, LEVEL, sigma=sigma) for sigma in (0.0, 2.0))
    top = [surface.vertices[:, 2].min() for surface in (plain, smooth)]
    assert top[1] - top[0] == pytest.approx(0, abs=2.0)


def test_paths_stay_within_the_limits():
    cameras = predictor().cameras
    for kind in ("yaw", "pitch", "circle"):
        yaw, pitch = camera_path(cameras, kind, 25)
        assert cameras.yaw_limits[0] <= float(yaw.min()) and float(yaw.max()) <= cameras.yaw_limits[1]
        assert cameras.pitch_limits[0] <= float(pitch.min()) and float(pitch.max()) <= cameras.pitch_limits[1]
    assert camera_path(cameras, "yaw", 3)[0].tolist() == pytest.approx([0.5, 0, -0.5])
    # The planes of this scene are too small for the published 0.3.
    assert camera_path(cameras, "pitch", 3)[1].tolist() == pytest.approx([0.254, 0, -0.254], abs=1e-6)


def test_latents_between_two_keep_their_length():
    a, b = latent_of(0, 64), latent_of(1, 64)
    assert torch.equal(between(a, b, 0.0), a) or torch.allclose(between(a, b, 0.0), a, atol=1e-5)
    torch.testing.assert_close(between(a, b, 1.0), b, atol=1e-5, rtol=0)
    assert float(between(a, b, 0.5).norm()) == pytest.approx(float((a.norm() + b.norm()) / 2), rel=1e-5)
    torch.testing.assert_close(between(a, a, 0.3), a)


def test_seeds_are_numbers_and_ranges():
    assert parse_seeds(("3", "0..2", "1")) == [3, 0, 1, 2]
    for words in ((), ("x",), ("4..2",), ("0..99999",), ("-1",)):
        with pytest.raises(UsageError, match="seed"):
            parse_seeds(words)


def test_volumes_that_hold_no_mesh_are_refused():
    planes = make_planes(SCENES["ffhq256"], 4)
    with pytest.raises(DataError, match="two planes or more"):
        volume_of(planes[:1], 64)
    with pytest.raises(DataError, match="thinner than two cells"):
        volume_of(planes, 2)
    empty = Made()
    empty.opacities = lambda *_: iter([torch.zeros(44, 64, 64)])  # type: ignore[method-assign]
    with pytest.raises(DataError, match="there is no surface"):
        draw_mesh(empty, torch.zeros(1))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sample", "--yaw", "60"], "a yaw of 60.0 degrees lies beyond -33.1 to 33.1"),
        (["sample", "--kinds", "color"], "did you mean 'colour'"),
        (["sample", "--mpi", "png"], "format of multiplane images"),
        (["sample", "--planes", "1"], "--planes must lie between 2 and 2048, not 1"),
        (["sample", "--truncation", "5"], "--truncation"),
        (["sample", "--outside", "wrap"], "clamp, raise, zero"),
        (["video", "--path", "round"], "path of the camera"),
        (["video", "--path", "circle", "--yaw", "3"], "give one of the two"),
        (["video", "--interpolate"], "give two or more"),
        (["video", "--fps", "0"], "--fps must lie above 0"),
        (["video", "--frames", "0"], "--frames must lie between"),
        (["mesh", "--format", "obj"], "format of meshes"),
        (["mesh", "--smooth", "-1"], "--smooth must lie between"),
    ],
)
def test_impossible_requests_are_refused_in_a_sentence(
    run: Path, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["gmpi", words[0], str(run), *words[1:], "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_beyond_the_planes_a_view_can_be_clamped(run: Path, tmp_path: Path):
    words = ["gmpi", "sample", str(run), "--seeds", "0", "--yaw", "50", "--planes", "4", "--kinds", "colour"]
    for outside in ("clamp", "zero"):
        assert main([*words, "--outside", outside, "--out", str(tmp_path / outside)]) == 0
    one, other = (read_image(tmp_path / name / "colour.png") for name in ("clamp", "zero"))
    assert bool((other.amax(0) == 0).any()) and not torch.equal(one, other)


SURFACE_1024 = """
import resource, sys, time
import numpy as np
import torch
from pathlib import Path
from lineament.geometry.isosurface import extract_surface, largest_component
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.planes import make_planes
from lineament.pipeline.gmpi.mesh import LEVEL, OPAQUE, SIGMA, coloured, volume_of, write_mesh

side = 1024
volume = volume_of(make_planes(SCENES["ffhq1024"], 96), side)
steps = np.linspace(-1, 1, side)
inside = 1 - (steps / 0.6) ** 2 - ((steps / 0.75) ** 2)[:, None]
surface = np.where(inside > 0, (1 - 0.8 * np.sqrt(inside.clip(0))) * volume.planes, np.inf)
start = time.perf_counter()
cells = ((k >= surface).astype(np.float32) - OPAQUE for k in range(volume.planes - side, volume.planes))
found = largest_component(extract_surface(cells, LEVEL, sigma=SIGMA))
mesh = coloured(found, volume, torch.rand(3, side, side), 1.0)
for kind in ("ply", "glb"):
    write_mesh(Path(sys.argv[1]) / f"mesh.{kind}", mesh)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(mesh.vertices))
"""


@pytest.mark.slow
def test_a_mesh_of_1024_cells_takes_less_than_10_minutes_and_4_gb(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", SURFACE_1024, str(tmp_path)], capture_output=True, text=True, check=True
    )
    seconds, megabytes, vertices = map(float, done.stdout.split())
    print(f"{seconds:.0f} s, {megabytes:.0f} MB, {vertices:.0f} vertices")
    assert seconds < 600 and megabytes < 4096 and vertices > 1e6

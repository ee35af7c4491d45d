"""GMPI's renderer and its lights against recorded results of the published program (README of the goldens).

The record holds texel positions in single precision, which shows where neighbouring texels differ; ours are in double
precision. Where an image misses its tolerance, it may be as far from ours as a plain renderer in single precision is
(`rounding.py`), up to a ceiling.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.parity.gmpi_scenes import SCENE_OF, arrays, as_tensor, column, distance, scene_with
from tests.parity.recorded import Recorded, assert_all_read, matching, read_arrays
from tests.parity.rounding import bound
from torch import Tensor

from lineament.geometry.sphere_camera import intrinsics_from_fov, invert_rigid, position_on_sphere
from lineament.methods.gmpi.cameras import Views, cameras_of, views_of
from lineament.methods.gmpi.datasets import Scene
from lineament.methods.gmpi.lighting import LightRenderer, LightSettings
from lineament.methods.gmpi.planes import texel_points
from lineament.methods.gmpi.renderer import Mpi, Renderer, depth_levels, image_levels
from lineament.ops import mpi_composite

FILES = ("gmpi_rendering/render_*.npz", "gmpi_rendering/light.npz")
# Corners that are not aligned: the published variant scales the grid by 0.95 and is not offered. Lights are drawn by
# another generator than cameras, so the recorded angles are given.
UNREAD = {"gmpi_rendering/render_*": ("alignFalse_*",), "gmpi_rendering/light.npz": ("seed_base",)}

IMAGE, DEPTH, GRADIENT, LIGHT, CAMERAS = 2e-6, 1e-6, 1e-4, 2e-6, 1e-6
CEILING = 2e-4
IMPLS = ("reference", "numba")


def textures_of(file: Recorded[Any]) -> Tensor:
    return as_tensor(file["rgba"]) if "rgba" in file else as_tensor(file["rgba_u8"]).float() / 255


def poses_of(file: Recorded[Any], before: str = "") -> Tensor:
    return torch.stack([column(file[f"{before}pitch"]), column(file[f"{before}yaw"])], dim=1)


def single_precision(
    rgba: Tensor, cameras: Tensor, scene: Scene, planes: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """A plain renderer with everything in single precision: image in -1..1 and depth."""
    cameras, views = cameras.float(), len(cameras)
    steps = torch.arange(size, dtype=torch.float64) + 0.5
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)]).flatten(1)
    rays = torch.linalg.inv(intrinsics_from_fov(scene.fov, size)) @ pixels
    rays = cameras[:, :3, :3] @ (rays / rays.norm(dim=0)).float()
    eye, along = cameras[:, :3, 3], (rays * cameras[:, :3, 2, None]).sum(1)
    rgba, through = rgba.expand(views, *rgba.shape[1:]), torch.ones(views, size, size)
    image, depth = torch.zeros(views, 3, size, size), torch.zeros(views, size, size)
    for k, (z, height, width) in enumerate(planes):
        reach = (z - eye[:, 2, None]) / rays[:, 2]
        u = 2 * (eye[:, 0, None] + reach * rays[:, 0]) / width
        v = 2 * (eye[:, 1, None] + reach * rays[:, 1]) / height
        grid = torch.stack([u, v], dim=-1).view(views, size, size, 2)
        texel = F.grid_sample(rgba[:, k], grid, align_corners=True)
        weight = through * texel[:, 3]
        image += weight[:, None] * texel[:, :3]
        depth += weight * (reach * along).view(views, size, size)
        through = through * (1 - texel[:, 3] + 1e-10)
    return 2 * image - 1, depth[:, None]


def assert_views(
    file: Recorded[Any], renderer: Renderer, impl: str, before: str = "", outside: str = "raise"
) -> None:
    """Image and depth of a recording, and what goes with them."""
    rgba, poses = textures_of(file), poses_of(file, before)
    expected, size = file[f"{before}img"], file.shape(f"{before}img")[-1]
    found = renderer.render(Mpi.from_rgba(rgba), poses, size, impl=impl, outside=outside)
    scene = renderer.scene
    cameras = cameras_of(poses, radius=scene.radius, centre_z=scene.centre_z)
    single = single_precision(rgba, cameras, scene, renderer.planes, size)
    image, depth = (distance(a, b) for a, b in zip(single, (found.image, found.depth), strict=True))
    assert distance(found.image, expected) <= bound(IMAGE, image, CEILING)
    assert distance(found.depth, file[f"{before}depth"]) <= bound(DEPTH, depth, CEILING)
    if f"{before}weight_sum" in file:
        assert distance(found.opacity, file[f"{before}weight_sum"]) <= bound(IMAGE, image, CEILING)


@pytest.mark.parametrize("impl", IMPLS)
def test_gmpi_images_and_depths(goldens: Path, impl: str):
    for path in matching(goldens, "gmpi_rendering/render_*.npz"):
        file = read_arrays(path)
        planes = as_tensor(file["dhw"])
        scene = scene_with(planes)
        cameras = cameras_of(poses_of(file), radius=scene.radius, centre_z=scene.centre_z)
        assert distance(cameras, file["c2w"]) <= CAMERAS
        renderer = Renderer(scene, planes)
        assert_views(file, renderer, impl)
        found = renderer.render(Mpi.from_rgba(textures_of(file)), poses_of(file), 8, impl=impl)
        assert found.pitch_yaw is not None
        assert distance(found.world_to_camera, invert_rigid(cameras)) <= CAMERAS
        if "angles_pitch_yaw" in file:
            assert distance(found.pitch_yaw, file["angles_pitch_yaw"]) <= CAMERAS


@pytest.mark.parametrize("impl", IMPLS)
def test_gmpi_views_beyond_the_last_plane(goldens: Path, impl: str):
    for path in matching(goldens, "gmpi_rendering/render_mid.npz"):
        file = read_arrays(path)
        planes = as_tensor(file["dhw"])
        assert_views(file, Renderer(scene_with(planes), planes), impl, "oor_", "zero")


@pytest.mark.parametrize("impl", IMPLS)
def test_gmpi_gradients(goldens: Path, impl: str):
    for path in matching(goldens, "gmpi_rendering/render_*.npz"):
        file = read_arrays(path)
        if "grad_rgba" not in file:
            continue
        rgba, planes = textures_of(file).requires_grad_(), as_tensor(file["dhw"])
        renderer = Renderer(scene_with(planes), planes)
        found = renderer.render(Mpi.from_rgba(rgba), poses_of(file), file.shape("img")[-1], impl=impl)
        total = (found.image * as_tensor(file["cot_img"])).sum()
        total = total + (found.depth * as_tensor(file["cot_depth"])).sum()
        (gradient,) = torch.autograd.grad(total, rgba)
        expected = as_tensor(file["grad_rgba"])
        assert distance(gradient, expected) <= GRADIENT * float(expected.abs().max())


def on_plane(
    texture: Tensor, plane: Tensor, views: Views, size: int, outside: str, impl: str
) -> tuple[Tensor, Tensor]:
    """A texture ``[V, H, W]`` on a plane where the views see it, and the depth of the plane there times that."""
    black = texture.new_zeros(len(texture), 3, *texture.shape[1:])
    sight = plane[None], views.eye, views.rays, size, size
    _, depth, opacity = mpi_composite(texture[:, None], black, None, *sight, outside=outside, impl=impl)
    return opacity, depth


@pytest.mark.parametrize("impl", IMPLS)
def test_gmpi_each_plane(goldens: Path, impl: str):
    for path in matching(goldens, "gmpi_rendering/render_*.npz"):
        file = read_arrays(path)
        if "plane_rgb" not in file:
            continue
        rgba, planes = textures_of(file), as_tensor(file["dhw"])
        scene, size = scene_with(planes), file.shape("img")[-1]
        cameras = cameras_of(poses_of(file), radius=scene.radius, centre_z=scene.centre_z)
        views = views_of(cameras, scene.fov, size)
        colour, alpha = as_tensor(file["plane_rgb"]), as_tensor(file["plane_alpha"])
        depth, weights = as_tensor(file["plane_depth"]), as_tensor(file["weights"])
        through = torch.ones(len(rgba), 1, size, size, dtype=torch.float64)
        for k in range(len(planes)):
            for channel in range(4):
                expected = colour[:, k, channel] if channel < 3 else alpha[:, k, 0]
                assert (
                    distance(on_plane(rgba[:, k, channel], planes[k], views, size, "zero", impl)[0], expected)
                    <= CEILING
                )
            here = on_plane(torch.ones_like(rgba[:, k, 0]), planes[k], views, size, "clamp", impl)[1]
            assert distance(here, depth[:, k, 0]) <= 2e-6
            assert distance((through * alpha[:, k]).float(), weights[:, k]) <= IMAGE
            through = through * (1 - alpha[:, k].double())


@pytest.mark.parametrize("impl", IMPLS)
def test_gmpi_the_order_of_the_planes_does_not_matter_to_the_sum(goldens: Path, impl: str):
    for path in matching(goldens, "gmpi_rendering/render_*.npz"):
        file = read_arrays(path)
        if "back_to_front_depth" not in file:
            continue
        planes, size = as_tensor(file["dhw"]), file.shape("img")[-1]
        scene = scene_with(planes)
        rgba, poses = textures_of(file), poses_of(file)
        found = Renderer(scene, planes).render(Mpi.from_rgba(rgba), poses, size, impl=impl)
        cameras = cameras_of(poses, radius=scene.radius, centre_z=scene.centre_z)
        single = single_precision(rgba, cameras, scene, planes, size)
        image, depth = (distance(a, b) for a, b in zip(single, (found.image, found.depth), strict=True))
        colour = (found.image + 1) / 2
        assert distance(colour, file["back_to_front_color01"]) <= bound(IMAGE, image, CEILING)
        assert distance(found.depth, file["back_to_front_depth"]) <= bound(DEPTH, depth, CEILING)


def test_gmpi_levels_of_images_and_depths(goldens: Path):
    for path in matching(goldens, "gmpi_rendering/render_mid.npz"):
        file = read_arrays(path)
        scene = scene_with(as_tensor(file["dhw"]))
        # The recorded images, so that rounding plays no part.
        image = image_levels(as_tensor(file["img"])).movedim(1, -1)
        assert distance(image, file["img_u8"]) == 0
        # The difference from near and its share are formed in single precision in another order: a level may turn.
        depth = depth_levels(as_tensor(file["depth"]), scene).movedim(1, -1)
        expected = as_tensor(file["depth_u8"])
        off = (depth.int() - expected.int()).abs()
        assert int(off.max()) <= 1 and float((off > 0).float().mean()) < 1e-3


def test_gmpi_lights(goldens: Path):
    file = arrays(goldens, "light")
    planes = as_tensor(file["dhw"])
    scene = SCENE_OF["FFHQ"] if float(planes[-1, 0]) < 2 else SCENE_OF["AFHQCat"]
    mpi = Mpi.from_rgba(as_tensor(file["mpi"]))
    steps = [int(match[1]) for match in (re.fullmatch(r"out_step(\d+)", name) for name in file) if match]
    assert len(steps) > 2
    lights = LightRenderer(
        planes, radius=scene.radius, centre_z=scene.centre_z, settings=LightSettings(calls=10)
    )
    assert distance(texel_points(planes[-1:], mpi.alpha.shape[-1])[0], file["xyz_last"]) <= LIGHT
    surface = lights.surface(mpi.alpha)
    for found, name in ((surface.depth, "depth"), (surface.blurred, "depth_blur"), (surface.points, "pcl")):
        assert distance(found, file[name]) <= LIGHT
    # Sums of cross products of neighbours nearly cancel; the record is as far from double precision.
    assert distance(surface.normals, file["normal"]) <= 2e-5
    for step in steps:
        yaw, pitch = column(file[f"yaw_step{step}"]), column(file[f"pitch_step{step}"])
        lights.calls = step
        strengths = torch.tensor(lights.settings.strengths(step), dtype=torch.float64)
        assert distance(strengths, file[f"ka_kd_step{step}"]) <= LIGHT
        lit = lights(mpi, yaw_pitch=(yaw, pitch))
        assert lights.calls == step + 1
        assert distance(torch.cat([lit.colour, lit.alpha[:, :, None]], 2), file[f"out_step{step}"]) <= LIGHT
        place = position_on_sphere(yaw, pitch, radius=scene.radius, centre_z=scene.centre_z)
        assert distance(place, file[f"lightpos_step{step}"]) <= LIGHT
        if f"light_dir_step{step}" in file:
            directions = lights.light_directions(yaw, pitch)
            assert distance(directions, file[f"light_dir_step{step}"]) <= LIGHT
            # As the normals.
            share = lights.lit_share(surface.normals, directions)
            assert distance(share, file[f"diffuse_step{step}"]) <= 2e-5


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens, UNREAD)

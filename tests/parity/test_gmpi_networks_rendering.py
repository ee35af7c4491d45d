"""Poses and lights of the recordings of GMPI's training (README of the goldens)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.parity.gmpi_scenes import SCENE_OF, as_tensor, column, distance
from tests.parity.recorded import assert_all_read, matching, read_torch

from lineament.geometry.pose_distribution import PoseDistribution
from lineament.geometry.sphere_camera import (
    angles_on_sphere,
    camera_on_sphere,
    invert_rigid,
    move_to_sphere,
    position_on_sphere,
)
from lineament.methods.gmpi.datasets import deep3d_world_to_camera, eg3d_world_to_camera
from lineament.methods.gmpi.lighting import LightRenderer, LightSettings
from lineament.methods.gmpi.planes import texel_points
from lineament.methods.gmpi.renderer import Mpi

FILES = ("gmpi_networks/poses.pt", "gmpi_networks/light.pt")
# Lights are drawn by another generator than cameras, so the recorded angles are given.
UNREAD = {"gmpi_networks/light.pt": ("calls/*/torch_seed",)}
TOLERANCE = 1e-5


def test_gmpi_networks_poses_of_deep3d(goldens: Path):
    for path in matching(goldens, "gmpi_networks/poses.pt"):
        file = read_torch(path)
        centre, radius = float(file["ffhq/sphere_center"]), float(file["ffhq/sphere_r"])
        raw = deep3d_world_to_camera(file["ffhq/angle"], file["ffhq/trans"], centre_z=centre)
        assert distance(raw, file["ffhq/w2c_unnormalised"]) <= TOLERANCE
        assert distance(move_to_sphere(raw, radius=radius, centre_z=centre), file["ffhq/w2c"]) <= TOLERANCE


def test_gmpi_networks_poses_of_eg3d(goldens: Path):
    for path in matching(goldens, "gmpi_networks/poses.pt"):
        file = read_torch(path)
        centre, radius = float(file["afhq/sphere_center"]), float(file["afhq/sphere_r"])
        raw = eg3d_world_to_camera(file["afhq/c2w"].flatten(1), centre_z=centre)
        pose = move_to_sphere(raw, radius=radius, centre_z=centre)
        assert distance(pose, file["afhq/w2c"]) <= TOLERANCE
        for found, name in zip(angles_on_sphere(pose, centre_z=centre), ("yaw", "pitch"), strict=True):
            assert distance(found, column(file[f"afhq/{name}"])) <= TOLERANCE


def test_gmpi_networks_drawn_poses(goldens: Path):
    for path in matching(goldens, "gmpi_networks/poses.pt"):
        file = read_torch(path)
        names = [name for name in SCENE_OF if f"sampled_{name}/yaw" in file]
        assert names
        for name in names:
            scene, start = SCENE_OF[name], f"sampled_{name}/"
            generator = torch.Generator().manual_seed(int(file[start + "torch_seed"]))
            yaw, pitch = scene.poses.sample(file.shape(start + "yaw")[0], generator)
            assert distance(yaw, column(file[start + "yaw"])) <= TOLERANCE
            assert distance(pitch, column(file[start + "pitch"])) <= TOLERANCE
            camera = camera_on_sphere(yaw, pitch, radius=scene.radius, centre_z=scene.centre_z)
            assert distance(camera, file[start + "c2w"]) <= TOLERANCE
            assert distance(invert_rigid(camera), file[start + "w2c"]) <= TOLERANCE
            back = angles_on_sphere(file[start + "w2c"], centre_z=scene.centre_z)
            for found, angle in zip(back, ("yaw_back", "pitch_back"), strict=True):
                assert distance(found, column(file[start + angle])) <= TOLERANCE


def test_gmpi_networks_lights(goldens: Path):
    for path in matching(goldens, "gmpi_networks/light.pt"):
        file = read_torch(path)
        planes, mpi = file["plane_dhws"], Mpi.from_rgba(file["mpi"])
        yaw, pitch = ((file[f"{name}/0"], file[f"{name}/1"]) for name in ("light_h", "light_v"))
        poses = PoseDistribution(yaw[1], pitch[1], yaw_mean=yaw[0], pitch_mean=pitch[0])
        settings = LightSettings(
            file["ka_max"], file["kd_max"], file["n_grow_iters"], blur=file["blur_ksize"], poses=poses
        )
        published = LightSettings()
        assert (settings.ambient, settings.diffuse) == (published.ambient, published.diffuse)
        assert (settings.blur, settings.poses) == (published.blur, published.poses)
        radius, centre = file["sphere_r"], file["sphere_center_z"]
        lights = LightRenderer(planes, radius=radius, centre_z=centre, settings=settings)
        last = texel_points(planes[-1:], mpi.alpha.shape[-1])[0]
        assert distance(last, file["xyz_last_plane"]) <= TOLERANCE
        surface = lights.surface(mpi.alpha)
        assert distance(surface.depth, file["depth"]) <= TOLERANCE
        assert distance(surface.blurred, file["blurred_depth"]) <= TOLERANCE
        assert distance(surface.points, file["pcl"]) <= TOLERANCE
        # Sums of cross products of neighbours nearly cancel; the record is as far from double precision.
        assert distance(surface.normals, file["normal"]) <= 2 * TOLERANCE
        numbers = sorted({name.split("/")[1] for name in file if name.startswith("calls/")})
        assert len(numbers) > 2
        for number in numbers:
            names = ("call_index", "ka", "kd", "yaw", "pitch", "light_pos", "out")
            call = {name: as_tensor(file[f"calls/{number}/{name}"]) for name in names}
            lights.calls = int(call["call_index"])
            assert lights.settings.strengths(lights.calls) == pytest.approx(
                (float(call["ka"]), float(call["kd"])), abs=TOLERANCE
            )
            angles = column(call["yaw"]), column(call["pitch"])
            place = position_on_sphere(*angles, radius=radius, centre_z=centre)
            assert distance(place, call["light_pos"]) <= TOLERANCE
            lit = lights(mpi, yaw_pitch=angles)
            assert distance(torch.cat([lit.colour, lit.alpha[:, :, None]], 2), call["out"]) <= TOLERANCE


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens, UNREAD)

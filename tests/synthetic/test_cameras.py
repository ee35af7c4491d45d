"""One scene seen by several cameras."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from lineament.errors import UsageError
from lineament.geometry.camera import Camera
from lineament.geometry.rotation import matrix_from_pose
from lineament.synthetic.light import harmonic_basis
from lineament.synthetic.render import Rendering, _light_seen_by
from lineament.synthetic.scene import camera_for
from lineament.synthetic.source import SyntheticFaces


@pytest.fixture(scope="module")
def faces() -> SyntheticFaces:
    return SyntheticFaces(seed=3, count=4, size=64, samples=1, sensor=0.0, grey=0.0)


def camera_at(yaw: float, distance: float, focal: float, width: int, height: int) -> Camera:
    """A camera that looks at the middle of the head from ``yaw`` degrees, its principal point in the middle."""
    world_to_camera = torch.eye(4, dtype=torch.float64)
    world_to_camera[:3, :3] = matrix_from_pose(
        torch.tensor([math.radians(yaw), 0.0, 0.0], dtype=torch.float64)
    )
    world_to_camera[:3, 3] = torch.tensor([0.0, 0.0, distance]) - world_to_camera[:3, :3] @ torch.tensor(
        [0.0, 30.0, 60.0], dtype=torch.float64
    )
    intrinsics = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera(intrinsics.float(), world_to_camera.float(), width, height)


def test_the_camera_of_the_scene_draws_what_its_own_view_draws(faces: SyntheticFaces) -> None:
    scene = faces.scene(1)
    renderer = faces.renderer
    own = renderer.render_view(scene, 64)
    geometry = renderer.build(scene)
    other = camera_at(30, 700, 180, 40, 56)
    first, second = renderer.render(geometry, [camera_for(scene.view, geometry.landmarks, 64), other])
    for field in fields(Rendering):
        if field.name != "camera":
            np.testing.assert_array_equal(getattr(first, field.name), getattr(own, field.name), field.name)
    alone = renderer.render(scene, [other])[0]
    assert second.image.shape == (56, 40, 3) == alone.image.shape
    np.testing.assert_array_equal(second.depth, alone.depth)


def test_landmarks_and_box_lie_where_the_camera_projects_them(faces: SyntheticFaces) -> None:
    geometry = faces.renderer.build(faces.scene(0))
    camera = camera_at(-25, 600, 150, 80, 60)
    seen = faces.renderer.render(geometry, [camera])[0]
    expected = camera.project(torch.from_numpy(geometry.landmarks).double()).numpy()
    np.testing.assert_allclose(seen.fixed, expected, atol=1e-3)
    # The inner points are the same in both schemes.
    np.testing.assert_allclose(seen.landmarks[17:], expected[17:], atol=1e-3)


def test_two_cameras_agree_about_the_surface(faces: SyntheticFaces) -> None:
    """A pixel of one camera, carried by its depth into the other, shows the same place of the skin there."""
    left, right = camera_at(-8, 800, 300, 96, 96), camera_at(8, 800, 300, 96, 96)
    first, second = faces.renderer.render(faces.scene(2), [left, right])
    rows, columns = np.nonzero(first.mask & np.isfinite(first.uv).all(-1))
    depth = first.depth[rows, columns]
    rays = np.linalg.inv(left.intrinsics.double().numpy()) @ np.stack([columns, rows, np.ones(len(rows))])
    in_camera = rays * depth
    world = left.world_to_camera.double().numpy()
    points = world[:3, :3].T @ (in_camera - world[:3, 3:])
    there = right.project(torch.from_numpy(points.T)).numpy()
    x, y = np.rint(there[:, 0]).astype(int), np.rint(there[:, 1]).astype(int)
    inside = (x >= 0) & (x < 96) & (y >= 0) & (y < 96)
    x, y, there = x[inside], y[inside], there[inside]
    # Seen by both: the second camera's own depth there is that of the carried point, give or take a pixel's slope.
    both = np.abs(second.depth[y, x] - there[:, 2]) < 2.0
    assert both.mean() > 0.7
    apart = np.linalg.norm(second.uv[y, x] - first.uv[rows, columns][inside], axis=1)[both]
    assert np.nanmedian(apart) < 0.01


def test_the_light_stays_where_it_is(faces: SyntheticFaces) -> None:
    """What shines on a normal of the head frame is the same for every camera."""
    scene = faces.scene(3)
    directions = np.random.default_rng(0).normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shining = []
    for yaw in (0.0, 35.0, -70.0):
        rotation = camera_at(yaw, 700, 100, 8, 8).world_to_camera[:3, :3].numpy()
        light = _light_seen_by(scene, rotation)
        shining.append(harmonic_basis(directions @ rotation.T) @ light.harmonics)
        np.testing.assert_allclose(np.linalg.norm(light.sun), np.linalg.norm(scene.light.sun), rtol=1e-5)
    np.testing.assert_allclose(shining[1], shining[0], atol=1e-4)
    np.testing.assert_allclose(shining[2], shining[0], atol=1e-4)


def test_a_camera_with_skew_is_refused(faces: SyntheticFaces) -> None:
    camera = camera_at(0, 700, 100, 16, 16)
    skewed = camera.intrinsics.clone()
    skewed[0, 1] = 0.5
    with pytest.raises(UsageError, match="skew"):
        faces.renderer.render(faces.scene(0), [replace(camera, intrinsics=skewed)])

"""Planes, scenes and the layouts of poses."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError, UsageError
from lineament.geometry.sphere_camera import (
    angles_on_sphere,
    camera_on_sphere,
    camera_position,
)
from lineament.methods.gmpi.cameras import cameras_of, ray_directions, views_of
from lineament.methods.gmpi.datasets import (
    SCENES,
    deep3d_world_to_camera,
    eg3d_world_to_camera,
    normalised_pose,
    scene_of,
)
from lineament.methods.gmpi.planes import (
    SPACINGS,
    make_planes,
    normalised_depths,
    normalised_points,
    plane_distances,
    plane_interpolation,
    texel_points,
)
from lineament.methods.gmpi.renderer import Renderer

EVEN = {
    "uniform": lambda z: z,
    "log-uniform": torch.log,
    "sqrt": torch.sqrt,
    "squared": torch.square,
    "inverse": torch.reciprocal,
}


@settings(deadline=None, max_examples=40)
@given(
    spacing=st.sampled_from(SPACINGS),
    count=st.integers(2, 200),
    near=st.floats(0.1, 3),
    depth=st.floats(0.05, 3),
)
def test_planes_are_even_in_what_the_spacing_says(spacing, count, near, depth):
    z = plane_distances(count, near, near + depth, spacing)
    assert z[0] == pytest.approx(near) and z[-1] == pytest.approx(near + depth)
    assert bool((z.diff() > 0).all()) and z.dtype == torch.float32
    steps = EVEN[spacing](z.double()).diff().abs()
    assert float(steps.max() - steps.min()) < 1e-5 * float(steps.mean()) * count


def test_the_published_distances():
    z = plane_distances(32, 0.95, 1.12)
    assert z[[0, 1, 2, 30, 31]].tolist() == pytest.approx(
        [0.95, 0.954674, 0.959395, 1.113572, 1.12], abs=1e-6
    )


@pytest.mark.parametrize(
    ("name", "side", "height", "width"),
    [
        ("ffhq256", 0.2472983, 0.4146447, 0.4944749),
        ("ffhq1024", 0.2472983, 0.4146447, 0.4944749),
        ("afhqcat", 0.6573534, 1.2142088, 1.0477694),
        ("metfaces", 0.2472983, 0.4507745, 0.5684171),
    ],
)
def test_the_published_sizes(name, side, height, width):
    planes = make_planes(SCENES[name], 32)
    assert planes[-1, 1:].tolist() == pytest.approx([height, width], abs=2e-6)
    torch.testing.assert_close(planes[:-1, 1:], torch.full((31, 2), side), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["ffhq512", "afhqcat", "metfaces"])
def test_all_cameras_of_the_range_see_the_last_plane_alone(name):
    scene = SCENES[name]
    planes = make_planes(scene, 8)
    yaw, pitch = (torch.linspace(*ends, 40) for ends in (scene.poses.yaw_range, scene.poses.pitch_range))
    yaw, pitch = (each.flatten() for each in torch.meshgrid(yaw, pitch, indexing="ij"))
    camera = camera_on_sphere(yaw, pitch, radius=scene.radius, centre_z=scene.centre_z)
    # A single pixel, so that its upper left and lower right corners are those of the image.
    corners = [ray_directions(camera, scene.fov, 1, offset=offset) for offset in (0.0, 1.0)]
    border = torch.cat(corners, dim=-1)
    eye = camera[:, :3, 3]
    reach = (planes[-1, 0] - eye[:, 2])[:, None, None]
    x = eye[:, 0, None, None] + reach * border[:, 0] / border[:, 2]
    y = eye[:, 1, None, None] + reach * border[:, 1] / border[:, 2]
    assert float(x.abs().max()) * 2 == pytest.approx(float(planes[-1, 2]) / 1.001, rel=1e-5)
    assert float(y.abs().max()) * 2 == pytest.approx(float(planes[-1, 1]) / 1.001, rel=1e-5)


def test_unconfined_planes_form_a_frustum():
    box, frustum = (make_planes(SCENES["ffhq256"], 16, confined=c) for c in (True, False))
    torch.testing.assert_close(frustum[:-1, 1:], box[:-1, 1:] * (box[:-1, :1] / box[-1, 0]))
    assert torch.equal(frustum[-1], box[-1])


def test_a_renderer_is_made_in_under_ten_milliseconds():
    times = []
    for _ in range(5):
        start = time.process_time()
        Renderer(SCENES["ffhq1024"], 96)
        times.append(time.process_time() - start)
    assert min(times) < 0.01


def test_texels_reach_from_border_to_border():
    planes = make_planes(SCENES["afhqcat"], 3)
    points = texel_points(planes, 5)
    for k in range(3):
        low, high = points[k, 0, 0], points[k, -1, -1]
        torch.testing.assert_close(high - low, torch.stack([planes[k, 2], planes[k, 1], torch.zeros(())]))
        assert (low + high)[:2].abs().max() < 1e-7 and low[2] == planes[k, 0]
    shares = normalised_points(planes, 5)[-1]
    assert shares[0, 0].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert shares[-1, -1].tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert normalised_depths(planes)[[0, -1]].tolist() == [0, 1]
    assert normalised_depths(planes[:1]).tolist() == [0]


@settings(deadline=None, max_examples=30)
@given(source=st.integers(2, 40), target=st.integers(1, 60))
def test_interpolation_of_the_distances_gives_the_distances(source, target):
    low, high = plane_distances(source, 0.95, 1.12), plane_distances(target, 0.96, 1.11)
    weights = plane_interpolation(low, high)
    assert weights.shape == (target, source + 2) and bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(1), torch.ones(target), atol=2e-5, rtol=0)
    torch.testing.assert_close(weights[:, 1:-1] @ low, high, atol=2e-5, rtol=0)
    assert not weights[:, [0, -1]].any()


def test_between_planes_themselves_the_interpolation_is_the_identity():
    z = plane_distances(5, 1.0, 2.0)
    torch.testing.assert_close(plane_interpolation(z, z)[:, 1:-1], torch.eye(5), atol=1e-6, rtol=0)


def test_a_face_turned_by_deep3d_is_seen_from_the_other_side():
    scene, still = scene_of("ffhq256"), torch.zeros(3, 3)
    angle = torch.tensor([[0.0, 0, 0], [0, 0.3, 0], [0.2, 0, 0]])
    pose = normalised_pose(deep3d_world_to_camera(angle, still, centre_z=scene.centre_z), scene)
    yaw, pitch = angles_on_sphere(pose, centre_z=scene.centre_z)
    assert yaw.tolist() == pytest.approx([0, -0.3, 0], abs=1e-6)
    assert pitch.tolist() == pytest.approx([0, 0, 0.2], abs=1e-6)
    centre = torch.tensor([0, 0, scene.centre_z], dtype=torch.float64)
    torch.testing.assert_close(
        (camera_position(pose) - centre).norm(dim=1), torch.full((3,), scene.radius, dtype=torch.float64)
    )


def test_the_roll_of_deep3d_is_kept():
    pose = deep3d_world_to_camera(torch.tensor([[0.0, 0, 0.4]]), torch.zeros(1, 3), centre_z=1.0)
    assert math.atan2(float(pose[0, 1, 0]), float(pose[0, 0, 0])) == pytest.approx(-0.4)


def test_a_label_of_eg3d_is_a_camera():
    scene = scene_of("afhqcat")
    # Their frame: y up and z towards the viewer; a camera in front that looks along -z.
    camera = torch.diag(torch.tensor([1.0, -1, -1, 1]))
    camera[2, 3] = 2.7
    label = torch.cat([camera.flatten(), torch.rand(9)])
    pose = normalised_pose(eg3d_world_to_camera(label[None], centre_z=scene.centre_z), scene)
    torch.testing.assert_close(pose[0], torch.eye(4, dtype=torch.float64), atol=1e-6, rtol=0)


def test_pixel_centres_lie_at_halves_and_views_see_along_the_axis():
    scene = scene_of("ffhq256")
    camera = cameras_of(torch.zeros(1, 2), radius=scene.radius, centre_z=scene.centre_z)
    views = views_of(camera, scene.fov, 4)
    middle = views.rays[0] @ torch.tensor([1.5, 1.5, 1], dtype=torch.float64)
    assert middle.tolist() == pytest.approx([0, 0, 1], abs=1e-12) and len(views) == 1
    pose = torch.tensor([[0.1, 0.4]])  # pitch, yaw
    back = camera_on_sphere(pose[:, 1], pose[:, 0], radius=1.0, centre_z=1.0)
    assert torch.equal(cameras_of(pose, radius=1.0, centre_z=1.0), back)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: scene_of("ffhq255"), UsageError, "did you mean 'ffhq256'"),
        (lambda: plane_distances(0, 1, 2), UsageError, "1 to 9998 planes, not 0"),
        (lambda: plane_distances(4, 1, 2, "inverted"), UsageError, "did you mean 'inverse'"),
        (lambda: replace(SCENES["ffhq256"], near=1.2), UsageError, "0 < near < far"),
        (lambda: replace(SCENES["ffhq256"], fov_degrees=180.0), UsageError, "between 0 and 180"),
        (lambda: make_planes(replace(SCENES["ffhq256"], fov_degrees=170.0), 4), UsageError, "smaller range"),
        (lambda: views_of(torch.eye(4), 0.2, 4), UsageError, r"\[V, 4, 4\]"),
        (lambda: cameras_of(torch.zeros(3), radius=1, centre_z=1), UsageError, r"\(pitch, yaw\)"),
        (lambda: eg3d_world_to_camera(torch.zeros(2, 9), centre_z=1), DataError, "25 numbers, got 9"),
        (lambda: eg3d_world_to_camera(torch.zeros(2, 25), centre_z=1), DataError, "has no inverse"),
        (
            lambda: deep3d_world_to_camera(torch.zeros(2, 4), torch.zeros(2, 3), centre_z=1),
            DataError,
            r"both be \[..., 3\]",
        ),
    ],
)
def test_impossible_requests_are_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()

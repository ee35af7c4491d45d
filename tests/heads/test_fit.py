"""Fitting a head to landmarks: the gradient, the camera, priors and walls, poses of synthetic faces, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.geometry.rotation import matrix_from_pose, pose_from_matrix
from lineament.heads.fit import HeadCamera, _expected_nearness, _noise, _start, fit_head, fit_heads
from lineament.heads.fit_residuals import (
    CAMERA,
    HUBER,
    JAW,
    JAW_NOISE,
    LAYOUT,
    MODEL_NOISE,
    NOISE,
    Cameras,
    HeadResiduals,
    fit_basis,
    seen_basis,
)
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel
from lineament.synthetic.scene import SceneOptions, camera_for, draw_shape

POSE = torch.tensor([0.4, -0.15, 0.1], dtype=torch.float64)


@cache
def head() -> HeadModel:
    return load_head("builtin")


def mean_camera(nearness: float = 0.0, scale: float = 2.0, pose: Tensor = POSE) -> HeadCamera:
    anchor = torch.from_numpy(fit_basis(head()).anchor)
    shift = torch.tensor([120.0, 80.0], dtype=torch.float64)
    return HeadCamera(matrix_from_pose(pose), scale, shift, nearness, anchor)


def seen_mean(camera: HeadCamera) -> Tensor:
    """Landmarks ``[68, 3]`` of the mean face as a camera sees it."""
    vertices = camera.project(torch.from_numpy(head().neutral).double())
    return torch.from_numpy(head().landmarks(vertices[None].float().numpy(), "68")[0]).double()


@cache
def people(count: int = 60, largest: float = 75.0) -> tuple[Tensor, Tensor]:
    """Landmarks ``[N, 68, 2]`` with noise of 1.5 % of the frontal eye distance, and rotations, of synthetic people."""
    options = SceneOptions(max_pitch=math.radians(40), max_roll=math.radians(30))
    rng = np.random.default_rng(0)
    points, rotations = [], []
    for index in range(count):
        shape = draw_shape(head(), options, 11, index, index)
        yaw = math.radians(rng.uniform(-largest, largest))
        view = replace(shape.view, pose=(yaw, *shape.view.pose[1:]))
        vertices = head().vertices(shape.identity[None], shape.expression[None], shape.gaze[None])
        camera = camera_for(view, head().landmarks(vertices)[0], 512)
        placed = (
            vertices[0] @ camera.world_to_camera[:3, :3].numpy().T + camera.world_to_camera[:3, 3].numpy()
        )
        seen = head().seen_landmarks(placed.astype(np.float32)).astype(np.float64)
        pixels = seen @ camera.intrinsics.double().numpy().T
        unit = fit_basis(head()).unit * float(camera.intrinsics[0, 0]) / view.distance
        points.append(pixels[:, :2] / pixels[:, 2:] + rng.normal(0, 0.015 * unit, (68, 2)))
        rotations.append(camera.world_to_camera[:3, :3].double())
    return torch.from_numpy(np.stack(points)), torch.stack(rotations)


def problem(points: Tensor) -> tuple[HeadResiduals, Tensor]:
    """What a fit of the mean face minimises, and parameters at which every part of it is active."""
    basis = fit_basis(head())
    start = _start(basis, points)
    unit = basis.unit * start.scale
    nearness, spread = _expected_nearness(start.scale, None)
    cameras = Cameras(start.rotation, start.scale, start.shift, nearness)
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(len(points), CAMERA + len(basis.fixed) - 1, generator=generator).double()
    x[:, :3] *= 0.02
    x[0, CAMERA + basis.directions.shape[1]] = 1.2
    x[0, 6] = -2.0
    seen = seen_basis(head(), x[:, CAMERA:], cameras.rotation)
    count = basis.directions.shape[1]
    return HeadResiduals(seen, count, points, _noise(unit, None), cameras, nearness, spread, unit), x


def test_the_gradient_is_that_of_the_cost():
    """Huber's part, walls and perspective included; Gauss-Newton's Jacobian itself is not that of the residuals."""
    residuals, x = problem(people()[0][:2])
    at = x.clone().requires_grad_()
    cost = 0.5 * residuals(at).square().sum()
    (true,) = torch.autograd.grad(cost, at)
    with torch.no_grad():
        found = (residuals.jacobian(x).mT @ residuals(x)[..., None])[..., 0]
    assert float((residuals.project(x)[0] - residuals.target).norm(dim=-1).max()) > 3 * HUBER * 5
    torch.testing.assert_close(found, true, rtol=2e-3, atol=2e-3 * float(true.abs().max()))


def test_the_reduced_head_is_the_head():
    basis = fit_basis(head())
    generator = np.random.default_rng(0)
    reduced = generator.standard_normal(basis.directions.shape[1])
    identity = (basis.directions @ reduced).astype(np.float32)
    shape = head().neutral + np.tensordot(identity, head().identity, 1)
    points = basis.fixed[0] + np.tensordot(reduced, basis.fixed[1 : 1 + len(reduced)], 1) + basis.anchor
    np.testing.assert_allclose(points, head().landmarks(shape[None])[0], atol=2e-3)
    # The prior of the reduced coefficients is that of the whole ones.
    assert np.linalg.norm(identity) == pytest.approx(np.linalg.norm(reduced), rel=1e-5)


@pytest.mark.parametrize("nearness", [0.0, 8e-4])
def test_the_camera_of_the_mean_face_is_found(nearness: float):
    truth = mean_camera(nearness)
    points = seen_mean(truth)
    fit = fit_head(head(), points[:, :2])
    assert float((fit.pose - POSE).abs().max()) < math.radians(1.0)
    assert fit.scale == pytest.approx(2.0, rel=0.02)
    torch.testing.assert_close(fit.camera.shift, truth.shift, atol=1.5, rtol=0)
    assert fit.error < 0.01
    # A near camera is told from a far one.
    assert (fit.camera.nearness > 5e-4) == (nearness > 0)


def test_depths_are_counted_from_midway_between_the_eyes():
    points = seen_mean(mean_camera())
    fit = fit_head(head(), points[:, :2])
    left, right = fit.landmarks[LAYOUT.ocular_points(), 2]
    # Turned: one eye lies well behind the other.
    assert abs(float(left - right)) > 20
    assert float(fit.eye_depth) == pytest.approx(float(0.5 * (left + right)))
    # The nose is nearer than the eyes, both ends of the jaw farther.
    assert float(fit.landmarks[LAYOUT.indices("nose_tip"), 2].max()) < float(fit.eye_depth)
    depth = torch.stack([fit.landmarks[:, 2], points[:, 2]])
    assert float(torch.corrcoef(depth)[0, 1]) > 0.995
    unit = fit_basis(head()).unit * fit.scale
    miss = (fit.landmarks[:, :2] - points[:, :2]).norm(dim=1).mean()
    assert fit.error == pytest.approx(float(miss) / unit, abs=0.004)


def test_poses_of_synthetic_people_are_found():
    """Median error in degrees of yaw and pitch: 3 within 40 degrees of yaw, 5 beyond."""
    points, rotations = people()
    fits = fit_heads(head(), points, image_size=(512, 512))
    found = pose_from_matrix(torch.stack([fit.rotation for fit in fits]), "xyz")
    truth = pose_from_matrix(rotations, "xyz")
    error = torch.rad2deg(found - truth).abs()
    frontal = truth[:, 0].abs() < math.radians(40)
    assert int(frontal.sum()) > 20 and int((~frontal).sum()) > 20
    assert bool((error[frontal].median(0).values < 2.0).all()), error[frontal].median(0)
    assert bool((error[~frontal].median(0).values < 3.0).all()), error[~frontal].median(0)


def test_faces_are_fitted_together_as_each_alone():
    points, _ = people()
    together = fit_heads(head(), points[:3])
    alone = fit_head(head(), points[1])
    torch.testing.assert_close(together[1].rotation, alone.rotation, atol=1e-6, rtol=0)
    torch.testing.assert_close(together[1].expression, alone.expression, atol=1e-5, rtol=0)
    assert fit_heads(head(), points[:0]) == []


def test_pixels_and_their_origin_do_not_matter():
    points, _ = people()
    fit, other = fit_head(head(), points[0]), fit_head(head(), 3.0 * points[0] + 50.0)
    torch.testing.assert_close(other.rotation, fit.rotation, atol=1e-5, rtol=0)
    assert other.scale == pytest.approx(3 * fit.scale, rel=1e-5)
    assert other.error == pytest.approx(fit.error, rel=1e-3)


def test_activations_stay_between_nothing_and_all_and_name_what_is_seen():
    points, _ = people()
    for fit in fit_heads(head(), points[:10]):
        assert float(fit.expression.min()) >= 0 and float(fit.expression.max()) <= 1
        assert list(fit.expressions) == list(head().expression_names)
    wide = head().vertices(np.zeros((1, 0), np.float32), head().activations(jaw_open=0.7))
    seen = mean_camera(pose=0 * POSE).project(torch.from_numpy(wide[0]).double())
    landmarks = head().landmarks(seen[None].float().numpy(), "68")[0]
    found = fit_head(head(), torch.from_numpy(landmarks[:, :2])).expressions
    assert max(found, key=lambda name: found[name]) == "jaw_open"
    assert found["jaw_open"] == pytest.approx(0.7, abs=0.15)


def test_a_wild_point_hardly_counts():
    points, _ = people()
    wrong = points[0].clone()
    wrong[LAYOUT.contour("left_brow")[0]] += torch.tensor([60.0, -40.0])
    clean, wild = (fit_head(head(), each).rotation for each in (points[0], wrong))
    off = pose_from_matrix(wild @ clean.T).norm()
    assert float(torch.rad2deg(off)) < 2.0


def test_uncertain_points_count_by_their_std():
    """The same wild points, said to be uncertain, are as good as not there."""
    points, _ = people()
    mouth = list(LAYOUT.contour("outer_lip"))
    wrong = points[0].clone()
    wrong[mouth] += torch.tensor([25.0, 0.0])
    std = torch.full((68,), 2.0)
    sure = fit_head(head(), wrong, std).pose
    std[mouth] = 300.0
    unsure = fit_head(head(), wrong, std).pose
    std[mouth] = float("nan")
    unknown = fit_head(head(), wrong, std).pose
    clean = fit_head(head(), points[0], torch.full((68,), 2.0)).pose
    assert float((unsure - clean).norm()) < 0.5 * float((sure - clean).norm())
    assert float((unknown - clean).norm()) < 0.5 * float((sure - clean).norm())


def test_expected_errors():
    unit = torch.tensor([100.0], dtype=torch.float64)
    plain = _noise(unit, None)[0]
    inner = LAYOUT.ocular_points()[0]
    assert float(plain[inner]) == pytest.approx(100 * NOISE)
    assert float(plain[JAW[0]]) == pytest.approx(100 * NOISE * JAW_NOISE)
    told = _noise(unit, torch.full((1, 68), 3.0, dtype=torch.float64))[0]
    assert float(told[inner]) == pytest.approx(math.hypot(3.0, 100 * MODEL_NOISE))


def test_a_small_face_in_a_large_image_was_far_away():
    """No lens sees 45 degrees to either side and more: 0.5 px/mm in 2000 px is at least 2 m away."""
    scale = torch.tensor([0.5, 5.0], dtype=torch.float64)
    expected, spread = _expected_nearness(scale, (2000, 1000))
    assert float(expected[0]) == pytest.approx(0.5 / 2000) and float(spread[0]) == pytest.approx(0.5 / 2000)
    far, unknown = expected[1], _expected_nearness(scale, None)[0][1]
    assert float(far) == float(unknown)


def test_the_jaw_goes_from_the_outline_to_its_fixed_places():
    points = seen_mean(mean_camera())
    fit = fit_head(head(), points[:, :2])
    inner = [index for index in range(68) if index not in JAW]
    moved = fit.to_fixed(points[:, :2])
    torch.testing.assert_close(moved[inner], points[inner, :2], atol=1e-4, rtol=0)
    fixed = mean_camera().project(torch.from_numpy(head().neutral).double())
    fixed = torch.from_numpy(head().landmarks(fixed[None].float().numpy())[0])
    before = (points[JAW, :2] - fixed[JAW, :2]).norm(dim=1).max()
    assert float(before) > 10
    assert float((moved[JAW] - fixed[JAW, :2]).norm(dim=1).max()) < 0.35 * float(before)


def test_points_that_no_head_fits_are_refused():
    with pytest.raises(DataError, match="within one pixel"):
        fit_head(head(), torch.full((68, 2), 7.0))
    with pytest.raises(DataError, match="one line"):
        fit_head(head(), torch.linspace(0, 100, 68)[:, None].expand(-1, 2))
    with pytest.raises(DataError, match="finite"):
        fit_head(head(), torch.full((68, 2), float("nan")))
    with pytest.raises(UsageError, match="68"):
        fit_heads(head(), torch.zeros(1, 5, 2))
    with pytest.raises(UsageError, match="std"):
        fit_heads(head(), people()[0][:1], torch.zeros(1, 5))

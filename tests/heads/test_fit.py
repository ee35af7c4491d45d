"""Fitting a head to landmarks, part by part against closed forms: camera, ridge, bounds, what is counted from where."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.fit import OUTLINE_WEIGHT, _camera, _coefficients, fit_head
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel

POSE = torch.tensor([0.4, -0.15, 0.1], dtype=torch.float64)


@cache
def head() -> HeadModel:
    return load_head("builtin")


def mean_points() -> np.ndarray:
    return head().landmarks(head().neutral[None])[0].astype(np.float64)


def weights() -> np.ndarray:
    values = np.ones(68)
    values[:17] = OUTLINE_WEIGHT
    return values


def test_the_camera_of_exact_points_is_found():
    rotation = matrix_from_pose(POSE).numpy()
    target = 1.7 * mean_points() @ rotation[:2].T + [120.0, 80.0]
    scale, found, shift = _camera(mean_points(), target, weights())
    assert scale == pytest.approx(1.7)
    # All three rows: the third, that no picture shows, completes a rotation.
    np.testing.assert_allclose(found, rotation, atol=1e-7)
    assert np.linalg.det(found) == pytest.approx(1.0)
    np.testing.assert_allclose(shift, [120.0, 80.0], atol=1e-6)


def test_a_squashed_picture_has_the_mean_of_both_scales():
    target = mean_points()[:, :2] * [1.0, 1.5]
    scale, found, _ = _camera(mean_points(), target, np.ones(68))
    assert scale == pytest.approx(1.25)
    np.testing.assert_allclose(found, np.eye(3), atol=1e-6)


def test_the_outline_counts_less_for_the_shift():
    """All points of the outline lie 10 px right of where they ought to: the shift follows by their share of weight."""
    points = mean_points()
    target = points[:, :2].copy()
    target[:17, 0] += 10.0
    scale, rotation, shift = _camera(points, target, weights())
    left = target - scale * points @ rotation[:2].T
    np.testing.assert_allclose(shift, (weights()[:, None] * left).sum(0) / weights().sum())
    # Next to the plain mean that is a difference one can measure.
    assert abs(shift[0] - left.mean(0)[0]) > 0.3


def test_coefficients_are_the_ridge_solution_by_hand():
    """Noise of 0.02 eye distances, a prior of 1 on identity and 2 on expressions, where no bound is met."""
    basis, count = head().landmark_basis, len(head().identity)
    generator = np.random.default_rng(0)
    truth = np.zeros(len(basis) - 1)
    truth[:count] = 0.3 * generator.standard_normal(count)
    truth[count:] = 0.5
    rotation = matrix_from_pose(POSE).numpy()
    shape = basis[0] + np.tensordot(truth, basis[1:], 1)
    shift = np.array([50.0, 60.0])
    target = 1.3 * shape @ rotation[:2].T + shift + generator.normal(0, 0.05, (68, 2))
    distance = float(np.linalg.norm(target[36] - target[45]))
    arguments = (target, weights(), 1.3, rotation, shift, distance)
    # A head of only as many expressions as a fit in the middle of their range can tell apart.
    few = [0, 1, 2]
    small = replace(head(), identity=head().identity[:5], expression=head().expression[few])
    kept = np.array([0, *range(1, 6), *(1 + count + index for index in few)])
    found = _coefficients(basis[kept], small, *arguments)
    seen = 1.3 * basis[kept] @ rotation[:2].T
    root = np.sqrt(weights())[:, None] / (0.02 * distance)
    effects = (seen[1:] * root).reshape(8, -1).T
    wanted = ((target - shift - seen[0]) * root).ravel()
    prior = np.diag(np.r_[np.ones(5), np.full(3, 2.0)]) ** 2
    plain = np.linalg.solve(effects.T @ effects + prior, effects.T @ wanted)
    free = (np.abs(plain[:5]) < 3).all() and (plain[5:] > 0).all() and (plain[5:] < 1).all()
    if free:
        np.testing.assert_allclose(found, plain, atol=1e-6)
    else:
        # Where a bound is met the solution is the best of those within.
        def cost(x: np.ndarray) -> float:
            return float(((effects @ x - wanted) ** 2).sum() + x @ prior @ x)

        inside = np.r_[plain[:5].clip(-3, 3), plain[5:].clip(0, 1)]
        assert cost(found) <= cost(inside) + 1e-6


def test_the_priors_pull_as_strongly_as_they_say():
    """One identity and one expression that both move one coordinate of one point by a known amount."""
    basis = np.zeros((3, 68, 3))
    basis[1, 30, 0] = basis[2, 30, 0] = 4.0
    one = replace(head(), identity=head().identity[:1], expression=head().expression[:1])
    target = np.zeros((68, 2))
    target[30, 0] = 1.0
    # Distance 50: the noise is one pixel, so effects are 4 and 4, wanted 1, the priors 1 and 2.
    found = _coefficients(basis, one, target, np.ones(68), 1.0, np.eye(3), np.zeros(2), 50.0)
    system = np.array([[4.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(found, np.linalg.lstsq(system, [1.0, 0.0, 0.0], rcond=None)[0], atol=1e-8)


@pytest.mark.parametrize(("asked", "identity", "expression"), [(-40.0, -3.0, 0.0), (40.0, 3.0, 1.0)])
def test_coefficients_stay_in_their_ranges(asked: float, identity: float, expression: float):
    basis = np.zeros((3, 68, 3))
    basis[1, 30, 0] = basis[2, 31, 0] = 4.0
    one = replace(head(), identity=head().identity[:1], expression=head().expression[:1])
    target = np.zeros((68, 2))
    target[30:32, 0] = asked
    found = _coefficients(basis, one, target, np.ones(68), 1.0, np.eye(3), np.zeros(2), 50.0)
    assert found.tolist() == pytest.approx([identity, expression], abs=1e-6)


def test_depths_are_counted_from_midway_between_the_eyes():
    rotation = matrix_from_pose(POSE)
    turned = (2.0 * head().neutral @ rotation.numpy().T).astype(np.float32)
    points = torch.from_numpy(head().landmarks(turned[None], "68")[0]).double()
    fit = fit_head(head(), points[:, :2])
    left, right = fit.landmarks[36, 2], fit.landmarks[45, 2]
    # Turned: one eye lies well behind the other.
    assert abs(float(left - right)) > 20
    assert float(fit.eye_depth) == pytest.approx(float(0.5 * (left + right)))
    assert fit.scale == pytest.approx(2.0, rel=0.02)
    assert float((fit.pose - POSE).abs().max()) < 0.03
    # The nose is nearer than the eyes, the far end of the jaw farther.
    assert float(fit.landmarks[30, 2]) < float(fit.eye_depth)
    distance = float((points[36, :2] - points[45, :2]).norm())
    miss = (fit.landmarks[:, :2] - points[:, :2]).norm(dim=1).mean()
    assert fit.error == pytest.approx(float(miss) / distance)

"""The expressions of the built-in head: each moves its part, in the right way, and not what lies far away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.heads import HeadModel, Part
from lineament.heads.builtin import builtin_head
from lineament.heads.builtin.template import EYE_CENTRES

REST = np.zeros((1, 0), np.float32)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return builtin_head()


def points(head: HeadModel, **activations: float) -> np.ndarray:
    return head.landmarks(head.vertices(REST, head.activations(**activations)))[0]


def moved(head: HeadModel, **activations: float) -> np.ndarray:
    return points(head, **activations) - points(head)


def opening(landmarks: np.ndarray, side: str) -> float:
    upper, lower = ([43, 44], [47, 46]) if side == "left" else ([37, 38], [41, 40])
    return float((landmarks[lower, 1] - landmarks[upper, 1]).mean())


def test_the_names_promised_are_there(head: HeadModel) -> None:
    sides = ["smile", "frown", "brow_up", "brow_down", "lid_close", "lid_wide", "squint", "jaw", "gaze"]
    wanted = {f"{name}_{side}" for name in sides for side in ("left", "right")}
    wanted |= {"jaw_open", "pucker", "lip_press", "funnel", "upper_lip_raise", "lower_lip_down", "cheek_puff"}
    wanted |= {"brow_inner_up", "nose_wrinkle", "gaze_up", "gaze_down"}
    assert wanted <= set(head.expression_names)


def test_the_jaw_opens_the_mouth_and_leaves_the_upper_face(head: HeadModel) -> None:
    gap = points(head, jaw_open=1.0)[66, 1] - points(head, jaw_open=1.0)[62, 1]
    assert 25 < gap < 45
    assert 10 < points(head, jaw_open=0.5)[66, 1] - points(head, jaw_open=0.5)[62, 1] < 25
    shift = moved(head, jaw_open=1.0)
    assert shift[8, 1] > 18
    assert np.abs(shift[17:48]).max() < 0.5
    assert abs(points(head)[66, 1] - points(head)[62, 1]) < 1.0


def test_teeth_follow_their_jaw(head: HeadModel) -> None:
    shift = (head.vertices(REST, head.activations(jaw_open=1.0)) - head.vertices(REST, head.activations()))[0]
    teeth = np.unique(head.faces[head.part == Part.TEETH])
    lengths = np.linalg.norm(shift[teeth], axis=1)
    assert ((lengths < 1e-3) | (lengths > 15)).all()
    assert (lengths > 15).any()
    assert (lengths < 1e-3).any()


@pytest.mark.parametrize(
    ("name", "landmark", "axis", "sign"),
    [
        ("smile_left", 54, 1, -1), ("smile_left", 54, 0, 1), ("smile_right", 48, 1, -1), ("smile_right", 48, 0, -1),
        ("frown_left", 54, 1, 1), ("frown_right", 48, 1, 1),
        ("mouth_stretch_left", 54, 0, 1), ("mouth_stretch_right", 48, 0, -1),
        ("jaw_left", 8, 0, 1), ("jaw_right", 8, 0, -1), ("jaw_forward", 8, 2, -1),
        ("pucker", 54, 0, -1), ("pucker", 51, 2, -1), ("funnel", 57, 1, 1), ("funnel", 51, 1, -1),
        ("upper_lip_raise", 51, 1, -1), ("lower_lip_down", 57, 1, 1),
        ("brow_up_left", 24, 1, -1), ("brow_up_right", 19, 1, -1),
        ("brow_down_left", 22, 1, 1), ("brow_down_right", 21, 1, 1),
        ("brow_inner_up", 21, 1, -1), ("brow_inner_up", 22, 1, -1), ("nose_wrinkle", 35, 1, -1),
    ],
)  # fmt: skip
def test_each_expression_moves_its_landmark(
    head: HeadModel, name: str, landmark: int, axis: int, sign: int
) -> None:
    shift = moved(head, **{name: 1.0})[landmark, axis] * sign
    assert 1.5 < shift < 14.0


@pytest.mark.parametrize(
    ("name", "still"),
    [
        ("smile_left", [*range(17, 31), *range(36, 40), 48]), ("smile_right", [*range(17, 31), *range(43, 46), 54]),
        ("frown_left", [*range(17, 48), 48]), ("pucker", [*range(17, 31), *range(36, 48), 8]),
        ("lip_press", [*range(17, 48), 8]), ("funnel", [*range(17, 31), *range(36, 48), 8]),
        ("brow_up_left", [*range(17, 21), *range(28, 42), *range(48, 68)]),
        ("brow_up_right", [*range(23, 27), *range(28, 36), *range(42, 68)]),
        ("brow_inner_up", [17, 26, *range(29, 68)]), ("lid_close_left", [*range(42), *range(48, 68)]),
        ("lid_close_right", [*range(36), *range(42, 68)]), ("lid_wide_left", [*range(42), *range(48, 68)]),
        ("gaze_left", list(range(68))), ("cheek_puff", [*range(17, 31), *range(36, 48)]),
        ("nose_wrinkle", [0, 1, 2, 8, 14, 15, 16, 36, 45, *range(55, 60)]),
    ],
)  # fmt: skip
def test_what_lies_far_away_stays(head: HeadModel, name: str, still: list[int]) -> None:
    assert np.linalg.norm(moved(head, **{name: 1.0})[still], axis=1).max() < 1.3


@pytest.mark.parametrize("side", ["left", "right"])
def test_lids_close_and_open(head: HeadModel, side: str) -> None:
    rest = opening(points(head), side)
    other = "right" if side == "left" else "left"
    assert 7 < rest < 11
    closed = points(head, **{f"lid_close_{side}": 1.0})
    assert abs(opening(closed, side)) < 1.0
    assert opening(closed, other) == pytest.approx(rest, abs=1e-3)
    half = opening(points(head, **{f"lid_close_{side}": 0.5}), side)
    assert 0.35 * rest < half < 0.65 * rest
    assert opening(points(head, **{f"lid_wide_{side}": 1.0}), side) > rest + 1.5
    assert 0.3 * rest < opening(points(head, **{f"squint_{side}": 1.0}), side) < 0.85 * rest
    both = points(head, **{f"lid_close_{side}": 1.0, f"lid_wide_{side}": 1.0, f"squint_{side}": 1.0})
    assert abs(opening(both, side)) < 1.5


def test_a_closed_eye_shows_no_eyeball(head: HeadModel) -> None:
    """Every front vertex of the eyeball is covered by a lid face in front of it, seen from the front."""
    vertices = head.vertices(REST, head.activations(lid_close_left=1.0))[0].astype(np.float64)
    eye = vertices[head.eyes.ids[0]]
    eye = eye[eye[:, 2] < -5.5]
    lids = head.faces[(head.part == Part.SKIN)]
    middle = vertices[lids].mean(axis=1)
    lids = lids[(np.abs(middle[:, 0] - 31) < 20) & (np.abs(middle[:, 1]) < 16) & (middle[:, 2] < 5)]
    a, b, c = (vertices[lids[:, corner]] for corner in range(3))
    u, v = b - a, c - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    covered = 0
    for point in eye:
        w = point - a
        s = (w[:, 0] * v[:, 1] - w[:, 1] * v[:, 0]) / area
        t = (u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]) / area
        depth = a[:, 2] + s * u[:, 2] + t * v[:, 2]
        covered += bool(((s >= -0.01) & (t >= -0.01) & (s + t <= 1.01) & (depth < point[2])).any())
    assert covered >= 0.97 * len(eye)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_lids_never_cut_into_the_eyes(seed: int) -> None:
    head = builtin_head()
    rng = np.random.default_rng(seed)
    identity = np.clip(rng.standard_normal((1, len(head.identity))), -2.8, 2.8).astype(np.float32)
    expression = (rng.random((1, len(head.expression))) ** 2).astype(np.float32)
    gaze = rng.uniform(-0.45, 0.45, (1, 2, 2)).astype(np.float32)
    vertices = head.vertices(identity, expression, gaze)[0]
    for eye in range(2):
        centre = vertices[head.eyes.anchors[eye]].mean(axis=0)
        radius = np.linalg.norm(vertices[head.eyes.ids[eye]] - centre, axis=1)
        assert radius.std() < 0.02
        lids = np.linalg.norm(vertices[head.eyes.lid_ids[eye]] - centre, axis=1)
        assert lids.min() > radius.mean() + 0.2


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [("gaze_left", 0, 1), ("gaze_right", 0, -1), ("gaze_up", 1, -1), ("gaze_down", 1, 1)],
)
def test_gaze_turns_both_eyes_rigidly(head: HeadModel, name: str, axis: int, sign: int) -> None:
    vertices = head.vertices(REST, head.activations(**{name: 1.0}))[0]
    for eye in range(2):
        front, centre = vertices[head.eyes.ids[eye][-1]], vertices[head.eyes.anchors[eye]].mean(axis=0)
        direction = (front - centre) / np.linalg.norm(front - centre)
        assert direction[axis] * sign > 0.3
        assert np.linalg.norm(front - centre) == pytest.approx(head.eyes.radius, abs=1e-3)
        assert np.allclose(centre, EYE_CENTRES[eye], atol=1e-3)


def test_an_explicit_gaze_turns_each_eye_by_its_own_angle_and_the_lids_follow(head: HeadModel) -> None:
    gaze = np.array([[[0.2, 0.3], [-0.1, 0.3]]], np.float32)
    vertices = head.vertices(REST, head.activations(), gaze)
    for eye in range(2):
        direction = vertices[0, head.eyes.ids[eye][-1]] - vertices[0, head.eyes.anchors[eye]].mean(axis=0)
        direction /= np.linalg.norm(direction)
        yaw, pitch = gaze[0, eye]
        wanted = [np.sin(yaw) * np.cos(pitch), np.sin(pitch), -np.cos(yaw) * np.cos(pitch)]
        assert np.allclose(direction, wanted, atol=1e-4)
    lids = head.landmarks(vertices)[0, [37, 38, 43, 44], 1] - points(head)[[37, 38, 43, 44], 1]
    assert (lids > 1.5).all()


def test_expressions_stay_bounded_together(head: HeadModel) -> None:
    rng = np.random.default_rng(3)
    expression = rng.random((40, len(head.expression))).astype(np.float32)
    everything = head.landmarks(head.vertices(np.zeros((40, 0), np.float32), expression))
    assert np.linalg.norm(everything - points(head), axis=-1).max() < 55
    smile = moved(head, smile_left=1.0, mouth_stretch_left=1.0, dimple_left=1.0)[54, 0]
    assert smile < 16


def test_activation_scales_the_movement(head: HeadModel) -> None:
    for name in ("smile_left", "brow_up_right", "pucker", "jaw_open"):
        assert np.allclose(2 * moved(head, **{name: 0.5}), moved(head, **{name: 1.0}), atol=0.05), name

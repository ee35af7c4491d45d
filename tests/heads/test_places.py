"""Where on a head the pixels of a face lie: carried from one drawn head to another, and what it is on a grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.load import load_head
from lineament.heads.places import VERTICES, Anchors, HeadPlaces, carried
from lineament.heads.surface import embed

HEAD = load_head("builtin")
# Vertices of the skin before the ears that are no anchors of the spline.
FRONT = 20.0


@pytest.fixture(scope="module")
def places() -> HeadPlaces:
    return HeadPlaces(HEAD)


def drawn(seed: int, yaw: float, pitch: float = 0.0) -> Tensor:
    """Vertices ``[V, 3]`` of a random person in pixels of an image."""
    rng = np.random.default_rng(seed)
    identity = 0.7 * rng.standard_normal(len(HEAD.identity_names))
    vertices = HEAD.vertices(
        identity[None].astype(np.float32), np.zeros((1, len(HEAD.expression_names)), np.float32)
    )[0]
    turn = matrix_from_pose(torch.tensor([np.radians(yaw), np.radians(pitch), 0.1]).double())
    return 1.3 * torch.from_numpy(vertices).double() @ turn.T + torch.tensor([150.0, 140.0, 0.0])


def landmarks(vertices: Tensor) -> Tensor:
    return torch.from_numpy(HEAD.landmarks(vertices[None].float().numpy(), "68")[0, :, :2]).double()


def others(places: HeadPlaces) -> np.ndarray:
    kept = np.ones(len(HEAD.neutral), bool)
    kept[places.chosen] = False
    x, y, z = HEAD.neutral.T
    return np.flatnonzero(kept & (z < FRONT) & (abs(y) < 80.0) & (abs(x) < 60.0))


@pytest.mark.parametrize(("yaw", "bound"), [(8.0, 2.5), (25.0, 4.0)])
def test_points_that_no_spline_knows_are_carried(places: HeadPlaces, yaw: float, bound: float) -> None:
    errors = []
    index = torch.from_numpy(others(places))
    for seed in range(3):
        one, two = drawn(2 * seed, 0.0), drawn(2 * seed + 1, yaw, 5.0)
        a, b = (places.anchors(landmarks(each), image_size=(300, 300)) for each in (one, two))
        eyes = landmarks(two)[[36, 45]]
        found = carried(one[index, :2], a, b)
        # The middle of all: what lies on the far side of the head is not what the first image shows there.
        errors.append(float((found - two[index, :2]).norm(dim=1).median() / (eyes[0] - eyes[1]).norm()))
    assert 100 * float(np.mean(errors)) < bound


def test_a_face_carried_to_itself_stays(places: HeadPlaces) -> None:
    face = drawn(3, 20.0)
    anchors = places.anchors(landmarks(face), torch.full((68,), 2.0))
    points = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)).double() * 80 + 110
    torch.testing.assert_close(carried(points, anchors, anchors), points, atol=1e-6, rtol=0)


def test_no_shift_turn_or_scale_matters(places: HeadPlaces) -> None:
    face = drawn(4, -15.0)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]]).double()
    anchors = places.anchors(landmarks(face))
    moved = Anchors((anchors.points @ turn.T.numpy()) * 3.0 + 7.0, anchors.looseness)
    points = landmarks(face)[[0, 30, 50]] + 3.0
    there = carried(points, anchors, moved)
    torch.testing.assert_close(there, points @ turn.T * 3.0 + 7.0, atol=1e-5, rtol=0)


def test_unsure_landmarks_pull_less(places: HeadPlaces) -> None:
    face = landmarks(drawn(5, 0.0))
    wrong = face.clone()
    wrong[30] += 12.0
    std = torch.full((68,), 1.0)
    unsure = std.clone()
    unsure[30] = 12.0
    true = places.anchors(face, std)
    off = [
        float((carried(face[30:31], true, places.anchors(wrong, each)) - face[30:31]).norm())
        for each in (std, unsure)
    ]
    assert off[1] < 0.5 * off[0]


def test_the_grid_tells_the_same_place_on_two_faces(places: HeadPlaces) -> None:
    side = 64
    maps, spots = [], []
    for seed, yaw in ((6, 0.0), (7, 15.0)):
        points = landmarks(drawn(seed, yaw)) * (side / 300)
        anchors = places.anchors(points)
        maps.append(embed(torch.from_numpy(places.view(anchors, side))))
        spots.append(points.round().long())
    assert maps[0].shape[:2] == (side, side)
    first, second = (each[spot[:, 1], spot[:, 0]] for each, spot in zip(maps, spots, strict=True))
    alike = first[17:] @ second[17:].T
    assert float(alike.diagonal().min()) > 0.6 and float(alike.diagonal().median()) > 0.97
    assert float(alike.mean()) < 0.75
    assert len(places.flat) == VERTICES + 68


def test_points_on_a_line_are_refused(places: HeadPlaces) -> None:
    with pytest.raises(DataError):
        places.anchors(torch.linspace(0, 1, 68)[:, None].expand(68, 2))

"""Geometry of generated people: true heads pass, paintings of them do not, and every failure counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.multiplane_people import SIDE, HeadGenerator

import lineament
from lineament.capabilities import MultiplaneGenerator
from lineament.evaluation.face_geometry import (
    Observer,
    PersonMeasures,
    find_face,
    look_at,
    order_of_depths,
)
from lineament.evaluation.generated import Draws
from lineament.evaluation.geometry_cards import geometry_cards, published_pose_card
from lineament.evaluation.people import DRAWN, FRONT, LEFT, RIGHT, DrawnPeople, convex_hull_mask
from lineament.faces.schemes import scheme
from lineament.heads.load import load_head

COUNT = 6


@pytest.fixture(scope="module")
def observer() -> Observer:
    return Observer(lineament.load("face-68"), load_head("builtin"))


@pytest.fixture(scope="module")
def truth(observer: Observer) -> list[PersonMeasures]:
    return look_at(HeadGenerator().people, COUNT, observer)


def people(flat: bool = False) -> DrawnPeople:
    generator = HeadGenerator(flat)
    assert isinstance(generator, MultiplaneGenerator)
    return DrawnPeople(Draws(generator))


def test_heads_on_planes_are_measured_as_heads_and_paintings_as_flat(
    observer: Observer, truth: list[PersonMeasures]
):
    solid, flat = (look_at(people(each), COUNT, observer) for each in (False, True))
    order, depth, pose = geometry_cards(solid, truth, how="heads", head="builtin", seed=0)
    assert order.value >= 80 and order.count == COUNT and order.details["true_heads"] >= 80
    assert depth.value > 0.8 and depth.details["true_heads"] > 0.85
    assert depth.details["standardised_error"] == pytest.approx(2 - 2 * depth.value, abs=1e-3)
    assert "heads" in order.protocol and f"true depths of {COUNT} synthetic heads" in depth.protocol
    # A multiplane image shows a head from its cameras: the pose that is found is the camera's.
    assert pose.details["median_yaw_degrees"] < 4 and pose.details["median_pitch_degrees"] < 6
    assert pose.details["true_heads_median_yaw_degrees"] < 3
    order, depth, pose = geometry_cards(flat, truth, how="paintings", head="builtin")
    assert order.value == 0 and abs(depth.value) < 0.3
    # A painting seems to look where it did.
    assert pose.details["median_yaw_degrees"] > 4


def test_views_are_those_of_the_cameras():
    views = people()(3)
    assert views.images.shape == (4, 3, SIDE, SIDE) and views.depth.shape == (4, SIDE, SIDE)
    assert views.yaw[FRONT] == views.pitch[FRONT] == 0 and views.pitch[LEFT] == 0
    assert math.degrees(views.yaw[RIGHT]) == pytest.approx(20) and views.yaw[LEFT] == -views.yaw[RIGHT]
    levels = views.images * 255
    assert torch.equal(levels, levels.round()) or float((levels - levels.round()).abs().max()) < 1e-4
    assert views.yaw[DRAWN] != people()(4).yaw[DRAWN]


def test_the_side_views_stay_within_the_cameras_range():
    drawn = people()
    cameras = drawn.cameras
    assert drawn.sideways == pytest.approx(math.radians(20)) and drawn.side == SIDE
    object.__setattr__(cameras, "yaw_limits", (-0.2, 0.2))
    assert drawn.sideways == pytest.approx(0.2)


def test_the_order_of_depths_is_read_at_the_landmarks():
    layout = scheme("68")
    points = torch.rand(68, 2, generator=torch.Generator().manual_seed(0)) * 30 + 1
    depth = torch.full((33, 33), 5.0)

    def mark(name: str, value: float) -> None:
        x, y = points[layout.index(name)].round().int().tolist()
        depth[y - 1 : y + 2, x - 1 : x + 2] = value

    points = points.round()
    assert order_of_depths(depth, points) == (False, False)
    points[:, 0] = points[:, 0].clamp(max=20)
    for name, place in (("nose_tip", (5, 30)), ("jaw_end_left", (25, 5)), ("jaw_end_right", (25, 15))):
        points[layout.index(name)] = torch.tensor(place, dtype=torch.float32)
    points[17:30, 1] = points[17:30, 1].clamp(max=25)
    points[31:, 1] = points[31:, 1].clamp(max=25)
    mark("nose_tip", 4.0)
    mark("jaw_end_left", 6.0)
    assert order_of_depths(depth, points) == (True, False)
    mark("jaw_end_right", 6.0)
    assert order_of_depths(depth, points) == (True, True)
    mark("nose_tip", 5.0)
    assert order_of_depths(depth, points) == (False, True)


def test_no_face_is_no_success(observer: Observer):
    noise = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert find_face(observer.model, noise) is None
    nobody = [PersonMeasures()] * 3
    seen = [PersonMeasures(nose_nearest=True, ears_farthest=True)]
    (order,) = geometry_cards([*nobody, *seen], [], how="noise", head="builtin")
    assert (
        order.value == 25 and order.details["not_found"] == 3 and "no face was found in 3" in order.protocol
    )


def test_a_tilt_that_all_have_in_common_is_no_error_of_pose():
    draws = np.random.default_rng(0)
    cameras = draws.normal(0, 0.2, (50, 2))
    found = [
        PersonMeasures(pose=np.array([yaw + 0.01, pitch + 0.15, 0.0]), camera=np.array([yaw, pitch]))
        for yaw, pitch in cameras
    ]
    card = geometry_cards(found, [], how="", head="builtin")[-1]
    assert card.value == pytest.approx(0.01**2 / 3, rel=1e-6)
    assert card.details["tilt_degrees"] == pytest.approx(math.degrees(0.15))
    assert card.details["median_yaw_degrees"] == pytest.approx(math.degrees(0.01))


def test_poses_as_published_have_the_signs_of_their_network():
    exact = PersonMeasures(angles=np.array([0.1, -0.3, 0.0]), camera=np.array([0.3, 0.1]))
    rolled = PersonMeasures(angles=np.array([0.1, -0.3, 0.3]), camera=np.array([0.3, 0.1]))
    card = published_pose_card([exact, rolled, PersonMeasures()], [exact], how="", seed=1)
    assert card is not None and card.value == pytest.approx(0.09 / 3 / 2) and card.count == 2
    assert card.details == {"people": 3, "true_heads": pytest.approx(0), "true_heads_count": 1}
    assert published_pose_card([PersonMeasures()], [exact], how="") is None


def test_the_network_of_poses_sees_the_drawn_view(observer: Observer):
    seen: list[torch.Tensor] = []

    def angles(image: torch.Tensor, points: torch.Tensor) -> np.ndarray:
        seen.append(image)
        return np.array([0.0, 1.0, 2.0])

    known = HeadGenerator().people
    (found,) = look_at(known, 1, replace(observer, angles=angles))
    assert found.angles is not None and found.angles.tolist() == [0.0, 1.0, 2.0]
    assert torch.equal(seen[0], known(0).images[DRAWN])


def test_the_hull_holds_what_lies_between_its_points():
    mask = convex_hull_mask(np.array([[1.0, 1.0], [5.0, 1.0], [5.0, 4.0], [1.0, 4.0], [3.0, 2.0]]), 6, 8)
    expected = np.zeros((6, 8), bool)
    expected[1:5, 1:6] = True
    assert np.array_equal(mask, expected)

"""One face: what is left out and why, views of faces that look away or lie on their side, text of the page."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.analyze.conftest import CORNER, SIDE, as_tensor, portrait
from tests.depthnet.turning import head, keypoints, seen_head

from lineament.errors import DataError
from lineament.faces.schemes import convert_points, scheme
from lineament.inference import Face
from lineament.pipeline.analyze.face import FittedFace, face_numbers, fit_faces, merged
from lineament.pipeline.analyze.markup import chart, face_details, photo_svg, pose_words
from lineament.pipeline.analyze.shape import aligned_crop, shape_face, turned_views


def face_of(points: torch.Tensor, turn: int = 0, name: str = "68") -> Face:
    low, high = points.amin(0), points.amax(0)
    return Face(points, torch.full((len(points),), 0.9), torch.cat([low, high]), 0.8, scheme(name), turn)


def astronaut_face() -> Face:
    return face_of(keypoints() - torch.tensor(CORNER))


def test_other_schemes_have_no_pose_and_say_so():
    five = face_of(convert_points(keypoints(), "68", "5"), name="5")
    (found,) = fit_faces(head(), [five], (512, 512))
    item = face_numbers("a.png", found)
    assert item["pose"] is None and item["expression"] is None
    assert "68" in item["left_out"]["pose"]
    assert len(item["landmarks"]) == 5
    with pytest.raises(DataError, match="68 points"):
        shape_face(torch.zeros(3, 512, 512), found, None)


def test_one_face_without_a_head_does_not_cost_the_others_theirs():
    line = face_of(torch.linspace(10, 90, 68)[:, None].expand(-1, 2).clone())
    good, bad = fit_faces(head(), [astronaut_face(), line], (SIDE, SIDE))
    assert good.fit is not None and bad.fit is None and "one line" in bad.lacking
    joined = merged(face_numbers("a.png", bad), {"files": {}, "left_out": {"mesh": "no head"}})
    assert set(joined["left_out"]) == {"pose", "mesh"}


def test_predicted_std_weighs_the_points():
    face = astronaut_face()
    wrong = face.landmarks.clone()
    mouth = list(scheme("68").contour("outer_lip"))
    wrong[mouth] += torch.tensor([15.0, 0.0])
    std = torch.ones(68)
    std[mouth] = 200.0
    faces = [
        Face(points, face.confidence, face.box, face.score, face.scheme, std=deviation)
        for points, deviation in ((face.landmarks, torch.ones(68)), (wrong, torch.ones(68)), (wrong, std))
    ]
    clean, sure, unsure = (each.fit.pose for each in fit_faces(head(), faces, (SIDE, SIDE)) if each.fit)
    assert float((unsure - clean).norm()) < 0.5 * float((sure - clean).norm())


def test_a_face_on_its_side_is_drawn_upright_and_leads_back_to_the_photo():
    upright = as_tensor(portrait())
    # The photo lies: turned clockwise by a quarter, so that a quarter counter-clockwise sets it right.
    lying = torch.rot90(upright, -1, (1, 2)).contiguous()
    points = keypoints() - torch.tensor(CORNER)
    turned = torch.stack([SIDE - 1 - points[:, 1], points[:, 0]], dim=1)
    (found,) = fit_faces(head(), [face_of(turned, turn=90)], (SIDE, SIDE))
    (straight,) = fit_faces(head(), [astronaut_face()], (SIDE, SIDE))
    assert found.pose is not None and straight.pose is not None
    assert found.pose["roll"] - straight.pose["roll"] == pytest.approx(90, abs=3)
    shape, other = shape_face(lying, found, None), shape_face(upright, straight, None)
    torch.testing.assert_close(shape.prepared.view.image, other.prepared.view.image, atol=1e-4, rtol=0)
    nose = shape.prepared.points[30]
    torch.testing.assert_close(shape.to_photo.apply(nose).float(), turned[30], atol=0.1, rtol=0)


def test_faces_that_look_away_are_not_turned():
    points, _ = seen_head((60.0, 0.0, 0.0), 1.0, seed=2)
    (found,) = fit_faces(head(), [face_of(points[:, :2].float())], (400, 400))
    shape = shape_face(torch.rand(3, 400, 400), found, None)
    with pytest.raises(DataError, match=r"looks (5|6)\d degrees to the side"):
        turned_views(shape, 30.0)
    assert np.isfinite(shape.depth).any()


def test_turned_views_look_to_the_left_and_to_the_right():
    (found,) = fit_faces(head(), [astronaut_face()], (SIDE, SIDE))
    shape = shape_face(as_tensor(portrait()), found, None)
    left, right = turned_views(shape, 30.0)
    still = shape.prepared.view.shown
    assert left.shape == right.shape == still.shape
    for view in (left, right):
        assert float((view - still).abs().mean()) > 0.01


def test_a_crop_that_needs_more_than_there_is_says_so():
    face = astronaut_face()
    assert aligned_crop(as_tensor(portrait()), face, "ffhq", 48).shape == (3, 48, 48)
    unknown = Face(face.landmarks * torch.nan, face.confidence, face.box, 0.5, face.scheme)
    with pytest.raises(DataError, match="ffhq"):
        aligned_crop(as_tensor(portrait()), unknown, "ffhq", 48)


def test_the_page_escapes_all_that_comes_from_files():
    evil = "</script><img src=x onerror=alert(1)>\"'"
    face = {
        "box": [1.0, 2.0, 30.0, 40.0],
        "landmarks": [[5.0, 6.0]] * 68,
        "pose": {"yaw": -12.4, "pitch": 3.0, "roll": 0.4},
        "expression": {evil: 0.9, "jaw_open": 0.02},
        "left_out": {evil: evil},
    }
    text = face_details(evil, face, [(evil, "data:,")], "") + photo_svg(
        "data:,", 64, 48, [face], scheme("68")
    )
    assert "<img src=x" not in text and "</script>" not in text
    assert text.count("&lt;/script&gt;") >= 4
    assert pose_words(face) == "yaw 12° to the left, pitch 3° down, roll 0° clockwise"
    assert pose_words({"pose": None}) == "no pose"
    # Missing points have no dot and no line.
    face["landmarks"][0] = None
    assert photo_svg("data:,", 64, 48, [face], scheme("68")).count("<circle") == 67


def test_the_chart_keeps_time_and_sign():
    rows = [
        {"time": 2.0 + t, "pose": {"yaw": 40.0 * t, "pitch": 0.0, "roll": -20.0}} for t in (0.0, 0.5, 1.0)
    ]
    drawn = chart(rows)
    yaw = drawn.split('class="yaw" points="')[1].split('"')[0]
    places = [tuple(map(float, pair.split(","))) for pair in yaw.split()]
    assert places[0] == (40.0, 75.0) and places[2][0] == 630.0
    # Positive angles are drawn upwards.
    assert places[2][1] < places[1][1] < places[0][1]
    assert math.isclose(places[0][1] - places[1][1], places[1][1] - places[2][1], abs_tol=0.2)
    assert chart(rows[:1]) == ""


def test_a_face_without_a_fit_has_no_pose():
    assert FittedFace(astronaut_face()).pose is None

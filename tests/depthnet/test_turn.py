"""Turning a face: the fitted head, the surface, where marks go, the background, and the other warp."""

from __future__ import annotations

import math

import pytest
import torch
from tests.depthnet.turning import MARKED, astronaut, head, keypoints, mark_near, marked, seen_head
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.heads.fit import fit_head
from lineament.pipeline.turn.depth import network_depth
from lineament.pipeline.turn.frames import PreparedFace, prepare_face, turned_images
from lineament.pipeline.turn.onto import face_onto
from lineament.pipeline.turn.options import TurnOptions
from lineament.pipeline.turn.points import place_mean_head
from lineament.pipeline.turn.render import turn_matrix
from lineament.pipeline.turn.run import made_up
from lineament.pipeline.turn.view import head_view

KEEP, CUT = TurnOptions(keep_background=True, size=256), TurnOptions(size=256, background="black")


@pytest.fixture(scope="module")
def face() -> PreparedFace:
    return prepare_face(astronaut(), keypoints(), head(), KEEP)


def picture(face: PreparedFace, degrees: tuple[float, float, float], options: TurnOptions = KEEP) -> Tensor:
    pose = torch.deg2rad(torch.tensor([degrees], dtype=torch.float64))
    return next(iter(turned_images(face, pose, options)))


@pytest.mark.parametrize("pose", [(0.0, 0.0, 0.0), (25.0, -8.0, 5.0), (-30.0, 10.0, -12.0)])
def test_a_head_is_found_again_from_its_landmarks(pose):
    truth, _ = seen_head(pose, 1.3, seed=3)
    fit = fit_head(head(), truth[:, :2])
    assert fit.error < 0.02
    found = torch.rad2deg(fit.pose)
    assert float((found - torch.tensor(pose)).abs().max()) < 5, found
    pair = torch.stack([fit.landmarks[:, 2], truth[:, 2]])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.97


@pytest.mark.parametrize("pose", [(0.0, 0.0, 10.0), (20.0, 0.0, -5.0)])
def test_five_points_place_the_mean_head(pose):
    truth, rotation = seen_head(pose, 1.0, seed=0)
    mean = torch.from_numpy(head().landmarks(head().neutral[None], "5")[0]).double()
    five = 1.2 * (mean @ rotation.T)[:, :2] + torch.tensor([90.0, 80.0])
    points = place_mean_head(head(), five)
    exact = torch.from_numpy(head().landmarks(head().neutral[None])[0]).double()
    exact = 1.2 * (exact @ rotation.T)[:, :2] + torch.tensor([90.0, 80.0])
    unit = float((exact[36] - exact[45]).norm())
    assert float((points - exact).norm(dim=1).mean()) < 0.05 * unit
    assert truth.shape == (68, 3)


@pytest.mark.parametrize("degrees", [-43.0, 30.0])
def test_a_face_that_looks_aside_is_shown_as_large_as_from_the_front(degrees):
    photo = torch.zeros(3, 3000, 3000)
    sides = []
    for yaw in (0.0, degrees):
        # A head of one size; the scale of its view tells how large the shown square is.
        points = seen_head((yaw, 0.0, 0.0), 1.0, seed=0)[0][:, :2] + 1500.0
        sides.append(1 / head_view(photo, points, 256).to_view.scale)
    assert sides[1] == pytest.approx(sides[0], rel=0.15)


def test_points_that_coincide_are_refused():
    with pytest.raises(DataError, match="within one pixel"):
        fit_head(head(), torch.full((68, 2), 7.0))
    line = torch.linspace(0, 100, 68)[:, None].expand(-1, 2)
    with pytest.raises(DataError, match="one line"):
        fit_head(head(), line)


def test_the_nose_is_in_front_and_the_jaw_ends_behind(face: PreparedFace):
    depth = face.depth.values
    eyes = depth[[36, 39, 42, 45]].mean()
    assert float(depth[30]) < float(eyes) - 5
    assert float(depth[[0, 16]].min()) > float(eyes) + 5
    assert "builtin head" in face.depth.origin


def test_the_surface_passes_through_the_keypoints_and_runs_out_behind(face: PreparedFace):
    surface = face.surface
    zero = face.fit.landmarks[[36, 45], 2].mean()
    inner = list(range(17, 60))
    nearest = torch.cdist(face.points[inner].double(), surface.points[:, :2]).argmin(1)
    off = (surface.points[nearest, 2] - zero - face.depth.values[inner]).abs() / surface.unit
    assert float(off.median()) < 0.05 and float(off.max()) < 0.2
    assert float(surface.alpha[nearest[13]]) == 1 and float(surface.hold[nearest[13]]) == 1
    corners = surface.points[[0, surface.columns - 1, -1]]
    assert float(surface.hold[[0, -1]].max()) == 0 and float(surface.alpha[[0, -1]].max()) == 0
    torch.testing.assert_close(corners[:, 2], surface.neck[2].expand(3), atol=0.1 * surface.unit, rtol=0)
    columns = surface.columns
    slope = surface.points[:, 2].reshape(-1, columns).diff(dim=1).abs().max()
    assert float(slope) <= 1.3 * float(surface.points[1, 0] - surface.points[0, 0])


def test_what_no_pixel_shows_is_said():
    front, side = torch.zeros(3), torch.tensor([1.1, 0.0, 0.0])
    little, far = torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([[-0.2, 0.0, 0.0], [0.9, 0.0, 0.0]])
    assert made_up(front, little) == ""
    assert "turned by up to 52 degrees" in made_up(front, far)
    assert "looks 63 degrees to the side" in made_up(side, little)
    # As the pose of the result the same angles are small changes.
    assert made_up(torch.tensor([0.4, 0.0, 0.0]), far[1:], absolute=True) == ""


def test_no_turn_gives_the_photograph_back(face: PreparedFace):
    difference = (picture(face, (0.0, 0.0, 0.0)) - face.view.shown).abs()
    assert float(difference.mean()) < 0.01 and float(difference.quantile(0.99)) < 0.06


@pytest.mark.parametrize(("pose", "keep"), [((-35.0, 0.0, 0.0), True), ((15.0, 12.0, -10.0), False)])
def test_eyes_and_mouth_go_where_their_depth_says(pose, keep):
    options = KEEP if keep else CUT
    photo = marked(astronaut(), keypoints()[list(MARKED)])
    face = prepare_face(photo, keypoints(), head(), options)
    turned = picture(face, pose, options)
    rotation = turn_matrix(face.surface, torch.deg2rad(torch.tensor(pose)))
    centre = face.surface.neck if keep else face.surface.face_centre
    zero = face.fit.landmarks[[36, 45], 2].mean()
    points = torch.cat([face.points, (face.depth.values + zero)[:, None]], dim=1)
    landed = ((points - centre) @ rotation.T + centre)[:, :2]
    landed = landed - torch.tensor([face.view.window.left, face.view.window.top])
    seen = [number for number in MARKED if pose[0] > -30 or number != 36]
    for number in seen:
        place = landed[number]
        off = (mark_near(turned, place, 0.2 * face.surface.unit) - place).norm() / face.surface.unit
        assert float(off) < 0.05, (number, float(off))


def test_directions(face: PreparedFace):
    """Positive yaw to the image right, positive pitch down, positive roll clockwise."""
    surface = face.surface
    nose = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64) @ surface.rotation.T
    for number, wanted in ((0, (0, 1)), (1, (1, 1))):
        pose = torch.zeros(3, dtype=torch.float64)
        pose[number] = 0.3
        moved = turn_matrix(surface, pose) @ nose - nose
        axis, sign = wanted
        assert sign * float(moved[axis]) > 0.2
    right = turn_matrix(surface, torch.tensor([0.0, 0.0, 0.3])) @ torch.tensor([1.0, 0.0, 0.0]).double()
    assert float(right[1]) > 0.2
    straight = turn_matrix(surface, torch.zeros(3), absolute=True) @ surface.rotation
    torch.testing.assert_close(straight, torch.eye(3, dtype=torch.float64))


def test_the_background_stays_and_the_face_moves():
    options = TurnOptions(keep_background=True, size=256, whole=True)
    face = prepare_face(astronaut(), keypoints(), head(), options)
    turned, still = picture(face, (30.0, 0.0, 0.0), options), face.view.shown
    assert turned[:, 150:].equal(still[:, 150:]) and turned[:, :, 215:].equal(still[:, :, 215:])
    (left, top), (right, bottom) = (keypoints().amin(0) / 2).int(), (keypoints().amax(0) / 2).int()
    assert float((turned - still)[:, top:bottom, left:right].abs().mean()) > 0.05


def test_without_background_the_border_is_soft_and_the_rest_plain():
    face = prepare_face(astronaut(), keypoints(), head(), CUT)
    turned = picture(face, (25.0, 0.0, 0.0), CUT)
    assert not bool(turned[:, :8].any()) and not bool(turned[:, :, :8].any())
    step = turned.mean(0).diff(dim=1).abs()
    assert float(step.max()) < 0.35, "the face ends in a hard edge"
    white = picture(face, (25.0, 0.0, 0.0), TurnOptions(size=256, background="white"))
    assert float(white[:, 0, 0].min()) == 1


def test_triangles_turn_about_the_middle_of_the_face():
    options = TurnOptions(warp="triangles", size=256, background="black")
    face = prepare_face(astronaut(), keypoints(), head(), options)
    middle = face.points.mean(0) - torch.tensor([face.view.window.left, face.view.window.top])
    for degrees in (-25.0, 0.0, 25.0):
        painted = picture(face, (degrees, 0.0, 0.0), options).amax(0) > 0
        rows, columns = torch.nonzero(painted, as_tuple=True)
        assert abs(float(columns.float().mean() - middle[0])) < 0.25 * face.surface.unit
        assert abs(float(rows.float().mean() - middle[1])) < 0.25 * face.surface.unit
    still = picture(face, (0.0, 0.0, 0.0), options)
    painted = still.amax(0) > 0
    assert float((still - face.view.shown)[:, painted].abs().max()) < 1e-4


def test_a_face_put_on_to_itself_changes_little(face: PreparedFace):
    target = astronaut()
    picture = face_onto(face, target, keypoints(), KEEP)
    assert picture.shape == face.view.shown.shape
    assert float((picture - face.view.shown).abs().mean()) < 0.02


def test_a_face_lands_on_another_with_eyes_and_mouth_on_theirs():
    photo = marked(astronaut(), keypoints()[list(MARKED)])
    face = prepare_face(photo, keypoints(), head(), CUT)
    target = torch.full((3, 300, 260), 0.5)
    theirs = seen_head((20.0, 5.0, 8.0), 0.8, seed=1)[0][:, :2] - torch.tensor([70.0, 40.0])
    there = face_onto(face, target, theirs, TurnOptions(size=256, whole=True), keep_colours=True)
    scale = there.shape[1] / 300
    for number in MARKED:
        place = (theirs[number] + 0.5) * scale - 0.5
        assert float((mark_near(there, place, 12.0) - place).norm()) < 3.5
    with pytest.raises(DataError, match="one size"):
        face_onto(face, target, theirs, TurnOptions(warp="triangles", size=256, whole=True))


class Stub:
    """Answers with the head's own depth, turned over, scaled and sheared."""

    def __init__(self, depth: Tensor) -> None:
        self.values = depth

    def own_depth(self, source: Tensor, targets: Tensor) -> Tensor:
        assert source.shape[1:] == targets.shape[1:] and float(source.min()) > 0 and float(source.max()) < 1
        return (5 - 3 * self.values + source[:, :, 0] * 40).float()


def test_what_keypoints_do_not_determine_is_taken_from_the_head(face: PreparedFace):
    from types import SimpleNamespace

    from lineament.faces.schemes import convert_points

    own = face.fit.landmarks[:, 2]
    in_66 = convert_points(torch.cat([face.points, own[:, None]], dim=1), "68", "66")[:, 2]
    run = SimpleNamespace(label="runs/stub", recipe="depthnet-stub")
    found = network_depth(face.fit, face.points, run, Stub(in_66))
    # Two of the 68 points are means of their neighbours in a scheme of 66.
    assert float((found.values - face.depth.values).abs().median()) < 0.02 * face.surface.unit
    assert found.correlation is not None and found.correlation < 0
    assert "runs/stub" in found.origin


def test_unknown_words_are_refused():
    with pytest.raises(UsageError, match="did you mean 'dense'"):
        TurnOptions(warp="dens")
    with pytest.raises(UsageError, match="unknown background"):
        TurnOptions(background="mauve")
    assert math.isclose(KEEP.size, 256)

"""The photo world: accessories change what they cover and hide what lies behind; the plain world stays as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lineament.faces.degradations import DegradationOdds
from lineament.geometry.camera import Camera
from lineament.heads.expressions import draw_expression
from lineament.synthetic.dataset import World, write_faces
from lineament.synthetic.draping import Surroundings, ball, box, direction, tube
from lineament.synthetic.folder import SyntheticFolder
from lineament.synthetic.glass import lay_glass
from lineament.synthetic.photo import MOODS, PhotoOptions, draw_pose
from lineament.synthetic.render import Rendering, _visible
from lineament.synthetic.scene import PHOTO, Scene, View
from lineament.synthetic.source import SyntheticFaces
from lineament.synthetic.worn import (
    FIRST_WORN,
    HEADGEAR,
    IN_FRONT,
    NOTHING,
    Glasses,
    Worn,
    WornOdds,
    draw_worn,
)

NO_FLAWS = DegradationOdds(*([0.0] * 11), jpeg=0.0)
BARE = PhotoOptions(WornOdds(0, 0, 0, 0, 0), 0, 0, 0, 0, 0, 0, NO_FLAWS)
FRONTAL = View((0.0, 0.0, 0.0), 1200.0, 0.55, (0.0, 0.0))
EYES, MOUTH, NOSE_BASE, CHIN = list(range(36, 48)), list(range(48, 68)), list(range(31, 36)), [7, 8, 9]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture(scope="module", params=["builtin", "ict"])
def world(request: pytest.FixtureRequest) -> SyntheticFaces:
    packs = request.getfixturevalue("packs") if request.param == "ict" else None
    options = replace(PHOTO, photo=BARE, grey=0.0)
    return SyntheticFaces(seed=3, count=40, size=96, head=request.param, packs=packs, options=options)


def scene(world: SyntheticFaces, worn: Worn = NOTHING) -> Scene:
    """A frontal face at rest."""
    bare = world.scene(4)
    look = bare.appearance._replace(
        hair_length=-60.0, hair_volume=0.0, beard=0.0, worn=worn.palette, glasses=np.zeros(5, np.float32)
    )
    rest = np.zeros_like(bare.expression)
    return replace(
        bare, view=FRONTAL, worn=worn, appearance=look, expression=rest, gaze=np.zeros_like(bare.gaze)
    )


def seen(world: SyntheticFaces, worn: Worn = NOTHING) -> Rendering:
    return world.renderer.render_view(scene(world, worn), 96)


def some(**what: object) -> Worn:
    drawn = draw_worn(rng(5), WornOdds(0, 0, 0, 0, 0))
    return drawn._replace(numbers=np.full_like(drawn.numbers, 0.5), **what)  # type: ignore[arg-type]


def spectacles(opacity: float) -> Glasses:
    return Glasses(
        2.0, 26.0, 20.0, 2.5, np.full(3, 0.02, np.float32), np.full(3, 0.1, np.float32), opacity, 0.0
    )


ACCESSORIES = {
    **{name: {"headgear": name} for name in HEADGEAR},
    **{name: {"in_front": name} for name in IN_FRONT},
    "mask": {"mask": True},
    "headphones": {"headphones": True},
    "glasses": {"glasses": spectacles(0.1)},
    "sunglasses": {"glasses": spectacles(0.9)},
}


@pytest.mark.parametrize("name", ACCESSORIES)
def test_an_accessory_lies_before_the_head_and_leaves_the_rest_alone(
    world: SyntheticFaces, name: str
) -> None:
    without, with_it = seen(world), seen(world, some(**ACCESSORIES[name]))
    changed = np.abs(with_it.image - without.image).max(axis=2) > 2 / 255
    assert 20 < changed.sum() < 0.75 * changed.size
    # Beside the head and the accessory nothing changes; on the head shadows may.
    apart = ~with_it.mask & ~without.mask
    border = np.zeros_like(apart)
    border[1:-1, 1:-1] = (
        apart[1:-1, 1:-1] & apart[:-2, 1:-1] & apart[2:, 1:-1] & apart[1:-1, :-2] & apart[1:-1, 2:]
    )
    # The pixel centres of the mask miss loops and strands thinner than a pixel.
    assert (changed & border).mean() < 0.005
    both = with_it.mask & without.mask
    assert (with_it.depth[both] <= without.depth[both] + 1e-3).all()
    assert (with_it.landmarks == without.landmarks).all() and (with_it.box == without.box).all()
    # What is hidden without stays hidden.
    assert not (with_it.visible & ~without.visible).any()


def test_each_accessory_hides_the_points_behind_it_and_no_others(world: SyntheticFaces) -> None:
    bare = seen(world).visible
    assert bare[EYES].all() and bare[MOUTH].mean() > 0.9
    masked = seen(world, some(mask=True)).visible
    assert not masked[MOUTH].any() and not masked[NOSE_BASE].any() and not masked[CHIN].any()
    assert masked[EYES].all() and masked[17:27].all()
    dark, clear = (seen(world, some(glasses=spectacles(opacity))).visible for opacity in (0.9, 0.1))
    assert not dark[EYES].any() and (dark[MOUTH] == bare[MOUTH]).all()
    assert clear[EYES].mean() > 0.9
    for name in ("beanie", "cap", "hat", "headphones"):
        hidden = bare & ~seen(world, some(**ACCESSORIES[name])).visible
        assert not hidden[27:].any(), name
    hand = some(in_front="hand")
    hand = hand._replace(numbers=np.where(np.arange(24) == 9, 7.5 / 12, 0.5).astype(np.float32))
    assert (~seen(world, hand).visible[MOUTH]).sum() >= 3


def test_points_are_hidden_by_what_is_nearer_than_its_kind_may_be() -> None:
    depth = np.full((4, 6), 100.0, np.float32)
    depth[:, 2:4], depth[:, 4:] = 97.0, 94.0
    points = np.array([[0, 1, 100], [2.5, 1, 100], [4.6, 1, 100], [9, 1, 100]], np.float32)
    faces = np.zeros((4, 6), np.int32)
    of_head, of_hand = np.array([0], np.uint8), np.array([FIRST_WORN], np.uint8)
    assert _visible(points, depth, faces, of_head, 1).tolist() == [True, True, False, False]
    assert _visible(points, depth, faces, of_hand, 1).tolist() == [True, False, False, False]
    nothing = np.zeros_like(depth)
    assert _visible(points, nothing, faces - 1, of_hand, 1).tolist() == [True, True, True, False]


def test_glass_darkens_within_its_outline_and_only_before_the_head() -> None:
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    outline = np.stack([12 * np.cos(turn), 12 * np.sin(turn), np.full(28, 50.0)], axis=1)
    lens = np.concatenate([[[0.0, 0.0, 50.0]], outline])
    corners = np.stack([lens + np.array([20, 20, 0]), lens + np.array([60, 20, 0])])
    depth = np.full((40, 80), 60.0, np.float32)
    depth[:, 40:] = 40.0
    image = np.full((20, 40, 3), 0.8, np.float32)
    lay_glass(image, depth, 2, corners, spectacles(0.9), np.full(24, 0.5, np.float32), 0.5)
    y, x = np.mgrid[:20, :40]
    inside = np.hypot(x - 9.75, y - 9.75) < 5
    outside = np.hypot(x - 9.75, y - 9.75) > 7
    assert (image[inside] < 0.35).all() and (image[outside] == np.float32(0.8)).all()
    assert depth[20, 20] == 50 and depth[20, 60] == 40 and depth[2, 2] == 60
    before = depth.copy()
    lay_glass(image, depth, 2, corners, spectacles(0.3), np.full(24, 0.5, np.float32), 0.5)
    assert (depth == before).all()


def test_photo_pictures_follow_from_seed_and_index_alone() -> None:
    one = SyntheticFaces(seed=8, count=30, size=48, options=PHOTO)
    other = SyntheticFaces(seed=8, count=60, size=48, options=PHOTO)
    for index in (7, 3):
        a, b = one[index], other[index]
        assert (a.image == b.image).all() and (a.visibility == b.visibility).all()  # type: ignore[union-attr]
        assert a.meta["worn"] == b.meta["worn"]
    assert one.fingerprint != SyntheticFaces(seed=8, count=30, size=48).fingerprint
    assert (one[3].image != SyntheticFaces(seed=9, count=30, size=48, options=PHOTO)[3].image).any()
    assert len({one.scene(index).worn.names for index in range(30)}) > 8


def test_another_face_at_the_border_lies_behind(world: SyntheticFaces) -> None:
    alone = scene(world)
    beside = replace(world.scene(9), view=replace(FRONTAL, shift=(0.5, 0.0)))
    without = world.renderer.render_view(alone, 96)
    with_it = world.renderer.render_view(replace(alone, beside=beside), 96)
    changed = (with_it.image != without.image).any(axis=2)
    assert changed[:, 80:].mean() > 0.3
    inner = without.mask & np.roll(without.mask, 1, 1) & np.roll(without.mask, -1, 1)
    inner &= np.roll(inner, 1, 0) & np.roll(inner, -1, 0)
    assert not (changed & inner).any()
    assert (with_it.visible == without.visible).all() and (with_it.depth == without.depth).all()


def test_poses_are_mostly_moderate_with_a_solid_share_of_profiles() -> None:
    limits = np.radians([90.0, 40.0, 30.0])
    poses = np.degrees([draw_pose(rng(seed), limits, 0.0) for seed in range(2000)])
    assert (np.abs(poses) <= np.degrees(limits) + 1e-6).all()
    yaw = np.abs(poses[:, 0])
    assert 0.5 < (yaw < 30).mean() < 0.75
    assert 0.12 < (yaw > 60).mean() < 0.3
    assert 0.05 < (np.abs(poses[:, 1]) > 25).mean() < 0.3


def test_odds_decide_what_is_worn() -> None:
    assert draw_worn(rng(), WornOdds(0, 0, 0, 0, 0)).names == ()
    drawn = [draw_worn(rng(seed), WornOdds(1, 1, 1, 1, 1)) for seed in range(60)]
    assert all(len(worn.names) == 5 for worn in drawn)
    assert {worn.headgear for worn in drawn} == set(HEADGEAR) and {worn.in_front for worn in drawn} == set(
        IN_FRONT
    )
    assert {worn.names[0] for worn in drawn} == {"glasses", "sunglasses"}


def test_shouts_and_winks_belong_to_the_photo_world(world: SyntheticFaces) -> None:
    plain = {draw_expression(rng(seed), world.head)[2] for seed in range(300)}
    photo = {draw_expression(rng(seed), world.head, MOODS)[2] for seed in range(300)}
    assert photo - plain == {"shout", "wink"}


def test_teeth_and_tongue_show_in_an_open_mouth(world: SyntheticFaces) -> None:
    closed, names = scene(world), world.head.expression_names
    opened = np.array(["jaw" in name.lower() and "open" in name.lower() for name in names], np.float32)
    opened += 0.9 * np.array([("upperup" in n.replace("_", "").lower()) or "lip_raise" in n for n in names])
    mouth = world.renderer.render_view(replace(closed, expression=opened.astype(np.float32)), 192)
    dark = world.renderer.render_view(replace(closed, expression=opened.astype(np.float32), photo=None), 192)
    corners = mouth.landmarks[60:68, :2].round().astype(int)
    low, high = corners.min(axis=0), corners.max(axis=0)
    inside = (slice(low[1], high[1] + 1), slice(low[0], high[0] + 1))
    assert mouth.image[inside].mean() > dark.image[inside].mean() + 0.02


def test_the_space_around_a_sphere_is_a_sphere() -> None:
    turn, lift = rng(1).uniform(-np.pi, np.pi, 20000), np.arcsin(rng(2).uniform(-1, 1, 20000))
    middle = np.array([5.0, -3.0, 80.0])
    space = Surroundings((middle + 90.0 * direction(turn, lift)).astype(np.float32), middle)
    np.testing.assert_allclose(space.radius(turn, lift), 90.0, atol=0.01)
    points = space.at(turn[:50], lift[:50], 10.0)
    np.testing.assert_allclose(np.linalg.norm(points - middle, axis=1), 100.0, atol=0.01)
    azimuth, elevation = space.angles(points)
    np.testing.assert_allclose(azimuth, turn[:50], atol=1e-6)
    np.testing.assert_allclose(elevation, lift[:50], atol=1e-6)


def test_solids_have_the_sizes_asked_for() -> None:
    vertices, faces = ball(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]), sides=40)
    np.testing.assert_allclose(np.ptp(vertices, axis=0), [8, 10, 12], rtol=0.01)
    assert faces.max() < len(vertices)
    vertices, _ = box(np.zeros(3), np.array([1.0, 2.0, 3.0]), np.eye(3))
    assert np.ptp(vertices, axis=0).tolist() == [2, 4, 6]
    vertices, _ = tube(np.stack([np.linspace(0, 10, 5), np.zeros(5), np.zeros(5)], axis=1), 2.0, sides=12)
    assert np.ptp(vertices[:, 0]) == pytest.approx(10, abs=0.01)
    assert np.hypot(vertices[:, 1], vertices[:, 2]).max() == pytest.approx(2.0, rel=1e-3)


PLAIN_MEANS = [
    0.756, 0.779, 0.705, 0.696, 0.813, 0.724, 0.657, 0.747, 0.837, 0.777, 0.628, 0.869, 0.84, 0.75, 0.57, 0.924,
]  # fmt: skip
"""Means of the red channel of 4 x 4 blocks of a picture that the plain world drew before there was another."""


def test_the_plain_world_draws_what_it_drew() -> None:
    faces = SyntheticFaces(seed=9, count=40, size=64, extras=False)
    intrinsics = torch.tensor([[300.0, 0, 31.5], [0, 300, 31.5], [0, 0, 1]])
    world_to_camera = torch.eye(4)
    world_to_camera[:3, 3] = torch.tensor([0.0, -20.0, 900.0])
    camera = Camera(intrinsics, world_to_camera, 64, 64)
    image = faces.renderer.render(faces.scene(1), [camera])[0].image
    means = image[..., 0].reshape(4, 16, 4, 16).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(means, PLAIN_MEANS, atol=0.01)
    assert faces.scene(1).worn == NOTHING and faces.scene(1).beside is None


def test_folders_of_the_photo_world_hold_what_is_worn(tmp_path: Path) -> None:
    world = World(seed=4, size=32, world="photo", sensor=0.0)
    write_faces(tmp_path / "faces", world, 12, workers=1)
    folder, fresh = SyntheticFolder(tmp_path / "faces"), world.source(12)
    assert any(folder[index].meta["worn"] for index in range(12))
    for index in (0, 5, 11):
        assert folder[index].meta["worn"] == fresh[index].meta["worn"]
        assert (folder[index].visibility == fresh[index].visibility).all()  # type: ignore[union-attr]
        assert (folder[index].image == fresh[index].image).all()
    assert json.loads((tmp_path / "faces/settings.json").read_text())["max_yaw"] == 90.0


def test_folders_from_before_the_photo_world_can_be_continued(tmp_path: Path) -> None:
    world = World(seed=4, size=16)
    assert set(world.settings()) == {
        "seed", "size", "head", "identities", "max_yaw", "max_pitch", "max_roll", "grey", "truth", "version",
    }  # fmt: skip
    write_faces(tmp_path / "faces", world, 2, workers=1)
    index = tmp_path / "faces" / "index.parquet"
    pq.write_table(pq.read_table(index).drop_columns(["worn"]), index)
    assert SyntheticFolder(tmp_path / "faces")[1].meta["worn"] == ""
    assert write_faces(tmp_path / "faces", world, 3, workers=1) == 1
    assert SyntheticFolder(tmp_path / "faces")[2].meta["worn"] == ""

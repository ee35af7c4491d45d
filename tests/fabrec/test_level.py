"""Turning faces upright: eyes, profiles, the published mistake, both ways of cutting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.eight_bit import quantised
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.methods.fabrec.crop import View, region_side
from lineament.methods.fabrec.cut import Border, cut_region
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.level import TurnedRegion, levelling
from lineament.methods.fabrec.recipe_landmarks import LandmarkRecipe

EYES = {"68": ((36, 39), (42, 45), 8, (27, 33)), "98": ((60, 64), (68, 72), 16, (51, 57))}


def face(which: str, between_eyes: float = 30.0) -> Tensor:
    """An upright face around (60, 60), 70 px high; its other points lie somewhere inside."""
    count = int(which)
    points = 50 + 20 * torch.rand(count, 2, generator=torch.Generator().manual_seed(1))
    left, right, chin, (upper, lower) = EYES[which]
    for side, indices in ((-0.5, left), (0.5, right)):
        for out, index in zip((-4.0, 4.0), indices, strict=True):
            points[index] = torch.tensor([60 + side * between_eyes + out, 45.0])
    points[chin], points[0] = torch.tensor([60.0, 100.0]), torch.tensor([60.0, 30.0])
    points[upper], points[lower] = torch.tensor([60.0, 45.0]), torch.tensor([60.0, 70.0])
    return points


def leaning(points: Tensor, degrees: float) -> Tensor:
    about = Affine2D.from_similarity(translation=(-60.0, -60.0))
    turn = about.then(Affine2D.from_similarity(rotation=math.radians(degrees))).then(about.inverse())
    return turn.apply(points)


@pytest.mark.parametrize("which", ["68", "98"])
@pytest.mark.parametrize("degrees", [-100.0, -20.0, 0.0, 35.0])
def test_the_eyes_become_level(which: str, degrees: float):
    points = leaning(face(which), degrees)
    turn = levelling(points, scheme(which))
    assert math.degrees(turn.rotation) == pytest.approx(-degrees, abs=1e-4)
    left, right, chin, _ = EYES[which]
    middle = points[[*left, *right]].mean(0)
    centre = middle + 0.25 * (points[chin] - middle)
    torch.testing.assert_close(turn.apply(centre), centre, atol=1e-4, rtol=0)


@pytest.mark.parametrize("which", ["68", "98"])
@pytest.mark.parametrize("degrees", [-70.0, 25.0])
def test_the_nose_of_a_profile_becomes_upright(which: str, degrees: float):
    points = leaning(face(which, between_eyes=6.0), degrees)
    # The published quirk does no harm where point 51 is the root of the nose.
    for published in (False, which == "98"):
        turn = levelling(points, scheme(which), published)
        assert math.degrees(turn.rotation) == pytest.approx(-degrees, abs=1e-4)


def test_the_published_profile_of_68_points_follows_the_upper_lip():
    points = face("68", between_eyes=6.0)
    points[51] = torch.tensor([70.0, 80.0])
    assert levelling(points, scheme("68")).rotation == pytest.approx(0, abs=1e-6)
    # From the nose at (60, 70) to the lip at (70, 80): the turn that puts this line upright.
    turned = levelling(points, scheme("68"), published=True)
    assert math.degrees(turned.rotation) == pytest.approx(45, abs=1e-4)
    placed = turned.apply(points)
    assert float(placed[51, 0] - placed[33, 0]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("style", ["exact", "paper"])
@pytest.mark.parametrize("between_eyes", [30.0, 6.0])
def test_a_leaning_face_is_seen_upright(style: str, between_eyes: float):
    points = leaning(face("98", between_eyes), 30)
    image = torch.zeros(3, 130, 120)
    rows, columns = torch.meshgrid(torch.arange(130.0), torch.arange(120.0), indexing="ij")
    for name in (57, 16):  # below the nose, chin
        image += torch.exp(-0.5 * ((columns - points[name, 0]) ** 2 + (rows - points[name, 1]) ** 2) / 4)
    sample = FaceSample("leaning", image.clamp(0, 1), None, points, "98")
    view = View(64, "landmarks", style=style, align=True)
    region = view.region(sample)
    picture, placed = view.image(sample.image, region), view.points(points, scheme("98"), region)
    assert float(placed[57, 0] - placed[16, 0]) == pytest.approx(0, abs=1e-3)
    for name in (57, 16):
        x, y = placed[name].tolist()
        near = picture[0].clone()
        far = (torch.arange(64.0)[None] - x) ** 2 + (torch.arange(64.0)[:, None] - y) ** 2 > 25
        near[far] = 0
        found = torch.tensor(
            [(near.sum(0) * torch.arange(64.0)).sum(), (near.sum(1) * torch.arange(64.0)).sum()]
        )
        # Published labels leave out the half pixel.
        assert float((found / near.sum() - placed[name]).abs().max()) < (0.1 if style == "exact" else 0.6)
    plain = View(64, "landmarks", style=style)
    assert float((plain.points(points, scheme("98"), plain.region(sample))[[57, 16], 0]).diff().abs()) > 5


def padded(image: Tensor, border: Border) -> Tensor:
    """The photograph with a border of its own size on all sides, as numpy and a box filter make it."""
    height, width = image.shape[-2:]
    array, sides = image.numpy(), ((0, 0), (height, height), (width, width))
    if border != "mirror":
        return torch.from_numpy(np.pad(array, sides, mode="constant" if border == "black" else "edge"))
    mirrored = np.pad(array, sides, mode="symmetric")
    box = int(0.2 * height)
    blurred = np.stack([uniform_filter(plane.astype(np.float64), box, mode="mirror") for plane in mirrored])
    blurred = np.round(255 * blurred) / 255
    blurred[:, height : 2 * height, width : 2 * width] = array
    return torch.from_numpy(blurred.astype(np.float32))


def published_order(image: Tensor, region: TurnedRegion, side: int, border: Border) -> Tensor:
    """The plain twin: pad, turn the padded picture, cut at whole pixels, resize."""
    height, width = image.shape[-2:]
    picture = padded(image, border)
    shift = Affine2D.from_similarity(translation=(float(width), float(height)))
    back = shift.inverse().then(region.turn).then(shift).inverse()
    y, x = torch.meshgrid(torch.arange(3.0 * height), torch.arange(3.0 * width), indexing="ij")
    grid = (2 * back.apply(torch.stack([x, y], -1).double()) + 1) / torch.tensor([3 * width, 3 * height]) - 1
    turned = torch.nn.functional.grid_sample(
        picture[None].double(), grid[None], mode="bicubic", padding_mode="zeros", align_corners=False
    )
    turned = quantised(turned[0])
    edges = torch.tensor([-0.5, -0.5, side - 0.5, side - 0.5], dtype=torch.float64)
    x0, y0, x1, y1 = (region.cut.inverse().apply_box(edges) + 0.5).round().int().tolist()
    assert min(x0 + width, y0 + height) >= 0 and x1 <= 2 * width and y1 <= 2 * height
    cut = turned[:, y0 + height : y1 + height, x0 + width : x1 + width]
    return quantised(
        torch.nn.functional.interpolate(cut[None], (side, side), mode="bicubic", align_corners=False)[0]
    )


@pytest.mark.parametrize("border", ["black", "edge", "mirror"])
@pytest.mark.parametrize("degrees", [-40.0, -7.0, 7.0, 40.0])
@pytest.mark.parametrize("centre", [(20, 65), (100, 65), (60, 25), (60, 105)])
def test_a_turned_face_at_the_border_is_cut_in_the_published_order(
    border: Border, degrees: float, centre: tuple[int, int]
):
    """The crop leaves the photograph on one side after the other; what the turn brings in from outside stays."""
    points = leaning(0.8 * face("68"), degrees)
    points = points - points.mean(0) + torch.tensor(centre)
    generator = torch.Generator().manual_seed(0)
    image = quantised(torch.rand(3, 130, 120, generator=generator))
    view = View(64, "landmarks", style="paper", align=True)
    region = view.region(FaceSample("leaning", image, None, points, "68"))
    assert isinstance(region, TurnedRegion)
    assert math.degrees(region.turn.rotation) == pytest.approx(-degrees, abs=1e-3)
    side = region_side(64)
    expected = published_order(image, region, side, border)
    ours = cut_region(image, region.cut, side, border, region.turn).double()
    assert (255 * (ours - expected)).abs().max() <= 1.001
    # The face lies at the border: the way that turned the photograph inside its own frame lost part of this.
    corners = torch.tensor([[0.0, 0.0], [side, 0.0], [0.0, side], [side, side]], dtype=torch.float64) - 0.5
    seen = region.cut.inverse().apply(corners)
    outside = (seen < 0).any() or bool((seen[:, 0] > 120).any()) or bool((seen[:, 1] > 130).any())
    assert outside
    if border == "black":
        inner = 255 * view.image(image, region).double()
        offset = (side - 64) // 2
        cut = 255 * expected[:, offset : offset + 64, offset : offset + 64]
        assert (inner - cut).abs().max() <= 1.001


def test_faces_that_cannot_be_levelled():
    with pytest.raises(UsageError, match="scheme 68 or 98, not 19"):
        levelling(torch.rand(19, 2), scheme("19"))
    points = face("68")
    points[8] = math.nan
    with pytest.raises(DataError, match="leave --align out"):
        levelling(points, scheme("68"))


def test_a_recipe_learns_from_upright_faces():
    points = leaning(face("68"), 30)
    sample = FaceSample("leaning", torch.rand(3, 130, 120), None, points, "68")
    config = LandmarkConfig(
        base="random", size=64, width=2, code=2, crop="landmarks", align=True, augmentation=0, mirror=False
    )
    placed = LandmarkRecipe(config).item(sample, torch.Generator().manual_seed(0))["points"]
    eyes = [placed[[36, 39]].mean(0), placed[[42, 45]].mean(0)]
    assert float(eyes[0][1] - eyes[1][1]) == pytest.approx(0, abs=1e-3)
    with pytest.raises(UsageError, match="give --crop landmarks too"):
        LandmarkRecipe(LandmarkConfig(base="random", align=True))

"""Crops of published protocols worked out by hand, to the pixel: half pixels, truncation, which side counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lineament.faces.crops import named_crop, published_points, region_side
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D


def source_window(crop: Affine2D, size: int) -> list[float]:
    """Edges in the photograph of what a crop of ``size`` pixels shows."""
    edges = torch.tensor([-0.5, -0.5, size - 0.5, size - 0.5], dtype=torch.float64)
    return crop.inverse().apply_box(edges).tolist()


def test_300w_of_descriptor_vector_exchange_without_rounding():
    # A box of 104 x 80: factor 1/2. Its middle (61, 50), two pixels on as the protocol counts, is (31.5, 26) there;
    # the window reaches 50 to the left and 52 up of it.
    crop = named_crop("dve-300w", box=torch.tensor([9.0, 10.0, 113.0, 90.0]))
    assert crop.axis_scales == pytest.approx((0.5, 0.5))
    x, y = 31.5 - 50.5, 26.0 - 52.5
    # Edges of the resized picture lie at q = (p + 0.5) / 2 - 0.5.
    wanted = [2 * (edge + 0.5) - 0.5 for edge in (x, y, x + 100, y + 100)]
    assert source_window(crop, 100) == pytest.approx(wanted)


def test_300w_of_descriptor_vector_exchange_rounds_picture_and_window():
    box = torch.tensor([9.0, 10.0, 112.0, 90.0])
    factor = 52 / 103
    crop = named_crop("dve-300w", box=box, image_size=(301, 199))
    width, height = int(199 * factor), int(301 * factor)
    assert crop.axis_scales == pytest.approx((width / 199, height / 301))
    x, y = math.floor((60.5 + 2) * factor), math.floor((50 + 2) * factor)
    left = ((x - 50.5) + 0.5) * 199 / width - 0.5
    top = ((y - 52.5) + 0.5) * 301 / height - 0.5
    assert source_window(crop, 100)[:2] == pytest.approx([left, top])


def test_celeba_from_a_box_takes_its_longer_side():
    """A box as high as a detector's on the aligned pictures, twice as wide as it ought to be, and the reverse."""
    height = 2.84 * 39.0
    for box in ([0.0, 0.0, height / 2, height], [0.0, 0.0, height, height / 2]):
        crop = named_crop("dve-celeba", box=torch.tensor(box))
        assert crop.scale == pytest.approx(100 / 178)
    # Its centre lies 0.30 eye distances below the eyes: (88.5, 122.7) of the aligned picture; the window begins at 30.
    centre = torch.tensor([[height / 2, height / 4]], dtype=torch.float64)
    expected = [(88.5 + 0.5) * 100 / 178 - 0.5 - 15, (122.7 - 30 + 0.5) * 100 / 178 - 0.5 - 15]
    assert crop.apply(centre)[0].tolist() == pytest.approx(expected)


def test_fabrec_from_a_box():
    # Our edges 0.2 and 0.3 are 0.7 and 0.8 of theirs: both cut to 0. Without margins 100 x 60: the square of 100 about
    # (50, 30), sqrt(2) larger by 363 / 256.
    box = torch.tensor([0.2, 0.3, 99.6, 59.5])
    crop = named_crop("fabrec", box=box, size=256, margins=(0.0, 0.0), trim=False)
    half = 0.5 * 363 / 256 * 100
    corners = [int(50 - half), int(30 - half), int(50 + half), int(30 + half)]
    assert source_window(crop, 363) == pytest.approx([edge - 0.5 for edge in corners])
    # A quarter pixel further left the edge is cut to another whole pixel.
    other = named_crop("fabrec", box=box + torch.tensor([0.4, 0, 0.0, 0]), margins=(0.0, 0.0), trim=False)
    assert source_window(other, 363)[0] == pytest.approx(int(50.5 - 0.5 * 363 / 256 * 99) - 0.5)


def test_fabrec_margins_are_shares_of_the_height_above_and_below():
    box = torch.tensor([99.5, 199.5, 199.5, 299.5])
    crop = named_crop("fabrec", box=box, margins=(0.2, 0.4), trim=False)
    # 100 wide; from 180 to 340: 160 high, and so the side of the square, about (150, 260).
    half = 0.5 * 363 / 256 * 160
    corners = [int(150 - half), int(260 - half), int(150 + half), int(260 + half)]
    assert source_window(crop, 363) == pytest.approx([edge - 0.5 for edge in corners])


@pytest.mark.parametrize("size", [64, 100, 128, 256])
def test_fabrec_keeps_the_inner_pixels_of_its_region(size: int):
    """The offset is cut to whole pixels: of an odd rest the right and lower side lose one more."""
    region = region_side("fabrec", size)
    assert region == math.ceil(size * math.sqrt(2))
    box = torch.tensor([100.0, 100.0, 200.0, 220.0])
    whole = named_crop("fabrec", box=box, size=size, trim=False)
    inner = named_crop("fabrec", box=box, size=size)
    offset = (region - size) // 2
    corner = torch.tensor([[offset, offset]], dtype=torch.float64)
    assert inner.apply(whole.inverse().apply(corner))[0].tolist() == pytest.approx([0.0, 0.0], abs=1e-9)


def face_68() -> Tensor:
    """68 points of which the eyes, the chin, the highest and the lowest have known places."""
    points = torch.full((68, 2), 100.0, dtype=torch.float64)
    layout = scheme("68")
    for name, x in (("left_eye_outer", 70), ("left_eye_inner", 90), ("right_eye_inner", 110)):
        points[layout.index(name)] = torch.tensor([float(x), 80.0], dtype=torch.float64)
    points[layout.index("right_eye_outer")] = torch.tensor([130.0, 80.0], dtype=torch.float64)
    points[layout.index("chin")] = torch.tensor([140.0, 180.0], dtype=torch.float64)
    points[20] = torch.tensor([80.0, 60.0], dtype=torch.float64)
    return points


def test_fabrec_from_landmarks():
    # From 60 to 180: 120 high; top int(60 - 30), bottom int(180 + 18): side 168 sqrt(2) about x = 100 + 0.25 * 40.
    crop = named_crop("fabrec", landmarks=face_68(), trim=False)
    half = 0.5 * math.sqrt(2) * 168
    corners = [int(110 - half), int(114 - half), int(110 + half), int(114 + half)]
    assert source_window(crop, 363) == pytest.approx([edge - 0.5 for edge in corners])


def test_fabrec_takes_an_x_of_zero_for_a_missing_point():
    points = face_68()
    points[40] = torch.tensor([0.0, 900.0], dtype=torch.float64)
    same = named_crop("fabrec", landmarks=points, trim=False)
    assert torch.equal(same.matrix, named_crop("fabrec", landmarks=face_68(), trim=False).matrix)


def test_gmpi_of_a_face_that_is_the_mean_one():
    """The mean face drawn 51 px large, upright: the scale is two, the window lies about the shift."""
    from lineament.faces.deep3d_alignment import MEAN_FACE

    mean = torch.tensor(MEAN_FACE, dtype=torch.float64)
    height, width, tx, ty = 300, 400, 150.2, 130.2
    # y counts upwards there, from the last row.
    points = torch.stack([51 * mean[:, 0] + tx, height - 1 - (51 * mean[:, 1] + ty)], 1)
    crop = named_crop("gmpi", landmarks=points, image_size=(height, width))
    assert crop.axis_scales == pytest.approx((2.0, 2.0))
    left, top = int(400 - 112 + (tx - 200) * 2), int(300 - 112 + (150 - ty) * 2)
    assert source_window(crop, 224) == pytest.approx(
        [left / 2 - 0.5, top / 2 - 0.5, left / 2 + 111.5, top / 2 + 111.5]
    )


def test_depthnet_takes_whole_pixels_of_the_tight_box():
    points = torch.tensor([[10.7, 20.2], [50.9, 30.0], [30.0, 100.6]], dtype=torch.float64).repeat(22, 1)
    crop = named_crop("depthnet-80", landmarks=points, scheme="66")
    # Pixels 10 to 50 and 20 to 100, counted from their corners: the edge of pixel 10 is 9.5 for us.
    assert source_window(crop, 80) == pytest.approx([9.5, 19.5, 49.5, 99.5])
    box = named_crop("depthnet-80", box=torch.tensor([10.0, 20.0, 50.0, 200.0]))
    assert source_window(box, 80) == pytest.approx([10.0, 20.0, 50.0, 60.0])


def test_published_labels_lie_beside_their_features_by_half_the_change_of_a_pixel():
    crop = Affine2D.window((-0.5, -0.5, 99.5, 199.5), (200, 50))
    feature = torch.tensor([[10.0, 20.0]], dtype=torch.float64)
    # q = p s, the corner of the first pixel stays: 20 and 5; the picture itself moves to 20.5 and 4.625.
    assert crop.apply(feature)[0].tolist() == pytest.approx([20.5, 4.625])
    assert published_points(feature, crop)[0].tolist() == pytest.approx([20.0, 5.0])

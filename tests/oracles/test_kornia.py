"""Warps and colours against kornia."""

from __future__ import annotations

import math

import kornia
import pytest
import torch
from torch import Tensor

from lineament.faces.photometric import blur, to_grey
from lineament.faces.resample import crop_image
from lineament.geometry.affine2d import Affine2D
from lineament.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle


def picture(height: int = 40, width: int = 52, batch: int = 1) -> Tensor:
    """Smooth, so that interpolation hardly matters."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, 8, 9, generator=generator)
    return torch.nn.functional.interpolate(
        coarse, (height, width), mode="bicubic", align_corners=False
    ).clamp(0, 1)


@pytest.mark.parametrize("degrees", [-40.0, 13.0, 90.0])
def test_a_turned_crop_is_kornias_affine_warp(degrees: float):
    image = picture()
    turn = Affine2D.from_similarity(1.3, math.radians(degrees))
    x, y = (torch.tensor([14.5, 17.5]) - turn.apply(torch.tensor([25.5, 19.5]))).tolist()
    turn = turn.then(Affine2D.from_similarity(translation=(x + 0.3, y)))
    found = crop_image(image[0], turn, (36, 30))
    expected = kornia.geometry.warp_affine(
        image, turn.matrix.float()[None], (36, 30), mode="bilinear", padding_mode="zeros", align_corners=True
    )[0]
    # The border is blended with what lies outside in both, but not everywhere by the same rule.
    inside = (
        kornia.geometry.warp_affine(torch.ones_like(image), turn.matrix.float()[None], (36, 30))[0] > 0.999
    )
    assert float(inside.float().mean()) > 0.3
    assert float((found - expected).abs()[inside].max()) < 2e-5


def test_the_inverse_and_the_product_of_transforms_are_kornias():
    first = Affine2D.from_similarity(0.7, 0.4, (3.0, -9.0))
    second = Affine2D(torch.tensor([[1.2, 0.3, 5.0], [-0.2, 0.9, 1.0]]))
    torch.testing.assert_close(
        first.inverse().matrix, kornia.geometry.transform.invert_affine_transform(first.matrix[None])[0]
    )
    points = torch.randn(9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = kornia.geometry.transform_points(first.then(second).homogeneous()[None], points[None])[0]
    torch.testing.assert_close(second.apply(first.apply(points)), both)


def test_the_grid_of_a_resize_is_kornias():
    """Half pixels: edges stay on edges."""
    image = picture()
    found = crop_image(image[0], Affine2D.resize((52, 40), (104, 80)), (80, 104), "edge")
    expected = kornia.geometry.resize(image, (80, 104), "bilinear", align_corners=False)[0]
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_luma_is_kornias():
    image = picture(batch=2)
    torch.testing.assert_close(to_grey(image), kornia.color.rgb_to_grayscale(image))


def test_blur_is_kornias_with_each_images_own_deviation():
    image, deviations = picture(batch=3), torch.tensor([0.5, 1.0, 1.4])
    expected = kornia.filters.gaussian_blur2d(image, (7, 7), deviations[:, None].expand(3, 2), "replicate")
    torch.testing.assert_close(blur(image, deviations), expected, atol=1e-6, rtol=0)


def test_rotations_by_an_axis_are_kornias():
    vectors = torch.randn(20, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    matrices = matrix_from_axis_angle(vectors)
    torch.testing.assert_close(
        matrices, kornia.geometry.axis_angle_to_rotation_matrix(vectors), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        axis_angle_from_matrix(matrices),
        kornia.geometry.rotation_matrix_to_axis_angle(matrices),
        atol=1e-6,
        rtol=0,
    )

"""Texture lookup: known values, torch's own sampling, mip levels, gradients."""

from __future__ import annotations

import pytest
import torch
from tests.ops.meshes import QUAD, cosine, points, relative_error
from torch.nn import functional as F

from lineament.ops import barycentrics, interpolate, rasterize, sample_texture, screen_derivative

IMPLEMENTATIONS = pytest.mark.parametrize("impl", ["numba", "reference"])


def at(u: float, v: float) -> torch.Tensor:
    return torch.tensor([u, v]).view(1, 2, 1, 1)


@IMPLEMENTATIONS
@pytest.mark.parametrize(
    ("u", "align_corners", "padding", "value"),
    [
        (0.5, False, "border", 1.5),  # the border between texels 1 and 2 of 0 1 2 3
        (0.125, False, "border", 0.0),  # the centre of texel 0
        (0.0, False, "border", 0.0),
        (1.0, False, "border", 3.0),
        (1.0, False, "zeros", 1.5),  # half of the last texel is outside
        (0.0, True, "border", 0.0),
        (1 / 3, True, "border", 1.0),
        (7.0, True, "border", 3.0),
        (7.0, False, "zeros", 0.0),
        (float("nan"), False, "border", 0.0),
    ],
)
def test_one_row(impl, u, align_corners, padding, value):
    texture = torch.arange(4.0).expand(1, 1, 3, 4)
    found = sample_texture(texture, at(u, 0.5), align_corners=align_corners, padding=padding, impl=impl)
    assert float(found) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_equals_grid_sample_forward_and_backward(align_corners, padding):
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(2, 3, 13, 20, generator=generator, dtype=torch.float64, requires_grad=True)
    uv = (torch.rand(2, 2, 9, 7, generator=generator, dtype=torch.float64) * 1.4 - 0.2).requires_grad_()
    ours = sample_texture(texture, uv, align_corners=align_corners, padding=padding)
    twin = F.grid_sample(texture, 2 * uv.permute(0, 2, 3, 1) - 1, "bilinear", padding, align_corners)
    torch.testing.assert_close(ours, twin)
    weight = torch.rand(ours.shape, generator=generator, dtype=torch.float64)
    found = torch.autograd.grad((ours * weight).sum(), (texture, uv))
    expected = torch.autograd.grad((twin * weight).sum(), (texture, uv))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_mip_mapped_agrees_with_its_twin(padding):
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(1, 3, 12, 37, generator=generator)
    uv = torch.rand(2, 2, 9, 7, generator=generator) * 1.4 - 0.2
    derivative = torch.randn(2, 2, 2, 9, 7, generator=generator) * 0.2
    results = []
    for impl in ("numba", "reference"):
        leaves = texture.clone().requires_grad_(), uv.clone().requires_grad_()
        options = {"align_corners": False, "padding": padding, "impl": impl}
        image = sample_texture(*leaves, uv_derivative=derivative, **options)
        results.append((image.detach(), *torch.autograd.grad(image.square().sum(), leaves)))
    for ours, twin in zip(*results, strict=True):
        assert bool(twin.any()) and cosine(ours, twin) > 1 - 1e-6 and relative_error(ours, twin) < 1e-5


@IMPLEMENTATIONS
def test_mip_levels_average(impl):
    texture = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(2))
    uv = torch.full((1, 2, 1, 1), 0.5)
    for texels, expected in ((0.1, None), (16.0, texture.mean((2, 3))), (1e9, texture.mean((2, 3)))):
        derivative = torch.zeros(1, 2, 2, 1, 1)
        derivative[:, 0, 1] = texels / 16
        found = sample_texture(texture, uv, align_corners=False, uv_derivative=derivative, impl=impl)[
            ..., 0, 0
        ]
        plain = sample_texture(texture, uv, align_corners=False, impl=impl)[..., 0, 0]
        torch.testing.assert_close(found, plain if expected is None else expected)


def test_mip_mapping_calms_a_checkerboard_drawn_small():
    texture = ((torch.arange(256)[:, None] + torch.arange(256)) % 2).float()[None, None]
    corners = points((1, 1, 1), (30, 1, 1), (1, 30, 1), (30, 30, 1))
    uv = torch.tensor([[[0.0, 0], [1, 0], [0, 1], [1, 1]]])
    index = rasterize(corners, QUAD, 32, 32)
    _, bary = barycentrics(corners, QUAD, index)
    image_uv = interpolate(uv, QUAD, index, bary)
    derivative = screen_derivative(uv, corners, QUAD, index, bary)
    torch.testing.assert_close(derivative[0, :, :, 9, 9], torch.eye(2) / 29, atol=1e-6, rtol=1e-4)
    drawn = index[:, None] >= 0
    plain, calm = (
        sample_texture(texture, image_uv, align_corners=False, index=index, uv_derivative=d)[drawn]
        for d in (None, derivative)
    )
    assert float(plain.std()) > 0.1
    assert float((calm - 0.5).abs().max()) < 1e-4


def test_empty_pixels_are_black_and_teach_nothing():
    texture = torch.ones(1, 1, 4, 4, requires_grad=True)
    uv = torch.zeros(1, 2, 2, 2, requires_grad=True)
    index = torch.tensor([[[-1, -1], [-1, 3]]], dtype=torch.int32)
    image = sample_texture(texture, uv, align_corners=False, index=index)
    image.sum().backward()
    assert image.flatten().tolist() == [0, 0, 0, 1]
    assert float(texture.grad.sum()) == 1 and float(texture.grad[0, 0, 0, 0]) == 1


def test_gradcheck():
    generator = torch.Generator().manual_seed(3)
    texture = torch.rand(1, 2, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    uv = (0.15 + 0.7 * torch.rand(1, 2, 3, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    derivative = torch.full((1, 2, 2, 3, 3), 0.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t, c: sample_texture(t, c, align_corners=False), (texture, uv))
    assert torch.autograd.gradcheck(
        lambda t, c: sample_texture(t, c, align_corners=False, uv_derivative=derivative), (texture, uv)
    )


def test_compile_takes_it_whole():
    texture, uv = torch.rand(1, 3, 8, 8), torch.rand(2, 2, 4, 4)
    derivative = torch.full((2, 2, 2, 4, 4), 0.2)

    def look_up(t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return sample_texture(t, c, align_corners=False, uv_derivative=derivative)

    compiled = torch.compile(look_up, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(texture, uv), look_up(texture, uv))

"""The closed-form affine fit: exact cases, degenerate ones, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lineament.errors import UsageError
from lineament.geometry.affine_fit import apply_affine, fit_affine, homogeneous


def faces(seed: int, batch: int = 3, count: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    source = torch.rand(batch, count, 2, generator=generator, dtype=torch.float64)
    depth = 0.2 * torch.randn(batch, count, generator=generator, dtype=torch.float64)
    matrix = torch.randn(batch, 2, 4, generator=generator, dtype=torch.float64)
    return source, depth, matrix


def plain_twin(source: Tensor, depth: Tensor, target: Tensor) -> Tensor:
    rows = homogeneous(source, depth).transpose(1, 2)
    return torch.linalg.lstsq(rows, target, driver="gelsd").solution.transpose(1, 2)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_recovers_a_random_camera(seed: int):
    source, depth, matrix = faces(seed)
    target = apply_affine(matrix, source, depth)
    assert torch.allclose(fit_affine(source, depth, target), matrix, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), a=st.floats(-3, 3), b=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_planes_and_scale_of_the_depth_do_not_matter(seed: int, a: float, b: float, scale: float):
    source, depth, _ = faces(seed)
    target = faces(seed + 1)[0]
    other = -scale * depth + a + b * source[..., 0] - a * source[..., 1]
    fits = [apply_affine(fit_affine(source, z, target), source, z) for z in (depth, other)]
    assert torch.allclose(*fits, atol=1e-8)


def test_equals_least_squares_of_the_library():
    source, depth, _ = faces(0)
    target = faces(1)[0]
    assert torch.allclose(fit_affine(source, depth, target), plain_twin(source, depth, target), atol=1e-10)


@pytest.mark.parametrize(
    "depth_of", [lambda s: 0 * s[..., 0] + 0.3, lambda s: 0.1 + s[..., 0] - 2 * s[..., 1]]
)
def test_flat_depth_gives_the_plane_fit_and_no_gradient(depth_of):
    source, _, _ = faces(2)
    target = faces(3)[0].requires_grad_()
    depth = depth_of(source).requires_grad_()
    matrix = fit_affine(source, depth, target)
    fitted = apply_affine(matrix, source, depth)
    best = apply_affine(plain_twin(source, depth, target), source, depth)
    assert torch.allclose(fitted, best, atol=1e-9)
    assert not bool(matrix[..., 2].any())
    (fitted - target).square().sum().backward()
    assert depth.grad is not None and bool(torch.isfinite(depth.grad).all())


def test_one_flat_face_leaves_the_others_alone():
    source, depth, _ = faces(4)
    target = faces(5)[0]
    mixed = depth.clone()
    mixed[1] = 0.5
    assert torch.equal(fit_affine(source, mixed, target)[[0, 2]], fit_affine(source, depth, target)[[0, 2]])


def test_points_on_a_line_stay_finite():
    line = torch.linspace(0, 1, 9, dtype=torch.float64)
    source = torch.stack([line, 2 * line], dim=1)[None]
    matrix = fit_affine(source, torch.rand(1, 9, dtype=torch.float64), source)
    assert bool(torch.isfinite(matrix).all())


@pytest.mark.parametrize(("damping", "layout"), [(0.0, "affine"), (0.05, "affine"), (0.05, "legacy")])
def test_gradients(damping: float, layout):
    source, depth, _ = faces(6, batch=2, count=6)
    target = faces(7, batch=2, count=6)[0]
    inputs = [part.requires_grad_() for part in (source, depth, target)]
    assert torch.autograd.gradcheck(lambda *a: fit_affine(*a, damping=damping, layout=layout), inputs)


def test_damping_shrinks_and_vanishes():
    source, depth, matrix = faces(8)
    target = apply_affine(matrix, source, depth)
    strong, weak = (fit_affine(source, depth, target, damping=d) for d in (100.0, 1e-9))
    assert torch.allclose(weak, matrix, atol=1e-5)
    assert float(strong.norm()) < 0.7 * float(matrix.norm())


def test_wrong_shapes_and_layout_are_refused():
    source, depth, _ = faces(9)
    with pytest.raises(UsageError, match="affine fit needs"):
        fit_affine(source, depth[:, :5], source)
    with pytest.raises(UsageError, match="legacy layout"):
        fit_affine(source, depth, source, layout="legacy")


def test_the_oldest_layout_by_hand():
    """Eight unknowns, ridge: x = u0 x + u1 y + u2 z + u6, y = u4 x + u5 y + u6 z + u7; the map drops the x offset."""
    source, depth, _ = faces(10, batch=1, count=9)
    target = faces(11, batch=1, count=9)[0]
    rows, wanted = [], []
    for (x, y), z, (tx, ty) in zip(source[0].tolist(), depth[0].tolist(), target[0].tolist(), strict=True):
        rows += [[x, y, z, 0, 0, 0, 1, 0], [0, 0, 0, 0, x, y, z, 1]]
        wanted += [tx, ty]
    system, right = torch.tensor(rows).double(), torch.tensor(wanted).double()
    unknown = torch.linalg.solve(
        system.T @ system + 0.05 * torch.eye(8, dtype=torch.float64), system.T @ right
    )
    found = fit_affine(source, depth, target, damping=0.05, layout="legacy")
    torch.testing.assert_close(found[0].flatten(), unknown)
    # Nothing ever asks for the fourth unknown, so the damping leaves it at zero.
    assert float(found[0, 0, 3]) == pytest.approx(0.0, abs=1e-12)

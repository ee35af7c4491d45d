"""Cases with known numbers (run once with another renderer's CPU kernels): rasterisation, depth, interpolation."""

from __future__ import annotations

import pytest
import torch
from tests.ops.meshes import QUAD, TRIANGLE, points, quad

from lineament.ops import barycentrics, edge_gradient, interpolate, rasterize, rasterize_with_depth

pytestmark = pytest.mark.parametrize("impl", ["numba", "reference"])


def covered(index: torch.Tensor) -> list[list[int]]:
    """Columns drawn in each row of the first view."""
    return [(row >= 0).nonzero()[:, 0].tolist() for row in index[0]]


def test_a_large_triangle(impl):
    vertices = points((0, 511, 1), (255, 0, 1), (511, 511, 1))
    index = rasterize(vertices, TRIANGLE, 512, 512, impl=impl)
    depth, bary = barycentrics(vertices, TRIANGLE, index, impl=impl)
    rows = covered(index)
    assert int((index >= 0).sum()) == 130305
    assert rows[0] == rows[511] == []
    assert rows[510] == list(range(1, 511))
    torch.testing.assert_close(
        bary[0, :, 256, 256], torch.tensor([0.249022, 0.499022, 0.251956]), atol=2e-6, rtol=0
    )
    torch.testing.assert_close(
        bary[0, :, 300, 200], torch.tensor([0.401749, 0.412916, 0.185336]), atol=2e-6, rtol=0
    )
    empty = index[0] < 0
    assert not depth[0][empty].any() and not bary[0][:, empty].any()
    torch.testing.assert_close(depth[0][~empty], torch.ones(130305))


@pytest.mark.parametrize("corners", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
def test_b_fill_rule_and_winding(impl, corners):
    vertices = points((1, 1, 2), (6, 1, 2), (1, 6, 2))
    faces = torch.tensor([corners], dtype=torch.int32)
    index = rasterize(vertices, faces, 8, 8, impl=impl)
    assert covered(index) == [[], [1, 2, 3, 4, 5], [1, 2, 3, 4], [1, 2, 3], [1, 2], [1], [], []]
    depth, bary = barycentrics(vertices, faces, index, impl=impl)
    order = torch.tensor(corners)
    torch.testing.assert_close(bary[0, :, 2, 2], torch.tensor([0.6, 0.2, 0.2])[order])
    torch.testing.assert_close(bary[0, :, 2, 3], torch.tensor([0.4, 0.4, 0.2])[order])
    assert float(depth[0, 2, 2]) == pytest.approx(2)


def test_c_perspective_depth_and_its_gradient(impl):
    vertices = points((0, 0, 1), (7, 0, 2), (0, 7, 4)).requires_grad_()
    index = rasterize(vertices, TRIANGLE, 8, 8, impl=impl)
    assert covered(index) == [list(range(7 - y)) for y in range(8)]
    depth, bary = barycentrics(vertices, TRIANGLE, index, impl=impl)
    torch.testing.assert_close(
        bary[0, :, 2, 2], torch.tensor([0.666667, 0.222222, 0.111111]), atol=1e-6, rtol=0
    )
    assert float(depth[0, 2, 2].detach()) == pytest.approx(1 / (3 / 7 + 2 / 14 + 2 / 28), abs=1e-6)
    (gradient,) = torch.autograd.grad(depth[0, 2, 2], vertices)
    expected = torch.tensor(
        [[-0.074074, -0.111111, 1.037037], [-0.049383, -0.074074, 0.172839], [-0.049383, -0.074074, 0.043210]]
    )
    torch.testing.assert_close(gradient[0], expected, atol=1e-6, rtol=0)


def test_c_interpolation_and_empty_pixels(impl):
    vertices = points((0, 0, 1), (7, 0, 2), (0, 7, 4))
    index = rasterize(vertices, TRIANGLE, 8, 8, impl=impl)
    _, bary = barycentrics(vertices, TRIANGLE, index, impl=impl)
    attributes = torch.tensor([[[1.0, 0], [0, 1], [0, 0]]])
    image = interpolate(attributes, TRIANGLE, index, bary, impl=impl)
    torch.testing.assert_close(image[0, :, 2, 2], torch.tensor([0.666667, 0.222222]), atol=1e-6, rtol=0)
    assert image[0, :, 7, 7].tolist() == [0, 0]
    foreign = interpolate(attributes, TRIANGLE, index, bary, empty="foreign", impl=impl)
    assert foreign[0, :, 7, 7].tolist() == [0.875, 0.875]
    assert torch.equal(foreign[0, :, 2, 2], image[0, :, 2, 2])


@pytest.mark.parametrize("second", [(3, 2, 1), (3, 1, 2)])
def test_d_shared_diagonal_leaves_no_hole(impl, second):
    vertices = points((0.5, 0.49993896, 1), (0.5, 6.5, 1), (6.50006104, 0.49993896, 1), (6.50006104, 6.5, 1))
    faces = torch.tensor([(0, 1, 2), second], dtype=torch.int32)
    index = rasterize(vertices, faces, 8, 8, impl=impl)[0]
    for y in range(8):
        inside = 1 <= y <= 6
        expected = [(0 if x <= 6 - y else 1) if inside and 1 <= x <= 6 else -1 for x in range(8)]
        assert index[y].tolist() == expected


def test_e_ties_depth_order_and_dropped_triangles(impl):
    one = [(1.0, 1.0), (6.0, 1.0), (1.0, 6.0)]
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32)

    def ids(z_first: float, *z_second: float) -> set[int]:
        first = [(x, y, z_first) for x, y in one]
        second = [(x, y, z) for (x, y), z in zip(one, z_second, strict=True)]
        return set(rasterize(points(*first, *second), faces, 8, 8, impl=impl).unique().tolist())

    assert ids(2, 2, 2, 2) == {-1, 0}
    assert ids(3, 2, 2, 2) == {-1, 1}
    assert ids(3, 2, 2, -1) == {-1, 0}
    assert ids(3, 2, 2, 1e-8) == {-1, 0}
    assert ids(3, 2, 2, float("nan")) == {-1, 0}


def test_f_quads_at_pixel_edges_and_centres(impl):
    index = rasterize(quad(-0.5, 3.5), QUAD, 4, 4, impl=impl)[0].tolist()
    assert index == [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    index = rasterize(quad(1, 4), QUAD, 6, 6, impl=impl)
    assert covered(index) == [[], [1, 2, 3], [1, 2, 3], [1, 2, 3], [], []]
    assert index[0, 1:4, 1:4].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 1]]


def test_g_edge_gradient_of_a_white_quad(impl):
    vertices = quad(2.3, 9.6).requires_grad_()
    index = rasterize(vertices, QUAD, 12, 12, impl=impl)
    _, bary = barycentrics(vertices, QUAD, index, impl=impl)
    white = (index >= 0).float()[:, None]
    image = edge_gradient(vertices, QUAD, bary, white, index, impl=impl)
    assert torch.equal(image, white) and int(white.sum()) == 49
    (gradient,) = torch.autograd.grad(image.sum(), vertices)
    low, high = 2.794521, 2.958904
    expected = torch.tensor([[-low, -low, 0], [low, -high, 0], [-high, low, 0], [high, high, 0]])
    torch.testing.assert_close(gradient[0], expected, atol=1e-5, rtol=0)
    assert float(gradient[0, :, 0].sum()) == pytest.approx(0, abs=1e-5)


def test_h_background_gets_nothing_and_depth_only_where_surfaces_intersect(impl):
    apart = torch.cat([quad(3, 16, z=2.0), quad(8, 22, z=1.0)], dim=1)
    crossing = points(
        *[(3, 3, 1), (21, 3, 3), (3, 21, 1), (21, 21, 3)], *[(3, 3, 3), (21, 3, 1), (3, 21, 3), (21, 21, 1)]
    )
    faces = torch.cat([QUAD, QUAD + 4])
    for vertices, meets in ((apart, False), (crossing, True)):
        vertices = torch.cat(
            [vertices, torch.tensor([[[0.0, 0.0, 5.0]]])], dim=1
        ).requires_grad_()  # an unused vertex
        index, _ = rasterize_with_depth(vertices, faces, 25, 25, impl=impl)
        _, bary = barycentrics(vertices.detach(), faces, index, impl=impl)
        base = torch.where(index < 0, 0.1, torch.where(index < 2, 0.9, 0.4))[:, None].requires_grad_()
        image = edge_gradient(vertices, faces, bary, base, index, impl=impl)
        weight = torch.linspace(0.5, 1.5, 25)
        to_vertices, to_image = torch.autograd.grad((image * weight).sum(), (vertices, base))
        assert torch.equal(to_image, weight.expand_as(base))
        assert not to_vertices[0, 8].any()
        assert bool(to_vertices[..., :2].any())
        assert bool(to_vertices[..., 2].any()) == meets

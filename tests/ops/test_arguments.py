"""Bad, empty and extreme arguments: a sentence or an empty image, never a crash."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.meshes import QUAD, TRIANGLE, points, quad

from lineament.errors import DataError, UsageError
from lineament.ops import (
    barycentrics,
    edge_gradient,
    interpolate,
    rasterize,
    rasterize_with_depth,
    sample_texture,
)

VERTICES = quad(2, 9)
IMPLEMENTATIONS = pytest.mark.parametrize("impl", ["numba", "reference"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rasterize(VERTICES[0], QUAD, 4, 4), r"vertices must be \[N, V, 3\].*got \[4, 3\]"),
        (lambda: rasterize(VERTICES.half(), QUAD, 4, 4), "float16"),
        (lambda: rasterize(VERTICES, QUAD.float(), 4, 4), "faces must be"),
        (lambda: rasterize(VERTICES, QUAD.expand(2, 2, 3), 4, 4), "faces have 2 views but .* 1"),
        (lambda: rasterize(VERTICES, QUAD, -1, 4), "got -1 x 4"),
        (lambda: rasterize(VERTICES, QUAD, 4, 4, impl="numbat"), "did you mean 'numba'"),
        (lambda: rasterize(VERTICES, QUAD, 4, 4, impl="cuda"), "needs CUDA tensors"),
        (lambda: barycentrics(VERTICES, QUAD, torch.zeros(2, 4, 4, dtype=torch.int32)), "index has 2 views"),
        (lambda: barycentrics(VERTICES, QUAD, torch.zeros(1, 4, 4)), "index must be"),
        (
            lambda: interpolate(VERTICES, QUAD, blank(4), torch.zeros(1, 2, 4, 4)),
            r"bary must be \[1, 3, 4, 4\]",
        ),
        (
            lambda: interpolate(VERTICES, QUAD, blank(4), torch.zeros(1, 3, 4, 4), empty="foreing"),
            "'foreign'",
        ),
        (lambda: interpolate(VERTICES.long(), QUAD, blank(4), torch.zeros(1, 3, 4, 4)), "attributes must be"),
        (
            lambda: edge_gradient(VERTICES, QUAD, torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 5, 4), blank(4)),
            "image must",
        ),
        (lambda: texture(torch.zeros(1, 3, 0, 4)), "at least 1"),
        (lambda: texture(torch.zeros(3, 3, 4, 4)), "texture has 3 views but uv has 2"),
        (
            lambda: texture(torch.zeros(1, 3, 4, 4), uv_derivative=torch.zeros(2, 2, 4, 4)),
            "uv_derivative must be",
        ),
        (lambda: texture(torch.zeros(1, 3, 4, 4), padding="wrap"), "unknown padding"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(call, words):
    with pytest.raises(UsageError, match=words):
        call()


def blank(size: int) -> torch.Tensor:
    return torch.full((1, size, size), -1, dtype=torch.int32)


def texture(image: torch.Tensor, **options: object) -> torch.Tensor:
    return sample_texture(image, torch.zeros(2, 2, 4, 4), align_corners=False, **options)


@IMPLEMENTATIONS
@pytest.mark.parametrize("corner", [4, -1, 2**31 - 1])
def test_faces_that_name_no_vertex(impl, corner):
    faces = torch.tensor([[0, 1, corner]], dtype=torch.int32)
    with pytest.raises(DataError, match=r"vertices outside 0\.\.3"):
        rasterize(VERTICES, faces, 12, 12, impl=impl)
    with pytest.raises(DataError, match="index name"):
        barycentrics(VERTICES, faces, torch.zeros(1, 2, 2, dtype=torch.int32), impl=impl)


@IMPLEMENTATIONS
def test_index_that_names_no_face(impl):
    index = torch.full((1, 3, 3), 2, dtype=torch.int32)
    with pytest.raises(DataError, match=r"faces outside 0\.\.1"):
        barycentrics(VERTICES, QUAD, index, impl=impl)
    with pytest.raises(DataError, match=r"faces outside 0\.\.1"):
        interpolate(VERTICES, QUAD, index, torch.zeros(1, 3, 3, 3), impl=impl)
    leaf = VERTICES.clone().requires_grad_()
    image = torch.rand(1, 1, 3, 3)
    index[0, 0, 0] = -1
    with pytest.raises(DataError, match=r"faces outside 0\.\.1"):
        edge_gradient(leaf, QUAD, torch.zeros(1, 3, 3, 3), image, index, impl=impl).sum().backward()


@IMPLEMENTATIONS
@pytest.mark.parametrize(
    ("views", "count", "faces", "size"), [(1, 4, 2, 0), (0, 4, 2, 5), (1, 0, 0, 5), (2, 4, 0, 5)]
)
def test_empty_images_and_meshes(impl, views, count, faces, size):
    vertices = torch.ones(views, count, 3, requires_grad=True)
    corners = QUAD[:faces]
    index, depth = rasterize_with_depth(vertices, corners, size, size + 1, impl=impl)
    assert index.shape == depth.shape == (views, size, size + 1)
    assert bool((index == -1).all()) and not depth.any()
    far, bary = barycentrics(vertices, corners, index, impl=impl)
    image = interpolate(vertices, corners, index, bary, impl=impl)
    image = edge_gradient(vertices, corners, bary, image, index, impl=impl)
    (image.sum() + far.sum()).backward()
    assert not image.any() and not vertices.grad.any()
    assert sample_texture(torch.ones(1, 2, 3, 3), bary[:, :2], align_corners=False, impl=impl).shape[1] == 2


@IMPLEMENTATIONS
def test_not_finite_and_huge_vertices(impl):
    big, nan, inf = 3e38, float("nan"), float("inf")
    for bad in (nan, inf, -inf):
        for axis in range(3):
            corners = [[2.0, 2.0, 1.0], [9.0, 2.0, 1.0], [2.0, 9.0, 1.0]]
            corners[1][axis] = bad
            index = rasterize(points(*map(tuple, corners)), TRIANGLE, 12, 12, impl=impl)
            assert not bool((index >= 0).any()) or (axis, bad) == (2, inf)
    huge = points((-big, -big, 1), (big, -big, 1), (0, big, 1))
    assert bool((rasterize(huge, TRIANGLE, 12, 12, impl=impl) == 0).all())
    assert rasterize(huge.double() * 1e200, TRIANGLE, 12, 12, impl=impl).shape == (1, 12, 12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=18, max_size=18),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_any_numbers_give_an_image_and_finite_shapes(numbers, height, width):
    vertices = torch.tensor(numbers, dtype=torch.float32).view(1, 6, 3).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [0, 2, 4]], dtype=torch.int32)
    index, depth = rasterize_with_depth(vertices, faces, height, width)
    far, bary = barycentrics(vertices, faces, index)
    image = edge_gradient(
        vertices, faces, bary, interpolate(vertices.nan_to_num(), faces, index, bary), index
    )
    (image.sum() + far.sum()).backward()
    assert int(index.min()) >= -1 and int(index.max()) < 3
    assert bool(depth.isfinite().all()) and bool((depth[index < 0] == 0).all())

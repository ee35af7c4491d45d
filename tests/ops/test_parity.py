"""Reference twin against numba: index images, values and gradients; smoothness by finite differences; tracing."""

from __future__ import annotations

import pytest
import torch
from tests.ops.meshes import TRIANGLE, cosine, points, relative_error, soup
from torch import Tensor

from lineament.ops import barycentrics, edge_gradient, interpolate, rasterize, rasterize_with_depth
from lineament.pipeline.bench.rasterize import bench_mesh, project


def near_edges(vertices: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
    """Pixels whose id changes when the mesh moves by 1e-3 px."""
    moved = [
        rasterize(vertices + torch.tensor([dx, dy, 0.0]), faces, height, width) for dx in STEP for dy in STEP
    ]
    return torch.stack([one != moved[0] for one in moved]).any(0)


STEP = (-1e-3, 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
def test_index_images_agree_but_for_a_few_pixels_at_edges(seed, dtype):
    vertices, faces = soup(seed)
    ours, depth = rasterize_with_depth(vertices.to(dtype), faces, 40, 44)
    twin, twin_depth = rasterize_with_depth(vertices.to(dtype), faces, 40, 44, impl="reference")
    differ = ours != twin
    assert float(differ.float().mean()) < 1e-3
    assert not bool((differ & ~near_edges(vertices, faces, 40, 44)).any())
    torch.testing.assert_close(depth[~differ], twin_depth[~differ])
    assert float((ours >= 0).float().mean()) > 0.5, "the scene is empty"


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_pixel(threads):
    vertices, faces = project(bench_mesh()[0]), bench_mesh()[1]
    before = torch.get_num_threads()
    expected = rasterize(vertices, faces, 96, 96, impl="reference")
    try:
        torch.set_num_threads(threads)
        found = rasterize(vertices, faces, 96, 96)
    finally:
        torch.set_num_threads(before)
    assert float((found != expected).float().mean()) < 1e-4


def chain(
    vertices: Tensor, faces: Tensor, attributes: Tensor, flat: bool, impl: str
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and gradients of barycentrics, interpolate and edge gradient on one and the same index image."""
    index = rasterize(vertices, faces, 40, 44)
    vertices, attributes = vertices.clone().requires_grad_(), attributes.clone().requires_grad_()
    depth, bary = barycentrics(vertices, faces, index, impl=impl)
    image = interpolate(attributes, faces, index, bary, impl=impl)
    weight = torch.rand(image.shape, generator=torch.Generator().manual_seed(1), dtype=image.dtype)
    inner = torch.autograd.grad(
        (image * weight).sum() + depth.sum(), (vertices, attributes), retain_graph=True
    )
    outer = edge_gradient(vertices, faces, bary, image.detach(), index, flat=flat, impl=impl)
    edges = torch.autograd.grad((outer * weight).sum(), vertices)
    return [depth.detach(), bary.detach(), image.detach(), outer.detach()], [*inner, *edges]


@pytest.mark.parametrize("per_view_faces", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("flat", [False, True])
def test_values_and_gradients_agree(dtype, tolerance, flat, per_view_faces):
    vertices, faces = soup(7)
    if per_view_faces:
        faces = torch.stack([faces, faces.flip(0)])
    attributes = torch.rand(2, vertices.shape[1], 5, generator=torch.Generator().manual_seed(2), dtype=dtype)
    ours, our_gradients = chain(vertices.to(dtype), faces, attributes, flat, "numba")
    twin, twin_gradients = chain(vertices.to(dtype), faces, attributes, flat, "reference")
    for found, expected in zip(ours, twin, strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    for found, expected in zip(our_gradients, twin_gradients, strict=True):
        assert bool(expected.any())
        assert cosine(found, expected) > 1 - 1e-6
        assert relative_error(found, expected) < 10 * tolerance


def test_gradcheck_inside_a_triangle():
    vertices = points((0.2, 0.3, 1), (7.4, 0.1, 2), (0.7, 6.8, 4)).double().requires_grad_()
    attributes = torch.rand(1, 3, 2, dtype=torch.float64, requires_grad=True)
    index = rasterize(vertices, TRIANGLE, 8, 8)
    assert torch.autograd.gradcheck(lambda v: barycentrics(v, TRIANGLE, index), vertices)

    def drawn(v: Tensor, a: Tensor) -> Tensor:
        return interpolate(a, TRIANGLE, index, barycentrics(v, TRIANGLE, index)[1])

    assert torch.autograd.gradcheck(drawn, (vertices, attributes))


def render(vertices: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    index = rasterize(vertices, faces, 16, 20)
    depth, bary = barycentrics(vertices, faces, index)
    image = interpolate(attributes, faces, index, bary)
    return edge_gradient(vertices, faces, bary, torch.cat([image, depth[:, None]], dim=1), index)


def test_compile_takes_the_renderer_whole():
    vertices, faces = soup(3, size=20)
    attributes = torch.rand(2, vertices.shape[1], 2)
    compiled = torch.compile(render, fullgraph=True, backend="aot_eager")
    results = []
    for function in (render, compiled):
        leaf = vertices.clone().requires_grad_()
        image = function(leaf, faces, attributes)
        results.append((image.detach(), torch.autograd.grad(image.square().sum(), leaf)[0]))
    torch.testing.assert_close(results[0], results[1])


def test_export_takes_the_renderer_whole():
    class Renderer(torch.nn.Module):
        def forward(self, vertices: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
            return render(vertices, faces, attributes)

    vertices, faces = soup(4, size=20)
    arguments = (vertices, faces, torch.rand(2, vertices.shape[1], 2))
    program = torch.export.export(Renderer(), arguments)
    names = {str(node.target) for node in program.graph.nodes}
    assert {"lineament.rasterize.default", "lineament.barycentrics.default"} <= names
    torch.testing.assert_close(program.module()(*arguments), render(*arguments))


def test_ops_pass_torchs_own_check():
    vertices, faces = soup(5, size=20)
    index = rasterize(vertices, faces, 9, 9)
    leaf = vertices.clone().requires_grad_()
    torch.library.opcheck(torch.ops.lineament.rasterize.default, (vertices, faces[None], 9, 9, "numba"))
    torch.library.opcheck(torch.ops.lineament.barycentrics.default, (leaf, faces[None], index, "numba"))


def test_gradients_of_gradients_are_refused():
    vertices, faces = points((0, 0, 1), (7, 0, 2), (0, 7, 4)).requires_grad_(), TRIANGLE
    index = rasterize(vertices, faces, 8, 8)
    depth, _ = barycentrics(vertices, faces, index)
    (gradient,) = torch.autograd.grad(depth.square().sum(), vertices, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()

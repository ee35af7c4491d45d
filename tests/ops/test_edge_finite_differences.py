"""Edge gradient against finite differences of a 16 times supersampled image.

Ours is averaged over sub-pixel shifts of the scene: a picture of whole pixels is a staircase, and so is its gradient.
The known low bias (about one pixel over the size of the triangle) is inside the 25 % that are allowed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.ops.meshes import QUAD, cosine, points
from torch import Tensor

from lineament.ops import barycentrics, edge_gradient, interpolate, rasterize
from lineament.pipeline.bench.rasterize import bench_mesh

SIZE, FINE = 48, 16
SHIFTS = [
    ((0.5 + k * 0.618034) % 1 - 0.5, (0.5 + k * 0.754878) % 1 - 0.5) for k in range(12)
]  # px, low discrepancy
Shade = Callable[[Tensor, Tensor, Tensor], Tensor]  # vertices, index, bary -> image [1, C, H, W]


def loss_weight(height: int, width: int) -> Tensor:
    """A smooth field over the image, the same at every resolution: dL / dI."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([1 + 0.8 * torch.sin(3 * x + 1) * y, 0.5 + x * y + 0.5 * torch.cos(4 * y)]).double()[
        None
    ]


def rendered(vertices: Tensor, faces: Tensor, shade: Shade, scale: int, flat: bool = False) -> Tensor:
    """Loss of the picture; at ``scale`` > 1 the pixels' average over scale x scale samples."""
    fine = torch.cat([(vertices[..., :2] + 0.5) * scale - 0.5, vertices[..., 2:]], dim=-1)
    index = rasterize(fine, faces, SIZE * scale, SIZE * scale)
    _, bary = barycentrics(fine, faces, index)
    image = shade(fine, index, bary)
    if scale == 1:
        image = edge_gradient(fine, faces, bary, image, index, flat=flat)
    image = torch.nn.functional.avg_pool2d(image, scale)
    return (image * loss_weight(SIZE, SIZE)).sum()


def per_vertex(
    vertices: Tensor, faces: Tensor, shade: Shade, flat: bool, axes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Gradient of every coordinate in ``axes``, ours and by central differences."""
    ours, true = torch.zeros_like(vertices), torch.zeros_like(vertices)
    for shift in SHIFTS:
        moved = (vertices + vertices.new_tensor([*shift, 0])).requires_grad_()
        ours += torch.autograd.grad(rendered(moved, faces, shade, 1, flat), moved)[0] / len(SHIFTS)
    for vertex in range(vertices.shape[1]):
        for axis in axes:
            step = torch.zeros_like(vertices)
            step[0, vertex, axis] = 0.5 if axis < 2 else 0.05 * float(vertices[0, vertex, 2])
            up, down = (
                rendered(vertices + step, faces, shade, FINE),
                rendered(vertices - step, faces, shade, FINE),
            )
            true[0, vertex, axis] = (up - down) / (2 * step[0, vertex, axis])
    return ours[..., list(axes)], true[..., list(axes)]


def assert_close(ours: Tensor, true: Tensor) -> None:
    """The sign everywhere, the size within 25 % (components under a quarter of the largest: of that quarter)."""
    largest = true.abs().max()
    noticeable = true.abs() > 0.03 * largest
    assert bool((ours.sign() == true.sign())[noticeable].all()), f"signs differ: {ours} against {true}"
    error = (ours - true).abs() / true.abs().clamp(min=0.25 * largest)
    assert float(error.max()) < 0.25, f"relative errors {error}"
    assert cosine(ours, true) > 0.995


def colored(faces_colors: Tensor, background: float = 0.2) -> Shade:
    """One colour for each face [F, C]."""

    def shade(vertices: Tensor, index: Tensor, bary: Tensor) -> Tensor:
        color = faces_colors.double()[index.clamp(min=0).long()]
        return torch.where(index[..., None] < 0, background, color).permute(0, 3, 1, 2).contiguous()

    return shade


FLAT = torch.tensor([[1.0, 0.1], [1.0, 0.1], [0.5, 0.9], [0.5, 0.9]])


def test_silhouette_against_the_background():
    vertices = points((9, 6, 1), (39, 12, 2), (5, 34, 1.5), (36, 41, 1)).double()
    assert_close(*per_vertex(vertices, QUAD, colored(FLAT), False, (0, 1)))


@pytest.mark.parametrize("front", [0, 1])
def test_one_surface_before_another(front):
    depths = (1.0, 2.0) if front == 0 else (2.0, 1.0)
    z, w = depths
    vertices = points(
        *[(4, 5, z), (28, 9, z), (6, 37, z), (30, 34, z)],
        *[(18, 13, w), (43, 10, w), (15, 43, w), (42, 39, w)],
    ).double()
    assert_close(*per_vertex(vertices, torch.cat([QUAD, QUAD + 4]), colored(FLAT), False, (0, 1)))


def test_flat_faces_that_share_an_edge():
    vertices = points((6, 7, 1), (40, 5, 1), (8, 42, 1), (41, 38, 1)).double()
    colors = torch.tensor([[1.0, 0.0], [0.3, 0.8]])
    assert_close(*per_vertex(vertices, QUAD, colored(colors), True, (0, 1)))


def test_intersecting_surfaces_in_all_three_axes():
    first = [(6, 6, 1.0), (40, 8, 2.2), (7, 41, 1.3), (41, 40, 2.5)]
    second = [(4, 5, 2.2), (42, 6, 1.1), (5, 42, 2.6), (43, 42, 1.2)]
    vertices = points(*first, *second).double()
    ours, true = per_vertex(vertices, torch.cat([QUAD, QUAD + 4]), colored(FLAT), False, (0, 1, 2))
    assert_close(ours[..., 2], true[..., 2])
    assert_close(ours[..., :2], true[..., :2])


def ball(x: float, y: float, z: float, radius: float, rings: int) -> tuple[Tensor, Tensor]:
    """A sphere [1, V, 3] of rings x rings quads."""
    shape, faces = bench_mesh(rings, rings, rings)
    unit = torch.nn.functional.normalize(shape.double() * torch.tensor([1, 1 / 1.1, 1]), dim=1)
    return (unit * radius + torch.tensor([x, y, z]))[None], faces


def motions(vertices: Tensor) -> list[Tensor]:
    """Motions of a whole mesh: along x and y, growth along x and y, a wave."""
    x, y = vertices[..., 0] - 24, vertices[..., 1] - 24
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    fields = [(one, zero), (zero, one), (x / 20, zero), (zero, y / 20), (torch.sin(y / 8), torch.cos(x / 9))]
    return [torch.stack([*field, zero], dim=-1) for field in fields]


def along(
    vertices: Tensor, faces: Tensor, shade: Shade, fields: list[Tensor], flat: bool = False
) -> tuple[Tensor, Tensor]:
    """Derivative of the loss along each motion, ours and by central differences."""
    gradient, true = torch.zeros_like(vertices), []
    for shift in SHIFTS:
        moved = (vertices + vertices.new_tensor([*shift, 0])).requires_grad_()
        gradient += torch.autograd.grad(rendered(moved, faces, shade, 1, flat), moved)[0] / len(SHIFTS)
    for field in fields:
        up, down = (rendered(vertices + s * field, faces, shade, FINE) for s in (0.5, -0.5))
        true.append(up - down)
    return torch.stack([(gradient * field).sum() for field in fields]), torch.stack(true)


def test_smooth_surface_of_triangles_smaller_than_a_pixel():
    vertices, faces = ball(24, 24, 60, 18, 60)
    x, y = vertices[..., 0], vertices[..., 1]
    colors = torch.stack([0.6 + 0.4 * torch.sin(x / 6 + y / 9), 0.5 + 0.4 * torch.cos(y / 7 + x / 8)], dim=-1)

    def shade(_: Tensor, index: Tensor, bary: Tensor) -> Tensor:
        return interpolate(colors, faces, index, bary)

    fields = motions(vertices)
    ours, true = along(vertices, faces, shade, fields)
    assert float((ours / true - 1).abs().max()) < 0.25
    # Counting every border between triangles as an edge would count the surface's own gradient twice.
    counted = along(vertices, faces, shade, fields[:2], flat=True)[0]
    assert bool((counted / true[:2] > 1.5).all())


def test_small_triangles_in_front_of_others():
    back, back_faces = ball(24, 24, 60, 18, 60)
    front, front_faces = ball(28, 22, 30, 7, 40)
    vertices, faces = torch.cat([back, front], dim=1), torch.cat([back_faces, front_faces + back.shape[1]])
    colors = torch.tensor([[0.9, 0.1]] * len(back_faces) + [[0.4, 0.8]] * len(front_faces))
    moved = torch.arange(vertices.shape[1])[None, :, None] >= back.shape[1]
    assert_close(*along(vertices, faces, colored(colors), [field * moved for field in motions(vertices)]))

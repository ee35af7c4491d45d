"""Plain torch twin of the multiplane renderer: plane by plane, front to back, differentiated by autograd."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Light that even an opaque texel lets through: the published product of transmittances has it.
LEAK = 1e-10

# Gradients through less light than this are taken for zero.
_DARK = 1e-12

Three = tuple[Tensor, Tensor, Tensor]


class Scene(NamedTuple):
    """What is rendered and from where; all contiguous.

    Attributes:
        alpha: ``[M, P, Ht, Wt]``.
        colour: ``[M, G, 3, Ht, Wt]``, G as in :func:`colour_layer`.
        planes: ``[P, 3]`` float64.
        eye: ``[V, 3]`` float64.
        rays: ``[V, 3, 3]`` float64.
    """

    alpha: Tensor
    colour: Tensor
    planes: Tensor
    eye: Tensor
    rays: Tensor


def colour_layer(plane: int, planes: int, layers: int) -> int:
    """Which of the colour layers a plane shows: its own, or the shared one, or the last plane the background."""
    if layers == planes:
        return plane
    return 1 if layers == 2 and plane == planes - 1 else 0


def dark_limit(stop: float) -> float:
    """Light behind which the backward pass may stop, for its gradients to be off by no more than ``stop``.

    An opaque texel's gradient is the light before it times what would be seen if it let light through; what lies
    behind is seen through as little as :data:`LEAK` then.
    """
    return max(stop, _DARK) * LEAK


def pixel_slopes(rays: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """How far the rays of all pixels go across for each unit of z, and their depth for it.

    Args:
        rays: ``[V, 3, 3]``.
        height: Rows.
        width: Columns.

    Returns:
        ``[V, 2, H, W]`` x and y per z, and ``[V, H, W]`` camera depth per z, in the precision of the rays.
    """
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=rays.dtype, device=rays.device),
        torch.arange(width, dtype=rays.dtype, device=rays.device),
        indexing="ij",
    )
    pixels = torch.stack([columns, rows, torch.ones_like(rows)]).flatten(1)
    directions = (rays @ pixels).unflatten(-1, (height, width))
    return directions[:, :2] / directions[:, 2:], directions[:, 2].reciprocal()


def empty_results(scene: Scene, height: int, width: int) -> Three:
    """Image ``[V, 3, H, W]``, depth and opacity ``[V, H, W]`` that are still to be written."""
    views, alpha = len(scene.eye), scene.alpha
    image = alpha.new_empty(views, 3, height, width)
    return image, alpha.new_empty(views, height, width), alpha.new_empty(views, height, width)


def composite(scene: Scene, height: int, width: int, clamp_last: bool) -> Three:
    """Warp all planes into the views and lay them over each other; see :func:`lineament.ops.mpi_composite`.

    Args:
        scene: Planes and cameras.
        height: Rows of the image.
        width: Columns.
        clamp_last: Repeat the border of the last plane outside of it.

    Returns:
        Image ``[V, 3, H, W]``, depth and opacity ``[V, H, W]``.
    """
    alpha, colour, planes, eye, rays = scene
    images, count, texture_height, texture_width = alpha.shape
    views = len(eye)
    slopes, ahead = pixel_slopes(rays, height, width)
    image = alpha.new_zeros(views, 3, height, width)
    depth, opacity = (alpha.new_zeros(views, height, width) for _ in range(2))
    through = alpha.new_ones(views, height, width)
    for k in range(count):
        z, tall, wide = planes[k].unbind()
        distance = (z - eye[:, 2])[:, None, None]  # [V, 1, 1]
        # In double precision: a rounding of 1e-5 of a texel shows where neighbours differ.
        x = (eye[:, 0, None, None] + distance * slopes[:, 0]) / wide + 0.5
        y = (eye[:, 1, None, None] + distance * slopes[:, 1]) / tall + 0.5
        if clamp_last and k == count - 1:
            x, y = x.clamp(0, 1), y.clamp(0, 1)
        layer = colour[:, colour_layer(k, count, colour.shape[1])]
        texels = torch.cat([alpha[:, k, None], layer], dim=1)  # [M, 4, Ht, Wt]
        x, y = x * (texture_width - 1), y * (texture_height - 1)
        found = _sample(texels, x.reshape(images, -1), y.reshape(images, -1))
        a, c = found[:, 0].reshape_as(depth), found[:, 1:].unflatten(-1, (-1, height, width))
        c = c.movedim(2, 1).reshape_as(image)
        weight = through * a
        image = image + weight[:, None] * c
        depth = depth + weight * (distance * ahead).to(alpha.dtype)
        opacity = opacity + weight
        through = through * (1 - a + LEAK)
    return image, depth, opacity


def _sample(texels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear samples ``[M, C, N]`` of ``[M, C, H, W]`` at positions ``[M, N]`` in texels; zero outside."""
    height, width = texels.shape[2:]
    left, top = x.floor(), y.floor()
    across, down = (x - left).to(texels.dtype), (y - top).to(texels.dtype)
    flat, total = texels.flatten(2), texels.new_zeros(())
    for dy, wy in ((0, 1 - down), (1, down)):
        for dx, wx in ((0, 1 - across), (1, across)):
            column, row = left + dx, top + dy
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            tap = flat.gather(2, place[:, None].expand(-1, texels.shape[1], -1))
            total = total + tap * (wx * wy * inside)[:, None]
    return total

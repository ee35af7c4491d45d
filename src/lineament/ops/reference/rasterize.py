"""Rasterisation in plain torch: every triangle against every pixel of its bounding box."""

from __future__ import annotations

import torch
from torch import Tensor


def edge_functions(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Twice the signed areas between a point and the three edges.

    Args:
        corners: ``[..., 3, >= 2]`` corners of a triangle, pixels.
        x: ``[...]`` or broadcastable, the point's x.
        y: The point's y.

    Returns:
        ``[..., 3]``: entry ``i`` belongs to the edge opposite to corner ``i``; their sum is twice the triangle's area.
    """
    dx, dy = corners[..., 0] - x[..., None], corners[..., 1] - y[..., None]
    return dx.roll(-1, -1) * dy.roll(-2, -1) - dy.roll(-1, -1) * dx.roll(-2, -1)


def covered(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Whether triangles cover points by the top-left rule; see :func:`edge_functions` for the arguments."""
    edges = edge_functions(corners, x, y)
    along = corners[..., :2].roll(-2, -2) - corners[..., :2].roll(-1, -2)
    winding = (along[..., 0, 0] * along[..., 1, 1] - along[..., 0, 1] * along[..., 1, 0]).sign()[..., None]
    dx, dy = along[..., 0] * winding, along[..., 1] * winding
    owned = (dy < 0) | ((dy == 0) & (dx > 0))
    edges = edges * winding
    return ((edges > 0) | ((edges == 0) & owned)).all(-1) & (winding[..., 0] != 0)


def rasterize_reference(vertices: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Twin of the rasterize kernels: arguments and results as :func:`lineament.ops.rasterize_with_depth`."""
    views, nothing = vertices.shape[0], 2**63 - 1
    packed = torch.full((views, height * width), nothing, dtype=torch.int64, device=vertices.device)
    for view in range(views):
        corners = vertices[view].double()[faces[view % len(faces)].long()]  # [F, 3, 3]
        sides = corners[:, 1:, :2] - corners[:, :1, :2]
        area = sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]
        drawn = (corners[..., 2] > 1e-8).all(-1) & area.isfinite() & (area != 0)
        ids = drawn.nonzero()[:, 0]
        corners = corners[ids]
        limit = corners.new_tensor([width - 1, height - 1])
        first = torch.minimum(corners[..., :2].amin(1).clamp(min=0), limit + 1).ceil().long()  # [F, 2]
        last = torch.minimum(corners[..., :2].amax(1), limit).clamp(min=-1).floor().long()
        size = (last - first + 1).clamp(min=0)
        pixels = size[:, 0] * size[:, 1]
        pick = torch.arange(len(ids), device=ids.device).repeat_interleave(pixels)  # [P]
        step = torch.arange(len(pick), device=ids.device) - (pixels.cumsum(0) - pixels)[pick]
        x, y = first[pick, 0] + step % size[pick, 0], first[pick, 1] + step // size[pick, 0]
        inside = covered(corners[pick], x.double(), y.double())
        x, y, pick = x[inside], y[inside], pick[inside]
        edges = edge_functions(corners[pick], x.double(), y.double())
        depth = (edges.sum(-1) / (edges / corners[pick, :, 2]).sum(-1)).float()
        key = depth.view(torch.int32).long() << 32 | ids[pick]
        key = torch.where(depth.isfinite(), key, nothing)
        packed[view].scatter_reduce_(0, y * width + x, key, "amin")
    empty = packed == nothing
    index = torch.where(empty, -1, packed & 0xFFFFFFFF).int()
    depth = torch.where(empty, 0, packed >> 32).int().view(torch.float32)
    return index.view(views, height, width), depth.view(views, height, width)

"""Barycentric coordinates in plain torch, differentiable by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.ops.reference.rasterize import edge_functions


def gather_corners(values: Tensor, faces: Tensor, index: Tensor) -> Tensor:
    """Values at the three corners of the triangle seen at each pixel.

    Args:
        values: ``[N, V, C]``.
        faces: ``[1 or N, F, 3]``.
        index: ``[N, H, W]``, -1 empty (gives the corners of triangle 0).

    Returns:
        ``[N, H, W, 3, C]``.
    """
    n, h, w = index.shape
    if not faces.shape[1]:
        return (
            values.new_zeros(n, h, w, 3, values.shape[2]) + values[:, :0].sum()
        )  # keeps the graph for autograd
    view = torch.arange(n, device=index.device)[:, None, None]
    corner_ids = faces.expand(n, -1, -1)[view, index.clamp(min=0).long()]  # [N, H, W, 3]
    return values[view[..., None], corner_ids.long()]


def barycentrics_reference(vertices: Tensor, faces: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Twin of the barycentrics kernels: arguments and results as :func:`lineament.ops.barycentrics`."""
    corners = gather_corners(vertices, faces, index)  # [N, H, W, 3, 3]
    x = torch.arange(index.shape[2], device=index.device).to(vertices)
    y = torch.arange(index.shape[1], device=index.device).to(vertices)[:, None]
    valid = (index >= 0) & (corners[..., 2] > 1e-8).all(-1)
    edges = edge_functions(corners, x.expand(index.shape), y.expand(index.shape))
    scaled = edges / torch.where(valid[..., None], corners[..., 2], 1)
    total = scaled.sum(-1)
    valid = valid & (total != 0)
    # Both branches of a where are differentiated: the unused one must stay finite, too.
    total = torch.where(valid, total, 1)
    depth = torch.where(valid, edges.sum(-1) / total, 0)
    bary = torch.where(valid[..., None], scaled / total[..., None], 0)
    return depth, bary.permute(0, 3, 1, 2).contiguous()

"""Painting a triangle mesh in plain torch: triangle after triangle over the whole image."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.ops.reference.rasterize import covered, edge_functions


def mesh_warp_reference(
    image: Tensor, source: Tensor, target: Tensor, triangles: Tensor, height: int, width: int, repeat: bool
) -> tuple[Tensor, Tensor]:
    """Twin of the mesh warp kernels: arguments and results as :func:`lineament.ops.mesh_warp`, points in float64."""
    views, rows, columns = target.shape[0], image.shape[2], image.shape[3]
    y, x = torch.meshgrid(
        torch.arange(height, device=image.device).double(),
        torch.arange(width, device=image.device).double(),
        indexing="ij",
    )
    index = torch.full((views, height, width), -1, dtype=torch.int32, device=image.device)
    warped = image.new_zeros(views, image.shape[1], height, width)
    for view in range(views):
        for number, corner in enumerate(triangles.long()):
            points = target[view, corner]
            if bool(points.isfinite().all() and source[view, corner].isfinite().all()):
                index[view][covered(points.expand(height, width, 3, 2), x, y)] = number
        painted = index[view] >= 0
        corners = triangles.long()[index[view][painted].long()]  # [P, 3]
        share = edge_functions(target[view, corners], x[painted], y[painted])
        share = share / share.sum(-1, keepdim=True)
        place = (share[..., None] * source[view, corners]).sum(-2)  # [P, 2]
        first = place.floor()
        weight = (place - first).to(image.dtype)
        source_image = image[view % len(image)]
        colour = source_image.new_zeros(len(source_image), len(place))
        for right in (0, 1):
            for below in (0, 1):
                tx, ty = first[:, 0].long() + right, first[:, 1].long() + below
                tx = tx % columns if repeat else tx.clamp(0, columns - 1)
                ty = ty % rows if repeat else ty.clamp(0, rows - 1)
                wx = weight[:, 0] if right else 1 - weight[:, 0]
                wy = weight[:, 1] if below else 1 - weight[:, 1]
                colour += wx * wy * source_image[:, ty, tx]
        warped[view][:, painted] = colour
    return warped, index

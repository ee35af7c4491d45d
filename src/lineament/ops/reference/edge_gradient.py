"""Edge gradient in plain torch: all horizontal pairs of pixels at once, then all vertical ones."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.ops.reference.barycentrics import gather_corners
from lineament.ops.reference.rasterize import covered, edge_functions


def inverse_depth(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """1 / depth ``[P]`` of the planes of triangles ``[P, 3, 3]`` at points ``[P]``, inside or outside of them."""
    edges = edge_functions(corners, x, y)
    return (edges / corners[..., 2]).sum(-1) / edges.sum(-1)


def micro_edges(a: Tensor, b: Tensor, shared: Tensor, x: Tensor, y: Tensor, axis: int, flat: bool) -> Tensor:
    """Motion ``[4, P]`` of the edges per motion of A, of B along the axis, and per motion of A, of B in depth.

    Args:
        a: ``[P, 3, 3]`` triangles seen at the pixels ``(x, y)``.
        b: ``[P, 3, 3]`` triangles seen at their right (axis 0) or lower (axis 1) neighbours.
        shared: ``[P]`` whether the two have a vertex in common.
        x: ``[P]``.
        y: ``[P]``.
        axis: 0 or 1.
        flat: See :func:`lineament.ops.edge_gradient`.
    """
    xb, yb, xc, yc = x + 1 - axis, y + axis, x + axis, y + 1 - axis
    a_in_b, b_in_a = covered(b, x, y), covered(a, xb, yb)
    at_a, at_b = inverse_depth(a, x, y), inverse_depth(b, xb, yb)
    slope_a, slope_b = inverse_depth(a, xb, yb) - at_a, at_b - inverse_depth(b, x, y)
    gap_a, gap_b = at_a - inverse_depth(b, x, y), inverse_depth(a, xb, yb) - at_b
    gap, shallow = (gap_a + gap_b) / 2, torch.minimum(slope_a.abs(), slope_b.abs())
    surface = shared | (gap.abs() <= shallow + 0.5 * (slope_a - slope_b).abs())
    along = gap_b - gap_a
    across = inverse_depth(a, xc, yc) - inverse_depth(b, xc, yc) - gap_a
    w = at_a - slope_a * gap_a / along
    depth = w * w * along / (along**2 + across**2)
    none = torch.zeros_like(gap)
    a_front, half = (gap > 0).to(gap), torch.full_like(gap, 0.5 if flat else 0.0)
    intersect = torch.stack([slope_a / along, -slope_b / along, depth, -depth]).nan_to_num(0.0)
    neither = torch.where(
        surface, torch.stack([half, half, none, none]), torch.stack([a_front, 1 - a_front, none, none])
    )
    occlude = torch.stack([a_in_b.to(gap), b_in_a.to(gap), none, none])
    return torch.where(a_in_b != b_in_a, occlude, torch.where(a_in_b, intersect, neither))


def edge_gradient_reference(
    image_gradient: Tensor,
    vertices: Tensor,
    faces: Tensor,
    bary: Tensor,
    image: Tensor,
    index: Tensor,
    flat: bool,
    limit: float,
) -> Tensor:
    """Twin of the edge gradient kernels: the gradient ``[N, V, 3]`` of the loss with respect to the vertices."""
    motion = torch.zeros(
        *index.shape, 3, dtype=vertices.dtype, device=vertices.device
    )  # of the fragment at each pixel
    corners = gather_corners(vertices, faces, index).double()
    ids = faces.expand(len(index), -1, -1)
    for axis in range(2):
        dim, size = 2 - axis, index.shape[2 - axis]
        start, stop = (
            (lambda t, d=dim, s=size: t.narrow(d, 0, s - 1)),
            (lambda t, d=dim, s=size: t.narrow(d, 1, s - 1)),
        )
        if not size or not ids.shape[1]:
            continue
        view, row, column = (start(index) != stop(index)).nonzero().unbind(-1)
        first, second = (view, row, column), (view, row + axis, column + 1 - axis)
        colors, slopes = image.permute(0, 2, 3, 1), image_gradient.permute(0, 2, 3, 1)
        force = 0.5 * ((slopes[first] + slopes[second]) * (colors[first] - colors[second])).sum(-1)
        id_a, id_b = index[first].long(), index[second].long()
        known_a, known_b = ids[view, id_a.clamp(min=0).long()], ids[view, id_b.clamp(min=0).long()]
        shared = (known_a[:, :, None] == known_b[:, None, :]).flatten(1).any(1)
        share = micro_edges(
            corners[first], corners[second], shared, column.double(), row.double(), axis, flat
        )
        lone = torch.stack([id_a >= 0, id_b >= 0, id_a < -1, id_a < -1]).to(share)
        share = torch.where((id_a < 0) | (id_b < 0), lone, share).clamp(-limit, limit).to(
            vertices
        ) * force.to(vertices)
        for place, move, deepen in ((first, share[0], share[2]), (second, share[1], share[3])):
            motion[..., axis].index_put_(place, move, accumulate=True)
            motion[..., 2].index_put_(place, deepen, accumulate=True)
    # How a fragment follows its corners: in the image, where it is linear in them, and in depth.
    b, z = bary.permute(0, 2, 3, 1).to(vertices), corners[..., 2].to(vertices)  # [N, H, W, 3]
    depth = (b * z).sum(-1, keepdim=True)
    weight = torch.stack([b * z / depth, b * z / depth, b * depth / z], dim=-1)  # [N, H, W, corner, axis]
    spread = torch.where(index[..., None, None] >= 0, motion[..., None, :] * weight, 0)
    gradient = torch.zeros_like(vertices)
    view, row, column = (index >= 0).nonzero().unbind(-1)
    corner_ids = ids[view, index[view, row, column].long()].long()  # [P, 3]
    return gradient.index_put_((view[:, None], corner_ids), spread[view, row, column], accumulate=True)

"""Interpolation in plain torch, differentiable by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.ops.reference.barycentrics import gather_corners


def interpolate_reference(attributes: Tensor, faces: Tensor, index: Tensor, bary: Tensor) -> Tensor:
    """Twin of the interpolate kernels: arguments and results as :func:`lineament.ops.interpolate`."""
    corners = gather_corners(attributes, faces, index)  # [N, H, W, 3, C]
    image = (corners * bary.permute(0, 2, 3, 1)[..., None]).sum(-2)
    return torch.where(index[..., None] >= 0, image, 0).permute(0, 3, 1, 2).contiguous()

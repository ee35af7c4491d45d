"""Texture lookup in plain torch: torch's own bilinear sampling, level by level."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_texture_reference(
    packed: Tensor,
    uv: Tensor,
    level: Tensor | None,
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    border: bool,
) -> Tensor:
    """Twin of the texture kernels.

    Args:
        packed: ``[N, C, T]`` pyramid, level behind level, rows first.
        uv: ``[N, 2, H, W]`` in 0..1.
        level: ``[N, H, W]`` in 0 .. ``levels - 1``; None: level 0.
        height: Rows of level 0.
        width: Columns of level 0.
        levels: Number of levels in ``packed``.
        align_corners: Whether 0 and 1 are texel centres.
        border: Repeat the border texel outside; else zero.

    Returns:
        ``[N, C, H, W]``.
    """
    finite = torch.where(uv.isfinite() & (uv.abs() < 1e6), uv, 0)
    grid = 2 * finite.permute(0, 2, 3, 1) - 1
    image, offset = packed.new_zeros(uv.shape[0], packed.shape[1], *uv.shape[2:]), 0
    for number in range(levels):
        texture = packed[:, :, offset : offset + height * width].unflatten(2, (height, width))
        sample = F.grid_sample(texture, grid, "bilinear", "border" if border else "zeros", align_corners)
        weight = (1 - (level - number).abs()).clamp(min=0)[:, None] if level is not None else 1.0
        image = image + weight * sample
        offset, height, width = offset + height * width, max(1, height // 2), max(1, width // 2)
    return image

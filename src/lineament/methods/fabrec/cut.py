"""The published cut of a region, pixel for pixel: at whole pixels, to 8 bits, with a border around the photo.

The published code pads a photo on all sides by its own size, turns the padded image where faces are to be
upright, and cuts. Here the same pixels are computed for the region alone.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.eight_bit import quantised
from lineament.geometry.affine2d import Affine2D

# What lies around a photo: black, its edge repeated, or its mirror image, blurred by a box of a fifth of its
# height.
Border = Literal["black", "edge", "mirror"]
# Pixels on each side that a bicubic filter reads, and one more for the rounding of the region's corners.
_REACH = 3


def cut_region(
    image: Tensor, crop: Affine2D, side: int, border: Border = "black", turn: Affine2D | None = None
) -> Tensor:
    """Cut a region as published.

    Args:
        image: ``[3, H, W]`` in 0..1.
        crop: From the (turned) photo to the region, axis-aligned; the region's corners lie on whole pixels.
        side: Side of the region in pixels.
        border: What lies outside the photo. Beyond one photo's size on each side a turned image is black.
        turn: From the photo to the turned photo.

    Returns:
        ``[3, side, side]`` in 0..1, rounded to 8 bits.
    """
    edges = torch.tensor([-0.5, -0.5, side - 0.5, side - 0.5], dtype=torch.float64)
    left, top, right, bottom = (round(edge + 0.5) for edge in crop.inverse().apply_box(edges).tolist())
    rows, columns = torch.arange(top, bottom), torch.arange(left, right)
    source = (
        _bordered(image, rows, columns, border)
        if turn is None
        else _turned(image, rows, columns, border, turn)
    )
    resized = F.interpolate(source[None], (side, side), mode="bicubic", align_corners=False)[0]
    return quantised(resized)


def _turned(image: Tensor, rows: Tensor, columns: Tensor, border: Border, turn: Affine2D) -> Tensor:
    """Rows and columns of the turned image with its border, resampled bicubically to 8 bits."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(rows.double(), columns.double(), indexing="ij")
    source = turn.inverse().apply(torch.stack([x, y], -1))  # [rows, columns, 2]
    first = [
        max(-size, math.floor(float(axis.min())) - _REACH) for size, axis in _axes(width, height, source)
    ]
    last = [
        min(2 * size - 1, math.ceil(float(axis.max())) + _REACH)
        for size, axis in _axes(width, height, source)
    ]
    if first[0] > last[0] or first[1] > last[1]:
        return image.new_zeros(len(image), len(rows), len(columns))
    around = [torch.arange(low, high + 1) for low, high in zip(first, last, strict=True)]
    part = _bordered(image, around[1], around[0], border)
    extent = source.new_tensor([len(around[0]), len(around[1])])
    grid = (2 * (source - source.new_tensor(first)) + 1) / extent - 1
    turned = F.grid_sample(
        part[None], grid[None].to(part), mode="bicubic", padding_mode="zeros", align_corners=False
    )
    return quantised(turned[0])


def _axes(width: int, height: int, points: Tensor) -> tuple[tuple[int, Tensor], tuple[int, Tensor]]:
    return (width, points[..., 0]), (height, points[..., 1])


def _bordered(image: Tensor, rows: Tensor, columns: Tensor, border: Border) -> Tensor:
    """Rows and columns, each one after the other, of the image with its border."""
    height, width = image.shape[-2:]
    if border == "mirror":
        return _mirrored(image, rows, columns)
    source = image[:, rows.clamp(0, height - 1)][:, :, columns.clamp(0, width - 1)]
    if border == "edge":
        return source
    return source * (_within(rows, height)[:, None] & _within(columns, width)[None])


def _within(places: Tensor, length: int) -> Tensor:
    return (places >= 0) & (places < length)


def _mirrored(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The region with the blurred mirror image around the photo."""
    height, width = image.shape[-2:]
    blur = int(0.2 * height)
    # As wide as the blur reaches: an even box has one pixel more on the upper left.
    before, after = blur // 2, blur - 1 - blur // 2

    def reflected(places: Tensor, length: int) -> Tensor:
        reach = torch.arange(int(places[0]) - before, int(places[-1]) + after + 1)
        # The published image is padded by one copy on each side, whose end is reflected again by the blur.
        reach = torch.where(reach < -length, -2 * length - reach, reach)
        reach = torch.where(reach >= 2 * length, 2 * (2 * length - 1) - reach, reach)
        folded = reach % (2 * length)
        return torch.where(folded < length, folded, 2 * length - 1 - folded)

    around = image[:, reflected(rows, height)][:, :, reflected(columns, width)]
    blurred = quantised(F.avg_pool2d(around[None].double(), blur, stride=1)[0]).to(image.dtype)
    inside = _within(rows, height)[:, None] & _within(columns, width)[None]
    plain = image[:, rows.clamp(0, height - 1)][:, :, columns.clamp(0, width - 1)]
    return torch.where(inside, plain, blurred)

"""Cuts a crop out of an image, without aliasing where the image is shrunk."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.errors import DataError, UsageError
from lineament.geometry.affine2d import Affine2D


def crop_image(image: Tensor, crop: Affine2D, size: int | tuple[int, int], fill: float | str = 0.0) -> Tensor:
    """Resample ``image`` into the frame of ``crop``.

    Axis-aligned crops are resampled in one separable step with a triangle as wide as a crop pixel where the image
    shrinks and as a source pixel where it grows (the anti-aliased "bilinear" of image libraries). Rotated crops are
    shrunk in that way first and then read bilinearly.

    Args:
        image: ``[C, H, W]`` float, any range.
        crop: Source pixels to crop pixels.
        size: Side of the crop, or its height and width, in pixels.
        fill: Value outside the photo, or ``"edge"`` to repeat its border.

    Returns:
        ``[C, height, width]``, same dtype and device.

    Raises:
        DataError: If the image is not float ``[C, H, W]``.
        UsageError: On a fill that is neither a number nor ``"edge"``.
    """
    if image.ndim != 3 or not image.is_floating_point() or 0 in image.shape:
        raise DataError(
            f"an image to crop is float [C, H, W], not {image.dtype} of shape {tuple(image.shape)}."
        )
    if isinstance(fill, str) and fill != "edge":
        raise UsageError(f"fill is a number or 'edge', not {fill!r}.")
    height, width = (size, size) if isinstance(size, int) else size
    if crop.is_axis_aligned:
        return _separable(image, crop, height, width, fill)
    shrink = min(1.0, *crop.axis_scales)
    if shrink < 1.0:
        image, smaller = _shrunk_window(image, crop, height, width, shrink, fill)
        crop = smaller.inverse().then(crop)
    return _bilinear(image, crop, height, width, fill)


def _separable(image: Tensor, crop: Affine2D, height: int, width: int, fill: float | str) -> Tensor:
    """Resample with one weight matrix per axis."""
    (sx, _, tx), (_, sy, ty) = crop.matrix.tolist()
    rows, row_weights = _axis_weights(image.shape[1], sy, ty, height, fill == "edge")
    columns, column_weights = _axis_weights(image.shape[2], sx, tx, width, fill == "edge")
    across, down = column_weights.to(image), row_weights.to(image)
    # Columns first: most images are wider than high, and this reads memory along rows.
    result = down @ (image[:, rows, columns] @ across.T)  # [C, height, width]
    if isinstance(fill, str) or fill == 0.0:
        return result
    covered = row_weights.sum(1)[:, None] * column_weights.sum(1)[None]
    return result + float(fill) * (1.0 - covered).to(image)


def _axis_weights(source: int, scale: float, shift: float, target: int, edge: bool) -> tuple[slice, Tensor]:
    """Triangle filter of one axis: the source pixels that are touched and ``[target, touched]`` weights.

    Rows sum to the share of the crop pixel that lies inside the image (to one with ``edge``). A crop of the whole
    image therefore has no darkened border, as resizing has none.
    """
    centres = (
        torch.arange(target, dtype=torch.float64) - shift
    ) / scale  # source position of every crop pixel
    radius = max(1.0, 1.0 / scale)
    if edge:
        centres = centres.clamp(-radius, source - 1 + radius)
    first, last = math.floor(float(centres[0]) - radius), math.ceil(float(centres[-1]) + radius)
    if not edge:
        first, last = max(first, 0), min(last, source - 1)
        if first > last:
            return slice(0, 1), torch.zeros(target, 1, dtype=torch.float64)
    taps = torch.arange(first, last + 1, dtype=torch.float64)
    weights = (1.0 - (taps[None] - centres[:, None]).abs() / radius).clamp(min=0.0)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    if edge:
        low, high = min(max(first, 0), source - 1), max(min(last, source - 1), 0)
        gathered = torch.zeros(target, high - low + 1, dtype=torch.float64)
        gathered.index_add_(1, taps.clamp(low, high).long() - low, weights)
        return slice(low, high + 1), gathered
    half = 0.5 / scale
    inside = torch.minimum(centres + half, torch.tensor(source - 0.5)) - torch.maximum(
        centres - half, torch.tensor(-0.5)
    )
    return slice(first, last + 1), weights * (inside / (2.0 * half)).clamp(0.0, 1.0)[:, None]


def _shrunk_window(
    image: Tensor, crop: Affine2D, height: int, width: int, shrink: float, fill: float | str
) -> tuple[Tensor, Affine2D]:
    """Shrink the part of the image that a rotated crop sees, without rotating it yet."""
    corners = torch.tensor([-1.5, -1.5, width + 0.5, height + 0.5], dtype=torch.float64)
    x0, y0, x1, y1 = crop.inverse().apply_box(corners).tolist()
    columns, rows = math.ceil((x1 - x0) * shrink) + 2, math.ceil((y1 - y0) * shrink) + 2
    shift = (-x0 * shrink + 0.5, -y0 * shrink + 0.5)
    smaller = Affine2D.from_similarity(shrink, 0.0, shift)
    return _separable(image, smaller, rows, columns, fill), smaller


def _bilinear(image: Tensor, crop: Affine2D, height: int, width: int, fill: float | str) -> Tensor:
    """Read ``image`` bilinearly at the source position of every crop pixel."""
    inverse = crop.inverse().matrix
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    source = torch.stack([x, y], -1) @ inverse[:, :2].T + inverse[:, 2]  # [height, width, 2]
    extent = torch.tensor([image.shape[2], image.shape[1]], dtype=torch.float64)
    grid = ((2.0 * source + 1.0) / extent - 1.0)[None].to(image)
    padding = "border" if fill == "edge" else "zeros"
    offset = 0.0 if isinstance(fill, str) else float(fill)
    sampled = F.grid_sample(
        (image - offset)[None], grid, mode="bilinear", padding_mode=padding, align_corners=False
    )
    return sampled[0] + offset

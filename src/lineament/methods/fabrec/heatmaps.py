"""Landmarks as heatmaps and back: the published way and an exact one.

Published: windows of 5 sigma pixels are pasted at whole pixels, read back as the highest pixel of a box blur; the
answer is a whole heatmap pixel and coordinates are scaled without the half pixel. Exact: Gaussians are drawn at the
true place, read back below a pixel, and scaling moves edges onto edges.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lineament.ops.tails import NEGLIGIBLE, exp_without_tail, softmax_without_tail

SIGMA = 7.0
# Box blur of the published decoding.
BLUR = 9

Style = Literal["paper", "exact"]


def draw_heatmaps(
    points: Tensor, size: int, heatmap: int, sigma: float = SIGMA, style: Style = "exact"
) -> Tensor:
    """Target heatmaps.

    Args:
        points: ``[..., K, 2]`` xy in pixels of an image of side ``size``; a point with NaN gets an empty map.
        size: Side of the image.
        heatmap: Side of the heatmap.
        sigma: Standard deviation of the Gaussians in pixels of the heatmap.
        style: ``exact``, or ``published`` with its window that is cut off unevenly, its clamp of coordinates above the
            frame, and its shift by a pixel near the upper and left border.

    Returns:
        ``[..., K, heatmap, heatmap]``, 1 at the peak.
    """
    known = torch.isfinite(points).all(-1)
    points = torch.where(known[..., None], points, 0)
    profiles = (
        _pasted(points, size, heatmap, sigma) if style == "paper" else _true(points, size, heatmap, sigma)
    )
    profiles = profiles * known[..., None, None].to(profiles.dtype)
    across, down = profiles.unbind(-2)
    return down[..., :, None] * across[..., None, :]


def _true(points: Tensor, size: int, heatmap: int, sigma: float) -> Tensor:
    centres = (points + 0.5) * (heatmap / size) - 0.5
    places = torch.arange(heatmap, device=points.device, dtype=points.dtype)
    # Half the orders for each: the map is the product of its profiles.
    return exp_without_tail(
        -0.5 * ((places - centres[..., None]) / sigma) ** 2, NEGLIGIBLE / 2
    )  # [..., K, 2, h]


def _pasted(points: Tensor, size: int, heatmap: int, sigma: float) -> Tensor:
    window = int(5 * sigma)
    peak = math.ceil(window / 2)
    places = (points * (heatmap / size)).clamp(max=heatmap - 1)
    # Truncation toward zero: what lies left of or above the frame moves right or down by a pixel.
    corner = (places - window / 2).trunc()
    offsets = torch.arange(heatmap, device=points.device, dtype=points.dtype) - corner[..., None]
    profile = exp_without_tail(-0.5 * ((offsets - peak) / sigma) ** 2, NEGLIGIBLE / 2)
    return torch.where((offsets >= 0) & (offsets < window), profile, 0)  # [..., K, 2, h]


def smooth(heatmaps: Tensor) -> Tensor:
    """Box blur of the published decoding: mean of 9 x 9 pixels, zeros outside."""
    places = torch.arange(heatmaps.shape[-1], device=heatmaps.device)
    box = ((places[:, None] - places).abs() <= BLUR // 2).to(heatmaps.dtype) / BLUR
    # A product per axis is ten times faster on a CPU than pooling.
    return box @ (heatmaps @ box)


def read_heatmaps(heatmaps: Tensor, size: int, sigma: float = SIGMA, style: Style = "exact") -> Tensor:
    """Landmarks from heatmaps.

    Args:
        heatmaps: ``[B, K, h, h]`` raw predictions.
        size: Side of the image in pixels.
        sigma: Standard deviation the heatmaps were trained with.
        style: ``published``: the first highest pixel of the box blur, times ``size / h``. ``exact``: the maximum of the
            correlation with the target's own Gaussian, refined by a parabola through the logarithms of its neighbours.

    Returns:
        ``[B, K, 2]`` xy in pixels of the image.
    """
    side = heatmaps.shape[-1]
    if style == "paper":
        best = smooth(heatmaps).flatten(2).argmax(-1)
        return torch.stack([best % side, best // side], -1).to(heatmaps.dtype) * (size / side)
    scores = _matched(heatmaps, sigma)
    best = scores.flatten(2).argmax(-1)
    whole = torch.stack([best % side, best // side], -1)
    place = whole.to(heatmaps.dtype) + _refined(scores, whole)
    return (place + 0.5) * (size / side) - 0.5


def confidences(heatmaps: Tensor) -> Tensor:
    """Height of each heatmap's peak, in 0..1: ``[B, K, h, w]`` to ``[B, K]``."""
    return heatmaps.amax((-2, -1)).clamp(0, 1)


def as_peaks(scores: Tensor, sigma: float) -> Tensor:
    """Softmax over all pixels of raw scores ``[B, K, h, w]``, scaled to the height 1 where a map is sharp.

    The unit is the peak of a Gaussian distribution of standard deviation ``sigma`` pixels, that of the targets.
    """
    return softmax_without_tail(scores.flatten(2), -1).view_as(scores) * (2 * math.pi * sigma**2)


def _matched(heatmaps: Tensor, sigma: float) -> Tensor:
    """Correlation with the Gaussian around every pixel, divided by the length of what of it lies in the frame.

    By Cauchy and Schwarz the true place scores highest, at the border too. One matrix product per axis.
    """
    places = torch.arange(heatmaps.shape[-1], device=heatmaps.device, dtype=heatmaps.dtype)
    kernel = exp_without_tail(-0.5 * ((places[:, None] - places) / sigma) ** 2, NEGLIGIBLE / 2)
    kernel = kernel / kernel.norm(dim=1, keepdim=True)
    return kernel @ (heatmaps @ kernel.T)


def _refined(scores: Tensor, whole: Tensor) -> Tensor:
    """Offset ``[B, K, 2]`` of the maximum from its pixel: exact for a Gaussian, at most half a pixel."""
    side = scores.shape[-1]
    flat = scores.flatten(2)

    def at(shift: tuple[int, int]) -> Tensor:
        moved = (whole + whole.new_tensor(shift)).clamp(0, side - 1)
        value = flat.gather(-1, (moved[..., 1] * side + moved[..., 0])[..., None])[..., 0]
        return value.clamp(min=1e-12).log()

    middle = at((0, 0))
    offsets = []
    for axis in range(2):
        step = (1, 0) if axis == 0 else (0, 1)
        before, after = at((-step[0], -step[1])), at(step)
        bend = before - 2 * middle + after
        offset = 0.5 * (before - after) / torch.where(bend < -1e-9, bend, -torch.inf)
        inner = (whole[..., axis] > 0) & (whole[..., axis] < side - 1)
        offsets.append(torch.where(inner, offset, 0).clamp(-0.5, 0.5))
    return torch.stack(offsets, -1)

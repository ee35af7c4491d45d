"""Correspondence between two faces from dense features: nearest descriptors, pixel error, PCK, dense warps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Frame in which published matching errors are quoted, in pixels.
PUBLISHED_FRAME = 70


def match_points(source: Tensor, target: Tensor, points: Tensor, stride: float) -> Tensor:
    """Match points by the largest raw dot product (section 4.1 of the paper; its protocol never normalises).

    Args:
        source: ``[C, h, w]`` features of the image that holds the points.
        target: ``[C, h', w']`` features of the image to search.
        points: ``[K, 2]`` xy in pixels of the source image.
        stride: Pixels per grid step of both maps; image width / feature width.

    Returns:
        ``[K, 2]`` xy in pixels of the target image: grid index times stride, without sub-pixel refinement. The query
        is read at the nearest grid point (half to even, clamped); the first of equal scores wins.
    """
    channels, height, width = source.shape
    index = (points.double() / stride).round().long()
    columns, rows = index[:, 0].clamp(0, width - 1), index[:, 1].clamp(0, height - 1)
    queries = source[:, rows, columns]  # [C, K]
    best = (queries.t() @ target.reshape(channels, -1)).argmax(dim=1)
    across = target.shape[2]
    return torch.stack([best % across, best // across], dim=1).to(points.dtype) * stride


def match_points_softly(
    source: Tensor, target: Tensor, points: Tensor, stride: float, sharpness: float = 50.0
) -> tuple[Tensor, Tensor]:
    """Sub-pixel matches: the query is interpolated and the answer refined around the best grid point.

    Args:
        source: ``[C, h, w]``.
        target: ``[C, h', w']``.
        points: ``[K, 2]`` xy in pixels of the source image.
        stride: Pixels per grid step.
        sharpness: Factor on the cosine before the softmax over the 3x3 neighbourhood of the best point.

    Returns:
        ``[K, 2]`` xy in pixels of the target image and ``[K]`` the cosine of the best match.
    """
    channels, height, width = source.shape
    extent = points.new_tensor([width - 1, height - 1])
    grid = 2 * (points / stride) / extent - 1
    query = F.grid_sample(source[None], grid[None, None], align_corners=True, padding_mode="border")[0, :, 0]
    flat = F.normalize(target.reshape(channels, -1), dim=0)
    scores = F.normalize(query, dim=0).t() @ flat  # [K, N]
    best_score, best = scores.max(dim=1)
    tall, across = target.shape[1:]
    centre = torch.stack([best % across, best // across], dim=1)
    steps = torch.tensor([-1, 0, 1], device=points.device)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij")[::-1], -1).view(1, 9, 2)
    around = centre[:, None] + offsets  # [K, 9, 2]
    inside = (around >= 0).all(2) & (around[..., 0] < across) & (around[..., 1] < tall)
    index = around[..., 1].clamp(0, tall - 1) * across + around[..., 0].clamp(0, across - 1)
    weight = (sharpness * scores.gather(1, index)).masked_fill(~inside, -torch.inf).softmax(dim=1)
    place = (weight[..., None] * around.to(weight.dtype)).sum(1)
    return place * stride, best_score


def match_points_smoothly(
    source: Tensor, target: Tensor, points: Tensor, stride: float, steps: int = 6
) -> tuple[Tensor, Tensor]:
    """As :func:`match_points_softly` for descriptors that change smoothly over a face, such as places on its surface.

    Descriptors between the grid points are bilinear in both maps. The answer is the place, at most a step from the best
    grid point, whose descriptor differs least from that of the query (Gauss-Newton): an image matched with itself gives
    the points back.

    Args:
        source: ``[C, h, w]``.
        target: ``[C, h', w']``, both maps of two or more steps a side.
        points: ``[K, 2]`` xy in pixels of the source image.
        stride: Pixels per grid step.
        steps: Of Gauss-Newton.

    Returns:
        ``[K, 2]`` xy in pixels of the target image and ``[K]`` the cosine of the best grid point.
    """
    query, _, _ = _bilinear(source, _onto(source, points / stride))
    flat = F.normalize(target.flatten(1), dim=0)
    best_score, best = (F.normalize(query, dim=1) @ flat).max(dim=1)
    across = target.shape[2]
    centre = torch.stack([best % across, best // across], dim=1).to(points.dtype)
    place = found = centre
    least = torch.full_like(best_score, torch.inf)
    for _ in range(steps):
        value, along_x, along_y = _bilinear(target, place)
        off = value - query
        distance = off.square().sum(1)
        found = torch.where((distance < least)[:, None], place, found)
        least = torch.minimum(distance, least)
        # A little more than the squares keeps the step finite where nothing changes.
        xx, yy = (1.001 * each.square().sum(1) + 1e-9 for each in (along_x, along_y))
        xy, gx, gy = (along_x * along_y).sum(1), (along_x * off).sum(1), (along_y * off).sum(1)
        step = torch.stack([xy * gy - yy * gx, xy * gx - xx * gy], 1) / (xx * yy - xy.square())[:, None]
        place = _onto(target, centre + (place + step - centre).clamp(-1.0, 1.0))
    return found * stride, best_score


def _onto(features: Tensor, places: Tensor) -> Tensor:
    """Places ``[K, 2]`` in steps, those beside a map ``[C, h, w]`` moved to its border."""
    tall, across = features.shape[1:]
    return torch.minimum(places.clamp(min=0.0), places.new_tensor([across - 1, tall - 1]))


def _bilinear(features: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values ``[K, C]`` of a map at places on it, and how they change along x and y."""
    channels, tall, across = features.shape
    left = places[:, 0].floor().clamp(0, across - 2).long()
    top = places[:, 1].floor().clamp(0, tall - 2).long()
    u, v = (places[:, 0] - left)[:, None], (places[:, 1] - top)[:, None]
    flat = features.reshape(channels, -1).t()
    a, b, c, d = (flat[(top + down) * across + left + right] for down in (0, 1) for right in (0, 1))
    value = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
    return value, (1 - v) * (b - a) + v * (d - c), (1 - u) * (c - a) + u * (d - b)


def pixel_errors(predicted: Tensor, truth: Tensor, width: int, frame: float = PUBLISHED_FRAME) -> Tensor:
    """Distances ``[...]`` of points ``[..., 2]`` in pixels, rescaled to a frame of the given width.

    Args:
        predicted: ``[..., 2]`` pixels of an image of ``width`` pixels.
        truth: ``[..., 2]``.
        width: Width of the (cropped) image.
        frame: Width the error is quoted for; 70 in the published tables.
    """
    return (predicted - truth).norm(dim=-1) * (frame / width)


def correct_share(distances: Tensor, normaliser: Tensor | float, alpha: float) -> float:
    """Percentage of correct keypoints: the share of distances at or below ``alpha`` times the normaliser, in %."""
    return float(100 * (distances <= alpha * normaliser).double().mean())


def dense_match_grid(source: Tensor, target: Tensor, upscale: int = 2, rows_at_once: int = 1024) -> Tensor:
    """For each target pixel, where in the source its best match lies.

    Args:
        source: ``[C, h, w]`` features.
        target: ``[C, h', w']`` features.
        upscale: Both maps are enlarged this many times first (bilinear, ``align_corners=True``).
        rows_at_once: Target points whose scores are kept in memory together.

    Returns:
        ``[1, upscale h', upscale w', 2]`` grid in -1..1, corner-aligned, to sample the source image with: the source
        face in the geometry of the target.
    """
    large_source = enlarge(source, upscale)
    large_target = enlarge(target, upscale)
    keys = large_source.flatten(1)
    queries = large_target.flatten(1).t()
    best = torch.cat([(part @ keys).argmax(dim=1) for part in queries.split(rows_at_once)])
    height, width = large_source.shape[1:]
    columns, rows = best % width, best // width
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=1)
    return grid.view(1, *large_target.shape[1:], 2)


def enlarge(features: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement of ``[C, h, w]`` with ``align_corners=True``."""
    if factor == 1:
        return features
    return F.interpolate(features[None], scale_factor=factor, mode="bilinear", align_corners=True)[0]

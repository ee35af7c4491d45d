"""What hides parts of a face in training images: glasses, patches, a cover of the forehead; drawn in the plane.

All functions change an image ``[3, S, S]`` in place.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from lineament.methods.landmarks.draws import Draws

GLASSES, PATCHES, COVER = 0.3, 0.35, 0.12


@functools.cache
def _grid(size: int) -> tuple[Tensor, Tensor]:
    """Coordinates x and y ``[size, size]`` of the pixels."""
    row = torch.arange(size, dtype=torch.float32)
    y, x = torch.meshgrid(row, row, indexing="ij")
    return x.contiguous(), y.contiguous()


def occlude(image: Tensor, eyes: Tensor | None, textures: Tensor, draws: Draws) -> None:
    """Hide parts of a face at random.

    Args:
        image: ``[3, S, S]``.
        eyes: ``[2, 2]`` centres of the left and the right eye in pixels, where they are known: without them, or with
            NaN in them, there are no glasses.
        textures: ``[N, 3, S, S]`` uint8 images that patches are cut from.
        draws: Random numbers.
    """
    if eyes is not None and draws.chance(GLASSES):
        (x0, y0), (x1, y1) = eyes.tolist()
        distance = math.hypot(x1 - x0, y1 - y0)
        if math.isfinite(distance) and distance > 0.05 * image.shape[-1]:
            _glasses(image, (x0, y0), (x1, y1), draws)
    if draws.chance(COVER):
        _cover(image, textures, draws)
    if draws.chance(PATCHES):
        for _ in range(1 + draws.below(2)):
            _patch(image, textures, draws)


def _colour(draws: Draws, low: float = 0.0, high: float = 1.0) -> Tensor:
    grey, tint = draws.uniform(low, high), 0.15
    values = [min(1.0, max(0.0, grey + tint * draws.normal())) for _ in range(3)]
    return torch.tensor(values).view(3, 1, 1)


def _blend(image: Tensor, alpha: Tensor, content: Tensor) -> None:
    """Move the image towards ``content`` by the share ``alpha`` ``[S, S]``."""
    image.add_(alpha * (content - image))


def _glasses(image: Tensor, left: tuple[float, float], right: tuple[float, float], draws: Draws) -> None:
    """Two lenses with rims, a bridge and temples, along the line of the eyes."""
    x, y = _grid(image.shape[-1])
    dx, dy = right[0] - left[0], right[1] - left[1]
    distance = math.hypot(dx, dy)
    # The line of the eyes as an axis, in eye distances, from the middle between them.
    c, s = dx / distance**2, dy / distance**2
    mx, my = 0.5 * (left[0] + right[0]), 0.5 * (left[1] + right[1]) + 0.05 * distance * draws.normal()
    u = (x - mx) * c + (y - my) * s
    v = (y - my) * c - (x - mx) * s - draws.uniform(-0.05, 0.1)
    across, down = draws.uniform(0.32, 0.46), draws.uniform(0.24, 0.42)
    apart = 0.5 + draws.uniform(-0.02, 0.06)
    a, b = ((u.abs() - apart) / across).square(), (v / down).square()
    lens = (a.square() + b.square()).sqrt() if draws.chance(0.5) else a + b
    # The distance from the lens's edge, about, in pixels.
    edge = (lens.sqrt() - 1.0) * (0.5 * (across + down) * distance)
    inside = (0.5 - edge).clamp(0.0, 1.0)
    dark = draws.chance(0.25)
    _blend(
        image,
        draws.uniform(0.6, 1.0) * inside if dark else draws.uniform(0.0, 0.2) * inside,
        _colour(draws, 0.0, 0.3 if dark else 0.8),
    )
    if draws.chance(0.3):
        stripe = (
            1.0
            - (u + draws.uniform(-0.8, 0.8) + draws.uniform(-1.0, 1.0) * v).abs() / draws.uniform(0.05, 0.3)
        ).clamp(0.0, 1.0)
        _blend(image, draws.uniform(0.2, 0.8) * inside * stripe, torch.ones(()))
    half = 0.5 * distance * draws.uniform(0.015, 0.09)
    rim = (half + 0.5 - edge.abs()).clamp(0.0, 1.0)
    beyond = u.abs()
    bar = (half + 0.5 - (v + draws.uniform(0.02, 0.15)).abs() * distance).clamp(0.0, 1.0)
    bar = bar * (
        (beyond < apart - 0.9 * across)
        | ((beyond > apart + 0.95 * across) & (beyond < apart + across + draws.uniform(0.1, 0.5)))
    )
    _blend(image, torch.maximum(rim, bar) * draws.uniform(0.5, 1.0), _colour(draws, 0.0, 0.6))


def _content(textures: Tensor, size: int, draws: Draws) -> Tensor:
    """A piece of an image, or a colour."""
    if not len(textures) or draws.chance(0.35):
        return _colour(draws)
    texture = textures[draws.below(len(textures))]
    moved = texture.roll((draws.below(size), draws.below(size)), (1, 2))
    return moved.float().mul_(1 / 255)


def _cover(image: Tensor, textures: Tensor, draws: Draws) -> None:
    """Everything above a line across the forehead: hair, a cap, a scarf."""
    size = image.shape[-1]
    x, y = _grid(size)
    line = size * draws.uniform(0.1, 0.34) + (x - 0.5 * size) * (0.15 * draws.normal())
    _blend(image, (line - y + 0.5).clamp(0.0, 1.0), _content(textures, size, draws))


def _patch(image: Tensor, textures: Tensor, draws: Draws) -> None:
    """An ellipse or rectangle in front of the face."""
    size = image.shape[-1]
    x, y = _grid(size)
    mx, my = size * draws.uniform(0.05, 0.95), size * draws.uniform(0.1, 1.05)
    a, b = size * draws.uniform(0.05, 0.24), size * draws.uniform(0.05, 0.24)
    angle = draws.uniform(0.0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    u, v = ((x - mx) * c + (y - my) * s) / a, ((y - my) * c - (x - mx) * s) / b
    ratio = torch.maximum(u.abs(), v.abs()) if draws.chance(0.5) else (u.square() + v.square()).sqrt()
    alpha = ((1.0 - ratio) * min(a, b) + 0.5).clamp(0.0, 1.0)
    _blend(image, alpha, _content(textures, size, draws))

"""Mean and variance of the distribution that a softmax makes of a heatmap (integral regression: Sun et al., ECCV 2018).

Coordinates are the caller's choice: :func:`corner_aligned` and :func:`edge_aligned` give the two in use.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lineament.ops.tails import softmax_without_tail

Coordinates = Callable[[int, Tensor], Tensor]


def corner_aligned(count: int, like: Tensor) -> Tensor:
    """Coordinates ``[count]`` of cells: -1 and 1 are the centres of the outermost (``align_corners=True``)."""
    return torch.linspace(-1, 1, count, dtype=like.dtype, device=like.device)


def edge_aligned(count: int, like: Tensor) -> Tensor:
    """Coordinates ``[count]`` of cells: 0 and 1 are the outer edges of the outermost, centres lie at (i + 0.5) / n."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def soft_argmax(scores: Tensor, coordinates: Coordinates = corner_aligned) -> Tensor:
    """Expected position under a softmax over the map.

    Args:
        scores: ``[B, K, H, W]`` raw scores, sharpness included.
        coordinates: What the positions are counted in.

    Returns:
        ``[B, K, 2]`` xy.
    """
    across, down = _profiles(scores)
    return torch.stack(
        [across @ coordinates(scores.shape[-1], across), down @ coordinates(scores.shape[-2], down)], -1
    )


def soft_moments(scores: Tensor, coordinates: Coordinates = corner_aligned) -> tuple[Tensor, Tensor]:
    """Expected position and its variance under a softmax over the map.

    Args:
        scores: ``[B, K, H, W]`` raw scores, sharpness included.
        coordinates: What the positions are counted in.

    Returns:
        Means ``[B, K, 2]`` xy and variances ``[B, K]``, of x and y together, 0 or more.
    """
    means, variances = [], []
    for profile in _profiles(scores):
        places = coordinates(profile.shape[-1], profile)
        mean = profile @ places
        means.append(mean)
        variances.append(profile @ places.square() - mean.square())
    return torch.stack(means, -1), (variances[0] + variances[1]).clamp(min=0)


def _profiles(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of the columns ``[B, K, W]`` and of the rows ``[B, K, H]``."""
    mass = softmax_without_tail(scores.flatten(-2), -1).view_as(scores)
    return mass.sum(-2), mass.sum(-1)

"""What the network learns: places with a scale of their error, and what its moving average says of unlabelled faces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.methods.landmarks.crop import moved

# Scale of a teacher's error, as a share of the image's side, at which its answer counts half.
DOUBTFUL = 0.02
# Standard deviation of the bell that a map is compared with, in its cells.
BELL = 1.0


def placement_loss(
    points: Tensor, scale: Tensor, targets: Tensor, weights: Tensor, doubt: Tensor | None = None
) -> Tensor:
    """Mean of ``|e| / s + log s`` over the points that count (Kendall and Gal, 2017, Laplace-like).

    Args:
        points: ``[B, K, 2]`` predictions.
        scale: ``[B, K]`` predicted scales s of their errors, larger than 0, in the same unit.
        targets: ``[B, K, 2]``; where the weight is 0 anything, NaN too.
        weights: ``[B, K]``, 0 or more.
        doubt: ``[B, K]`` scales of the targets' own errors, which add to the error: ``|e|`` becomes
            ``sqrt(|e|^2 + doubt^2)``, so that no point is believed more than its target. None takes them as exact.

    Returns:
        Scalar; 0 without any weight.
    """
    counted = weights > 0
    error = torch.where(counted[..., None], points - targets, 0.0)
    square = error.square().sum(-1) + 1e-10
    if doubt is not None:
        square = square + torch.where(counted, doubt, 0.0).square()
    each = square.sqrt() / scale + scale.log()
    return (each * weights).sum() / weights.sum().clamp(min=1.0)


def map_loss(maps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy of the maps against a bell around each target: it shows a map where to look.

    Args:
        maps: ``[B, K, h, w]`` logarithms of softmaxes.
        targets: ``[B, K, 2]`` in shares of the image's side; where the weight is 0 anything, NaN too.
        weights: ``[B, K]``, 0 or more.

    Returns:
        Scalar; 0 without any weight.
    """
    targets = targets.masked_fill((weights <= 0)[..., None], 0.5)
    across, down = (_bell(maps.shape[-1 - axis], targets[..., axis]) for axis in (0, 1))
    each = -((maps @ across[..., None])[..., 0] * down).sum(-1)
    return (each * weights).sum() / weights.sum().clamp(min=1.0)


def _bell(count: int, centre: Tensor) -> Tensor:
    """Weights ``[..., count]`` of cells that sum to 1 around places ``[...]`` in 0..1."""
    cells = torch.arange(count, device=centre.device, dtype=centre.dtype) + 0.5
    return (-0.5 * ((cells - count * centre[..., None]) / BELL).square()).softmax(-1)


def visibility_loss(logits: Tensor, seen: Tensor) -> Tensor:
    """Mean cross-entropy over the points of which a label says whether they are seen.

    Args:
        logits: ``[B, K]``.
        seen: ``[B, K]`` 0 or 1; NaN where nobody says.
    """
    known = torch.isfinite(seen)
    each = F.binary_cross_entropy_with_logits(logits, seen.nan_to_num(0.0), reduction="none")
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


def carried_targets(
    points: Tensor, scale: Tensor, plain_to_moved: Tensor, mirrored: Tensor, mirror: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """What the answers for plain images say of the moved copies (mean teacher: Tarvainen and Valpola, NeurIPS 2017).

    Args:
        points: ``[B, K, 2]`` in shares of the plain images' side.
        scale: ``[B, K]`` predicted scales of their errors.
        plain_to_moved: ``[B, 2, 3]``, in shares of the sides of both.
        mirrored: ``[B]`` bool, whether left and right change places.
        mirror: Which point takes the place of each in a mirrored image.

    Returns:
        Targets ``[B, K, 2]``, their scales ``[B, K]``, and weights ``[B, K]`` in 0..1: how sure the teacher is, and 0
        outside the moved image.
    """
    carried = moved(points, plain_to_moved)
    grown = plain_to_moved[:, :, :2].det().abs().sqrt()[:, None] * scale
    order = list(mirror)
    carried = torch.where(mirrored[:, None, None], carried[:, order], carried)
    grown = torch.where(mirrored[:, None], grown[:, order], grown)
    inside = ((carried > 0.0) & (carried < 1.0)).all(-1)
    return carried, grown, inside * DOUBTFUL**2 / (DOUBTFUL**2 + grown.square())

"""Landmark errors: normalised mean error, failure rate, cumulative error curve."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lineament.errors import unknown_name

# Thresholds at which the published rule reads the cumulative curve.
PUBLISHED_THRESHOLDS = 50

# How the area under the cumulative curve is taken.
AreaRule = Literal["exact", "paper"]


def point_distances(predicted: Tensor, truth: Tensor) -> Tensor:
    """Euclidean distance of each predicted point from the true one.

    Args:
        predicted: ``[..., K, 2]``.
        truth: ``[..., K, 2]`` in the same frame.

    Returns:
        ``[..., K]`` in the unit of the coordinates.

    Raises:
        ValueError: If the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and true {tuple(truth.shape)} points differ in shape"
        )
    return (predicted - truth).norm(dim=-1)


def inter_ocular(truth: Tensor, eyes: tuple[int, int]) -> Tensor:
    """Distance between two landmarks of ``[..., K, 2]``: ``[...]``."""
    return (truth[..., eyes[0], :] - truth[..., eyes[1], :]).norm(dim=-1)


def normalised_errors(
    predicted: Tensor, truth: Tensor, normaliser: Tensor, visible: Tensor | None = None
) -> Tensor:
    """Mean point distance of each face divided by its normaliser.

    Args:
        predicted: ``[N, K, 2]``.
        truth: ``[N, K, 2]``.
        normaliser: ``[N]`` length per face, same unit as the points.
        visible: ``[N, K]`` bool; points that are False are left out. All count when None.

    Returns:
        ``[N]``; multiply by 100 for %. NaN for a face without any counted point.
    """
    errors = point_distances(predicted, truth) / normaliser[:, None]
    if visible is None:
        return errors.mean(dim=1)
    kept = visible.to(errors.dtype)
    # A missing point may hold NaN coordinates, which a product with zero would not remove.
    return torch.where(visible, errors, 0).sum(1) / kept.sum(1)


def failure_rate(errors: Tensor, threshold: float = 0.1) -> float:
    """Share of faces whose normalised error ``[N]`` is above the threshold (or is NaN)."""
    return float((~(errors <= threshold)).double().mean())


def cumulative_curve(errors: Tensor, limit: float = 0.1, steps: int = 101) -> tuple[Tensor, Tensor]:
    """Cumulative error distribution.

    Args:
        errors: ``[N]`` normalised errors.
        limit: Largest threshold.
        steps: Number of thresholds.

    Returns:
        Thresholds ``[steps]`` and the share of faces at or below each, ``[steps]``.
    """
    thresholds = torch.linspace(0, limit, steps, dtype=torch.float64)
    # Compared in the precision of the errors: 0.1 in float32 is not the 0.1 of float64.
    share = (errors[None] <= thresholds[:, None].to(errors.dtype)).double().mean(dim=1)
    return thresholds, share


def area_under_curve(errors: Tensor, limit: float = 0.1, rule: AreaRule = "exact") -> float:
    """Area under the cumulative error distribution up to ``limit``, divided by ``limit``: 1 is perfect.

    Args:
        errors: ``[N]`` normalised errors; NaN counts as a failure.
        limit: Largest error that counts.
        rule: ``exact``: the distribution is a step function, so each face adds max(0, limit - error) / limit.
            ``paper``: the mean of the curve at 50 thresholds from 0 to ``limit``, as 3FabRec takes it. The first of
            them is zero, so that landmarks that are not exactly right get at most 0.98.

    Raises:
        UsageError: On another rule.
    """
    if rule not in get_args(AreaRule):
        raise unknown_name("rule of the area", rule, get_args(AreaRule))
    if rule == "paper":
        return float(cumulative_curve(errors.double(), limit, PUBLISHED_THRESHOLDS)[1].mean())
    inside = (limit - errors.double()).clamp(min=0) / limit
    return float(torch.nan_to_num(inside, nan=0.0).mean())

"""Losses of 3FabRec (section 3 of the paper): pixels, structure, the two discriminators, heatmaps."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.errors import UsageError

# Keeps logarithms of scores finite.
EPSILON = 1e-8
# Published window of the structural term: side in pixels and deviation. A side of 11 holds all but 2e-4 of the
# weight and judges ten pixels more at each border, which matters where the picture is small.
WINDOW, WINDOW_SIGMA = 31, 1.5
# Stabiliser of the structural term: (0.03 times the range of the values) squared.
CONTRAST_CONSTANT = 0.03
PIXEL_WEIGHT, STRUCTURE_WEIGHT = 1.0, 60.0
HEATMAP_WEIGHT = 300.0

# Range of the values in the structural term: "unit" takes 1; "published" takes 2 for a target that holds a value below
# -0.5 (a nearly black pixel in its red channel) and 255 more than that for one above 128, as the published code does.
Range = Literal["unit", "published"]


def pixel_loss(target: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference of pictures ``[B, 3, H, W]`` in steps of 8-bit pictures: 255 mean |X - X'|."""
    return 255.0 * (target - image).abs().mean()


@lru_cache(maxsize=8)
def _window_matrix(length: int, window: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Matrix ``[length, length - window + 1]``, a Gaussian of sum 1 in each column."""
    offsets = torch.arange(window, dtype=torch.float64) - window // 2
    weights = torch.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    kept = length - window + 1
    matrix = torch.zeros(length, kept, dtype=torch.float64)
    for column in range(kept):
        matrix[column : column + window, column] = weights / weights.sum()
    return matrix.to(device, dtype)


def window_means(values: Tensor, window: int = WINDOW) -> Tensor:
    """Gaussian-weighted mean around every pixel that is at least ``window // 2`` from the border.

    The window is separable, so each axis is one matrix product, for all pictures and channels at once.

    Args:
        values: ``[..., H, W]``.
        window: Side of the window, odd.

    Returns:
        ``[..., H - window + 1, W - window + 1]``.

    Raises:
        UsageError: If the picture is smaller than the window, or the window is even.
    """
    height, width = values.shape[-2:]
    if window % 2 == 0 or window < 3 or min(height, width) < window:
        raise UsageError(
            f"the structural term needs an odd window of 3 px and more and pictures no smaller, not {window} px and "
            f"{height} x {width}."
        )
    down = _window_matrix(height, window, values.device, values.dtype)
    across = _window_matrix(width, window, values.device, values.dtype)
    return down.T @ (values @ across)


def value_ranges(targets: Tensor) -> Tensor:
    """Range of the values of each target ``[B, 3, H, W]`` as the published code guesses it: ``[B, 1, 1, 1]``."""
    highest, lowest = targets.amax((1, 2, 3), keepdim=True), targets.amin((1, 2, 3), keepdim=True)
    upper = torch.where(highest > 128, 255.0, 1.0)
    lower = torch.where(lowest < -0.5, -1.0, 0.0)
    return (upper - lower).to(targets.dtype)


def contrast_structure(
    targets: Tensor, images: Tensor, value_range: Range = "unit", window: int = WINDOW
) -> Tensor:
    """Contrast and structure of SSIM (Wang et al. 2004) without its luminance term.

    ``(2 cov + c) / (var_x + var_y + c)`` with ``c = (0.03 L)^2``.

    Args:
        targets: ``[B, 3, H, W]``.
        images: ``[B, 3, H, W]``; gradients flow into these only.
        value_range: What L is, see :data:`Range`.
        window: Side of the window in pixels, odd.

    Returns:
        ``[B, 3, H - window + 1, W - window + 1]``, 1 where both agree.
    """
    with torch.no_grad():
        mean_x, square_x = window_means(torch.stack([targets, targets * targets]), window)
        variance_x = square_x - mean_x * mean_x
        extent = value_ranges(targets) if value_range == "published" else targets.new_ones(())
        constant = (CONTRAST_CONSTANT * extent) ** 2
    mean_y, square_y, product = window_means(torch.stack([images, images * images, targets * images]), window)
    covariance = product - mean_x * mean_y
    variance_y = square_y - mean_y * mean_y
    return (2 * covariance + constant) / (variance_x + variance_y + constant)


def structural_loss(
    targets: Tensor, images: Tensor, value_range: Range = "unit", window: int = WINDOW, scales: int = 1
) -> Tensor:
    """One minus the mean of :func:`contrast_structure`, in float32 whatever the networks compute in.

    Args:
        targets: ``[B, 3, H, W]``.
        images: ``[B, 3, H, W]``.
        value_range: See :data:`Range`.
        window: Side of the window in pixels, odd.
        scales: Ours: average over pictures of full, half, quarter ... size, the window two pixels smaller at each.
            Edges that are off by more than the window's width pull only where the picture is small.
    """
    with torch.autocast(images.device.type, enabled=False):
        targets, images = targets.float(), images.float()
        total = 1.0 - contrast_structure(targets, images, value_range, window).mean()
        for scale in range(1, scales):
            targets, images = F.avg_pool2d(targets, 2), F.avg_pool2d(images, 2)
            side = max(3, window - 2 * scale)
            total = total + 1.0 - contrast_structure(targets, images, value_range, side).mean()
    return total / scales


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a discriminator from its scores in 0..1: -mean [log(real) + log(1 - fake)]."""
    return -(torch.log(real + EPSILON) + torch.log(1 - fake + EPSILON)).mean()


def deception_loss(fake: Tensor) -> Tensor:
    """Loss of what a discriminator judges, from the scores in 0..1 it got: -mean log(fake)."""
    return -torch.log(fake + EPSILON).mean()


def reconstruction_loss(pixels: Tensor, structure: Tensor | None) -> Tensor:
    """Pixel loss alone, or its half and half of the weighted structural loss."""
    if structure is None:
        return PIXEL_WEIGHT * pixels
    return 0.5 * PIXEL_WEIGHT * pixels + 0.5 * STRUCTURE_WEIGHT * structure


def heatmap_loss(heatmaps: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """300 times the mean squared difference of heatmaps ``[B, K, h, w]``.

    Args:
        heatmaps: Raw predictions.
        targets: The same shape.
        known: ``[B, K]`` bool: landmarks that are False are left out; all count when None.
    """
    if known is None:
        return HEATMAP_WEIGHT * F.mse_loss(heatmaps, targets)
    each = (heatmaps - targets).square().mean((2, 3))
    kept = known.to(each.dtype)
    return HEATMAP_WEIGHT * torch.where(known, each, 0).sum() / kept.sum().clamp(min=1)


def place_loss(scores: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Cross-entropy between places: each heatmap's softmax over all pixels against the target as a distribution.

    Ours, for few steps: squared differences of maps that are nearly zero everywhere begin by learning zero.

    Args:
        scores: ``[B, K, h, w]`` raw.
        targets: The same shape, not negative.
        known: ``[B, K]`` bool: landmarks that are False are left out; so are those whose target lies outside the map.
    """
    each, inside = _place_entropies(scores, targets)
    kept = inside if known is None else inside & known
    return torch.where(kept, each, 0).sum() / kept.sum().clamp(min=1)


def consistency_loss(scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean over all landmarks of :func:`place_loss`, each times its weight: doubtful ones count less, not others more.

    Args:
        scores: ``[B, K, h, w]`` raw.
        targets: The same shape, not negative.
        weights: ``[B, K]`` in 0..1.
    """
    each, inside = _place_entropies(scores, targets)
    return (each * weights * inside).sum() / max(1, weights.numel())


def _place_entropies(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each landmark ``[B, K]``, and whether its target lies on the map."""
    mass = targets.flatten(2).sum(-1)
    share = targets.flatten(2) / mass.clamp(min=0.5)[..., None]
    return -(share * scores.flatten(2).log_softmax(-1)).sum(-1), mass > 0.5

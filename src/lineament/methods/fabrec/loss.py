"""Losses of 3FabRec (section 3 of the paper): pixels, structure, the two discriminators, heatmaps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lineament.errors import UsageError

# Keeps logarithms of scores finite.
EPSILON = 1e-8
# Published window of the structural term: side in pixels and standard deviation. A side of 11 holds all but 2e-4 of the
# weight and judges ten pixels more at each border, which matters where the image is small.
WINDOW, WINDOW_SIGMA = 31, 1.5
# Columns of the window's matrix that a CPU multiplies at once: fewer skip more zeros, but run less efficiently.
BLOCK = 24
# Stabiliser of the structural term: (0.03 times the range of the values) squared.
CONTRAST_CONSTANT = 0.03
PIXEL_WEIGHT, STRUCTURE_WEIGHT = 1.0, 60.0
HEATMAP_WEIGHT = 300.0

# Range of the values in the structural term: "unit" takes 1; "paper" takes 2 for a target that holds a value below
# -0.5 (a nearly black pixel in its red channel) and 255 more than that for one above 128, as the published code does.
Range = Literal["unit", "paper"]


def pixel_loss(target: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference of images ``[B, 3, H, W]`` in steps of 8-bit images: 255 mean |X - X'|."""
    return 255.0 * (target - image).abs().mean()


class _Block(NamedTuple):
    """Columns ``first:last`` of a window matrix, and the only rows ``begin:end`` that are not zero there."""

    begin: int
    end: int
    first: int
    last: int
    weights: Tensor


@lru_cache(maxsize=16)
def _window_blocks(
    length: int, window: int, transposed: bool, device: torch.device, dtype: torch.dtype
) -> tuple[_Block, ...]:
    """The matrix ``[length, length - window + 1]`` with a Gaussian of sum 1 in each column, or its transpose."""
    offsets = torch.arange(window, dtype=torch.float64) - window // 2
    weights = torch.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    weights = weights / weights.sum()
    # The outer weights of the published window (1e-22) are lost in rounding; without them most of the matrix is zero.
    weights[weights < torch.finfo(dtype).eps / 64] = 0.0
    kept = length - window + 1
    matrix = torch.zeros(length, kept, dtype=torch.float64)
    for column in range(kept):
        matrix[column : column + window, column] = weights
    matrix = matrix.T if transposed else matrix
    blocks = []
    # A GPU is rather kept busy than spared a few products.
    step = BLOCK if device.type == "cpu" else matrix.shape[1]
    for first in range(0, matrix.shape[1], step):
        part = matrix[:, first : first + step]
        rows = part.any(1).nonzero()
        begin, end = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)
        part = part[begin:end].to(device, dtype).contiguous()
        blocks.append(_Block(begin, end, first, first + part.shape[1], part))
    return tuple(blocks)


def _filter(values: Tensor, window: int, transposed: bool) -> Tensor:
    """Window means of ``[N, H, W]`` along both axes, or the adjoint map of means."""
    grown = window - 1 if transposed else 0
    count, height, width = values.shape
    across = _window_blocks(width + grown, window, transposed, values.device, values.dtype)
    down = _window_blocks(height + grown, window, transposed, values.device, values.dtype)
    rows, halfway = values.view(-1, width), values.new_empty(count, height, across[-1].last)
    for block in across:
        out = halfway.view(len(rows), -1)[:, block.first : block.last]
        torch.mm(rows[:, block.begin : block.end], block.weights, out=out)
    result = values.new_empty(count, down[-1].last, halfway.shape[-1])
    for block in down:
        out = result[:, block.first : block.last]
        torch.bmm(block.weights.T.expand(count, -1, -1), halfway[:, block.begin : block.end], out=out)
    return result


class _WindowMeans(torch.autograd.Function):
    """A linear map, so its gradient is the adjoint map: no product of the forward pass is kept."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, window: int) -> Tensor:
        """Means of ``[N, H, W]``."""
        ctx.window = window
        return _filter(values.contiguous(), window, transposed=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gradient ``[N, H, W]``."""
        return _filter(gradient.contiguous(), ctx.window, transposed=True), None


def window_means(values: Tensor, window: int = WINDOW) -> Tensor:
    """Gaussian-weighted mean around every pixel that is at least ``window // 2`` from the border.

    The window is separable, so each axis is a product with a matrix that is zero away from its diagonal; only the
    blocks that are not zero are multiplied, for all images and channels at once.

    Args:
        values: ``[..., H, W]``.
        window: Side of the window, odd.

    Returns:
        ``[..., H - window + 1, W - window + 1]``.

    Raises:
        UsageError: If the image is smaller than the window, or the window is even.
    """
    height, width = values.shape[-2:]
    if window % 2 == 0 or window < 3 or min(height, width) < window:
        raise UsageError(
            f"the structural term needs an odd window of 3 px and more and images no smaller, not {window} px and "
            f"{height} x {width}."
        )
    means: Tensor = _WindowMeans.apply(values.reshape(-1, height, width), window)
    return means.view(*values.shape[:-2], *means.shape[-2:])


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
        mean_x = window_means(targets, window)
        extent = value_ranges(targets) if value_range == "paper" else targets.new_ones(())
        constant = (CONTRAST_CONSTANT * extent) ** 2
    # Both variances stand in the formula as their sum only, so their second moments are filtered together.
    seconds = images * images + targets * targets
    mean_y, second, product = window_means(torch.stack([images, seconds, targets * images]), window)
    covariance = product - mean_x * mean_y
    variances = second - mean_x * mean_x - mean_y * mean_y
    return (2 * covariance + constant) / (variances + constant)


def structural_loss(
    targets: Tensor, images: Tensor, value_range: Range = "unit", window: int = WINDOW, scales: int = 1
) -> Tensor:
    """One minus the mean of :func:`contrast_structure`, in float32 whatever the networks compute in.

    Args:
        targets: ``[B, 3, H, W]``.
        images: ``[B, 3, H, W]``.
        value_range: See :data:`Range`.
        window: Side of the window in pixels, odd.
        scales: Ours: average over images of full, half, quarter ... size, the window two pixels smaller at each.
            Edges that are off by more than the window's width pull only where the image is small.
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


def generator_adversarial_loss(fake: Tensor) -> Tensor:
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


def heatmap_cross_entropy(scores: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
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
    """Mean over all landmarks of :func:`heatmap_cross_entropy`, each times its weight.

    Doubtful landmarks count less; the others do not count more for it.

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

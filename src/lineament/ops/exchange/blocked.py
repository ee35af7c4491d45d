"""Row-blocked softmax products: the memory-lean form of the exchange loss for any device.

Both halves of the loss are softmax-weighted sums over an M x N score matrix. Here a block of rows of that matrix lives
in a small workspace, is used, and is overwritten by the next; only vectors of length M stay for the backward pass,
which computes the block again. The work per block is three to five matrix products and one or two passes over the
block; the passes come as a :class:`Passes` table, because fused CPU code does them several times faster than tensor
operations.

Layout: descriptors are channel-major, ``[B, C, N]``, as they leave a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.ops.tails import NEGLIGIBLE

# Elements of one block. 2 MB in single precision stays in the last-level cache and lets the matrix products run at
# full speed; smaller blocks starve them, larger ones spill. Long rows spill anyway: 96 of them at least.
BLOCK_ELEMENTS = 1 << 19
SMALLEST_ROWS = 96


@dataclass(frozen=True)
class Passes:
    """The passes over one block of scores ``[m, N]``; row vectors are ``[m]``; all work in place.

    Attributes:
        softmax: ``(scores, peak, mass)``: scores become ``exp(score - peak)``; writes the row maximum and the row sum.
        distances: ``(target_xy [m, 2], grid_xy [N, 2], power, out [m, N])``.
        expect: ``(scores, distances, peak, mass, mean)``: writes maximum, sum and expected distance of each row;
            scores are destroyed.
        expect_gradient: ``(scores, distances, peak, scale, mean)``: scores become
            ``scale exp(score - peak) (distance - mean)``.
        softmax_gradient: ``(both [2m, N], peak, scale)``: the upper half holds scores, the lower the gradients g of
            their weights ``w = scale exp(score - peak)``; the lower becomes w, the upper ``w (g - sum w g)``.
        weights_gradient: ``(both [2m, N], mass)``: the same where the upper half holds ``exp(score - peak)`` already
            and ``scale`` is ``1 / mass``.
        expect_with_gradient: ``(scores, target_xy [m, 2], grid_xy [N, 2], power, factor, mean)``: writes the
            expected distance of each row; scores become ``factor softmax(score) (distance - mean)``.
    """

    softmax: Callable[[Tensor, Tensor, Tensor], None]
    distances: Callable[[Tensor, Tensor, float, Tensor], None]
    expect: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]
    expect_gradient: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]
    softmax_gradient: Callable[[Tensor, Tensor, Tensor], None]
    weights_gradient: Callable[[Tensor, Tensor], None]
    expect_with_gradient: Callable[[Tensor, Tensor, Tensor, float, float, Tensor], None]


def row_blocks(rows: int, keys: int) -> Iterator[slice]:
    """Split rows evenly so that a block of scores has about ``BLOCK_ELEMENTS`` elements."""
    most = max(SMALLEST_ROWS, BLOCK_ELEMENTS // max(keys, 1))
    count = max(1, -(-rows // most))
    size = -(-rows // count)
    for start in range(0, rows, max(size, 1)):
        yield slice(start, min(start + size, rows))


def _workspace(like: Tensor, rows: int, keys: int, copies: int = 1) -> Tensor:
    widest = max((block.stop - block.start for block in row_blocks(rows, keys)), default=0)
    return like.new_empty(copies * widest, keys)


def reconstruct_forward(passes: Passes, queries: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``[B, C, M]``, ``[B, C, K]`` -> reconstruction ``[B, C, M]``, row maxima and row sums ``[B, M]``."""
    batch, _, rows = queries.shape
    keys = auxiliary.shape[2]
    result = torch.empty_like(queries)
    peak, mass = queries.new_empty(batch, rows), queries.new_empty(batch, rows)
    scores = _workspace(queries, rows, keys)
    for item in range(batch):
        for block in row_blocks(rows, keys):
            tile = scores[: block.stop - block.start]
            torch.mm(queries[item, :, block].t(), auxiliary[item], out=tile)
            passes.softmax(tile, peak[item, block], mass[item, block])
            result[item, :, block] = (auxiliary[item] @ tile.t()) / mass[item, block]
    return result, peak, mass


def reconstruct_backward(
    passes: Passes,
    gradient: Tensor,
    queries: Tensor,
    auxiliary: Tensor,
    peak: Tensor,
    mass: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of the reconstruction with respect to queries and auxiliary vectors.

    With A the weights: ``dA = gradient^T a``, ``dS = A (dA - sum_w A dA)``, and the auxiliary vectors are reached both
    as keys (``dS``) and as values (``A``). The two products that share the auxiliary vectors, and the two that add to
    their gradient, are each done as one of double height. The sum is ``<gradient_u, r_u>`` too, but taken from the same
    rounded dA it cancels exactly where one weight is 1, and the gradient there is all cancellation.
    """
    batch, channels, rows = queries.shape
    keys = auxiliary.shape[2]
    d_queries, d_auxiliary = torch.empty_like(queries), torch.zeros_like(auxiliary)
    scale = mass.reciprocal()
    both = _workspace(queries, rows, keys, copies=2)
    stacked = queries.new_empty(channels, len(both))
    for item in range(batch):
        for block in row_blocks(rows, keys):
            height = block.stop - block.start
            tile, pair = both[: 2 * height], stacked[:, : 2 * height]
            pair[:, :height] = queries[item, :, block]
            pair[:, height:] = gradient[item, :, block]
            torch.mm(pair.t(), auxiliary[item], out=tile)
            passes.softmax_gradient(tile, peak[item, block], scale[item, block])
            d_queries[item, :, block] = auxiliary[item] @ tile[:height].t()
            d_auxiliary[item].addmm_(pair, tile)
    return d_queries, d_auxiliary


def distance_forward(
    passes: Passes, queries: Tensor, targets: Tensor, target_xy: Tensor, grid_xy: Tensor, power: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``[B, C, M]``, ``[B, C, N]`` -> expected distance, row maxima and row sums, each ``[B, M]``."""
    batch, _, rows = queries.shape
    keys = targets.shape[2]
    mean, peak, mass = (queries.new_empty(batch, rows) for _ in range(3))
    scores, distances = _workspace(queries, rows, keys), _workspace(queries, rows, keys)
    for item in range(batch):
        for block in row_blocks(rows, keys):
            height = block.stop - block.start
            tile, away = scores[:height], distances[:height]
            torch.mm(queries[item, :, block].t(), targets[item], out=tile)
            passes.distances(target_xy[item, block], grid_xy, power, away)
            passes.expect(tile, away, peak[item, block], mass[item, block], mean[item, block])
    return mean, peak, mass


def distance_backward(
    passes: Passes,
    gradient: Tensor,
    queries: Tensor,
    targets: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    mean: Tensor,
    peak: Tensor,
    mass: Tensor,
    power: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of the expected distance: ``dS = gradient_u P (d - l_u)``, then ``dq = dS t`` and ``dt = dS^T q``."""
    batch, _, rows = queries.shape
    keys = targets.shape[2]
    d_queries, d_targets = torch.empty_like(queries), torch.zeros_like(targets)
    scale = (gradient / mass).contiguous()
    scores, distances = _workspace(queries, rows, keys), _workspace(queries, rows, keys)
    for item in range(batch):
        for block in row_blocks(rows, keys):
            height = block.stop - block.start
            tile, away = scores[:height], distances[:height]
            torch.mm(queries[item, :, block].t(), targets[item], out=tile)
            passes.distances(target_xy[item, block], grid_xy, power, away)
            passes.expect_gradient(tile, away, peak[item, block], scale[item, block], mean[item, block])
            d_queries[item, :, block] = targets[item] @ tile.t()
            d_targets[item].addmm_(queries[item, :, block], tile)
    return d_queries, d_targets


def _softmax(scores: Tensor, peak: Tensor, mass: Tensor) -> None:
    torch.amax(scores, dim=1, out=peak)
    _weights(scores, peak)
    torch.sum(scores, dim=1, out=mass)


def _weights(scores: Tensor, peak: Tensor) -> Tensor:
    scores.sub_(peak[:, None])
    torch.threshold_(scores, NEGLIGIBLE, -torch.inf)
    return scores.exp_()


def power_distances(target_xy: Tensor, grid_xy: Tensor, power: float, out: Tensor) -> None:
    """Fill ``out [m, N]`` with ``|target_xy - grid_xy| ** power``."""
    torch.sub(target_xy[:, 0, None], grid_xy[None, :, 0], out=out)
    out.square_()
    across = target_xy[:, 1, None] - grid_xy[None, :, 1]
    out.addcmul_(across, across)
    if power == 0.5:
        out.sqrt_().sqrt_()
    elif power == 1.0:
        out.sqrt_()
    else:
        out.pow_(power / 2)


def _expect(scores: Tensor, distances: Tensor, peak: Tensor, mass: Tensor, mean: Tensor) -> None:
    _softmax(scores, peak, mass)
    torch.sum(scores.mul_(distances), dim=1, out=mean)
    mean.div_(mass)


def _expect_gradient(scores: Tensor, distances: Tensor, peak: Tensor, scale: Tensor, mean: Tensor) -> None:
    _weights(scores, peak).mul_(distances.sub_(mean[:, None])).mul_(scale[:, None])


def _softmax_gradient(both: Tensor, peak: Tensor, scale: Tensor) -> None:
    upper, _ = both.chunk(2)
    _weights(upper, peak).mul_(scale[:, None])
    _product_rule(both)


def _weights_gradient(both: Tensor, mass: Tensor) -> None:
    upper, _ = both.chunk(2)
    upper.div_(mass[:, None])
    _product_rule(both)


def _product_rule(both: Tensor) -> None:
    """Upper half w, lower half g -> ``w (g - sum w g)`` and w."""
    upper, lower = both.chunk(2)
    weights = upper.clone()
    mean = upper.mul_(lower).sum(dim=1, keepdim=True)
    torch.sub(lower, mean, out=upper)
    upper.mul_(weights)
    lower.copy_(weights)


def expect_with_gradient(
    scores: Tensor, target_xy: Tensor, grid_xy: Tensor, power: float, factor: float, mean: Tensor
) -> None:
    """The pass of that name in :class:`Passes`, by tensor operations."""
    distances = torch.empty_like(scores)
    power_distances(target_xy, grid_xy, power, distances)
    peak, mass = torch.empty_like(mean), torch.empty_like(mean)
    _softmax(scores, peak, mass)
    scores.div_(mass[:, None])
    torch.sum(scores * distances, dim=1, out=mean)
    scores.mul_(distances.sub_(mean[:, None]).mul_(factor))


TENSOR_PASSES = Passes(
    _softmax,
    power_distances,
    _expect,
    _expect_gradient,
    _softmax_gradient,
    _weights_gradient,
    expect_with_gradient,
)

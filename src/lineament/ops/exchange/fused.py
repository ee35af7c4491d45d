"""The mean exchange loss with its gradients in one sweep over row blocks.

The loss is a plain mean, so the gradient that reaches each row is the same and known before the backward pass begins. A
block's gradients can therefore be formed while its scores and weights are still in the workspace, and nothing has to be
computed again: 9 products of N x N x C and one exponential per entry and half instead of 11 and two. Autograd only has
to scale the gradients by the one that arrives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.ops.exchange.blocked import Passes, row_blocks

# Gradients are carried this much too large through the sweep. Where a match is sharp they are tiny, and tiny weights of
# the exchange times tiny gradients would be subnormal. A power of two rounds nothing; autograd's scaling undoes it.
LIFT = 2.0**50
# Entries of the lifted gradients that become zeros: 1e-20 of those of an undecided match, which are about one.
LEAST = 1e-20 * LIFT


def gradient_scale(source: Tensor) -> float:
    """Factor by which the gradients of :func:`mean_loss` become those of the mean, for a source ``[B, C, M]``."""
    return 1 / (LIFT * source.shape[0] * source.shape[2])


def mean_loss(
    passes: Passes,
    source: Tensor,
    auxiliary: Tensor | None,
    target: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    power: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss and its gradients with respect to source, auxiliary and target.

    Args:
        passes: The passes over a block.
        source: ``[B, C, M]``.
        auxiliary: ``[B, C, K]``, or None for the loss without exchange.
        target: ``[B, C, N]``.
        target_xy: ``[B, M, 2]``.
        grid_xy: ``[N, 2]``.
        power: Exponent of the distance.

    Returns:
        The scalar loss, and gradients of ``LIFT`` times its sum over batch and rows (see :func:`gradient_scale`), of
        the shapes of their arguments; empty for an absent auxiliary.
    """
    batch, channels, rows = source.shape
    keys = 0 if auxiliary is None else auxiliary.shape[2]
    longest = max(keys, target.shape[2])
    tallest = max(block.stop - block.start for block in row_blocks(rows, longest))
    mean, peak, mass = source.new_empty(batch, rows), source.new_empty(tallest), source.new_empty(tallest)
    d_source, d_target = torch.empty_like(source), torch.zeros_like(target)
    d_auxiliary = source.new_empty(0) if auxiliary is None else torch.zeros_like(auxiliary)
    # Upper half: weights of the exchange. Lower half: scores against the target, later the gradients of the weights.
    workspace = source.new_empty(2 * tallest * longest)
    stacked = source.new_empty(channels, 2 * tallest)
    for item in range(batch):
        goal = target[item]
        for block in row_blocks(rows, longest):
            height = block.stop - block.start
            scores = workspace[height * keys :][: height * goal.shape[1]].view(height, -1)
            query, d_query = source[item, :, block], d_source[item, :, block]
            if auxiliary is None:
                torch.mm(query.t(), goal, out=scores)
                passes.expect_with_gradient(
                    scores, target_xy[item, block], grid_xy, power, LIFT, mean[item, block]
                )
                torch.mm(goal, scores.t(), out=d_query)
                d_target[item].addmm_(query, scores)
                continue
            other, both = auxiliary[item], workspace[: 2 * height * keys].view(2 * height, keys)
            weights = both[:height]
            torch.mm(query.t(), other, out=weights)
            passes.softmax(weights, peak[:height], mass[:height])
            rebuilt = (other @ weights.t()).div_(mass[:height])
            torch.mm(rebuilt.t(), goal, out=scores)
            passes.expect_with_gradient(
                scores, target_xy[item, block], grid_xy, power, LIFT, mean[item, block]
            )
            d_target[item].addmm_(rebuilt, scores)
            # Queries beside the gradients of what was rebuilt from them: the halves' products become one.
            pair = stacked[:, : 2 * height]
            pair[:, :height] = query
            d_rebuilt = torch.mm(goal, scores.t(), out=pair[:, height:])
            torch.mm(d_rebuilt.t(), other, out=both[height:])
            passes.weights_gradient(both, mass[:height])
            torch.mm(other, weights.t(), out=d_query)
            d_auxiliary[item].addmm_(pair, both)
    d_source, d_auxiliary, d_target = (torch.hardshrink(d, LEAST) for d in (d_source, d_auxiliary, d_target))
    return mean.mean(), d_source, d_auxiliary, d_target

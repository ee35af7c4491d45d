"""Fused single-precision passes over a block of scores on the CPU (meanings: `blocked.Passes`).

Each pass reads and writes a block once, with an exponential that vectorises; tensor operations need five to ten sweeps
and a slower exponential. Import this module only where it is used: it brings in the numba compiler.

All kernels work on the rows ``first .. end - 1`` of their block and return 0, the number of bad ids that `run_tasks`
counts for other kernels.
"""

# mypy: allow-untyped-defs
# (kernels are typed by their compiler)
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from torch import Tensor

from lineament.ops.exchange.blocked import Passes, expect_with_gradient, power_distances
from lineament.ops.tails import NEGLIGIBLE
from lineament.ops.threads import run_tasks

# No reassociation in the exponential: it would undo the two-part subtraction of k ln 2.
EXACT = {"contract"}
# Sums in any order, but no assumption that infinities and NaN are absent: they must reach the loss.
RELAXED = {"contract", "reassoc", "nsz"}

# Single precision throughout: one Python float would turn a whole loop into double precision at half the speed.
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
LOWEST = np.float32(NEGLIGIBLE)
LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = (
    np.float32(0.693359375),
    np.float32(-2.12194440e-4),
)  # the high part has only 9 bits: k times it is exact
C3, C4, C5, C6, C7 = (np.float32(1 / n) for n in (6, 24, 120, 720, 5040))


@njit(fastmath=EXACT, error_model="numpy", cache=True)
def _exp(x: np.float32) -> np.float32:
    """``exp(x)`` for x <= 0 to 1e-7 relative; 0 below the negligible limit, NaN for NaN."""
    # Vector lanes compute both sides of a choice. What is thrown away below must not be subnormal either, so the
    # argument is limited first; this way round, because a comparison with NaN is false and NaN must stay.
    limited = LOWEST if x < LOWEST else x
    k = np.floor(limited * LOG2_E + HALF)
    f = (limited - k * LN2_HIGH) - k * LN2_LOW  # |f| <= ln(2) / 2, where the series to f^7 errs by 5e-9
    series = ((((C7 * f + C6) * f + C5) * f + C4) * f + C3) * f + HALF
    series = series * (f * f) + f + ONE
    bits = (np.int32(k) + np.int32(127)) << np.int32(23)  # the bits of 2^k; k >= -67
    value = series * np.int32(bits).view(np.float32)
    return ZERO if x < LOWEST else value


@njit(error_model="numpy", cache=True)
def _ordered(bits: np.int32) -> np.int32:
    """Integers in the order of the floats whose bits they are, and back."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@njit(error_model="numpy", cache=True)
def _highest(row):
    """Greatest of ``row [N]``. A NaN is either found or ignored; its exponential will be NaN in any case."""
    # Compared as integers: for floats, what a maximum does with NaN and signed zeros keeps the loop from vectorising.
    bits = row.view(np.int32)
    top = _ordered(bits[0])
    for j in range(bits.shape[0]):
        top = max(top, _ordered(bits[j]))
    return np.int32(_ordered(top)).view(np.float32)


@njit(fastmath=RELAXED, error_model="numpy", nogil=True, cache=True)
def _softmax(
    scores,  # [m, N], becomes exp(score - peak)
    peak,  # [m], written
    mass,  # [m], written
    first,
    end,
):
    keys = scores.shape[1]
    for i in range(first, end):
        # By itself: a running maximum would make each exponential wait for the one before.
        top = _highest(scores[i])
        total = ZERO
        for j in range(keys):
            weight = _exp(scores[i, j] - top)
            scores[i, j] = weight
            total += weight
        peak[i], mass[i] = top, total
    return 0


@njit(fastmath=RELAXED, error_model="numpy", nogil=True, cache=True)
def _root_distances(
    out,  # [m, N], written
    target_xy,  # [m, 2]
    grid_xy,  # [2, N], x in one row and y in the other, so that vectors of either load at once
    roots,  # 2 for the exponent 0.5, 1 for 1
    first,
    end,
):
    keys = out.shape[1]
    for i in range(first, end):
        x, y = target_xy[i, 0], target_xy[i, 1]
        for j in range(keys):
            across, down = x - grid_xy[0, j], y - grid_xy[1, j]
            # Two square roots are one instruction each; a general power is a function call per entry.
            distance = np.sqrt(across * across + down * down)
            out[i, j] = np.sqrt(distance) if roots == 2 else distance
    return 0


@njit(fastmath=RELAXED, error_model="numpy", nogil=True, cache=True)
def _expect(
    scores,  # [m, N]
    distances,  # [m, N]
    peak,  # [m], written
    mass,  # [m], written
    mean,  # [m], written
    first,
    end,
):
    keys = scores.shape[1]
    for i in range(first, end):
        top = _highest(scores[i])
        total, weighted = ZERO, ZERO
        for j in range(keys):
            weight = _exp(scores[i, j] - top)
            total += weight
            weighted += weight * distances[i, j]
        peak[i], mass[i], mean[i] = top, total, weighted / total
    return 0


@njit(fastmath=RELAXED, error_model="numpy", nogil=True, cache=True)
def _expect_gradient(
    scores,  # [m, N], becomes the gradient of the scores
    distances,  # [m, N]
    peak,  # [m]
    scale,  # [m], gradient of the row's expectation over its mass
    mean,  # [m], the row's expectation
    first,
    end,
):
    keys = scores.shape[1]
    for i in range(first, end):
        top, factor, middle = peak[i], scale[i], mean[i]
        for j in range(keys):
            scores[i, j] = factor * _exp(scores[i, j] - top) * (distances[i, j] - middle)
    return 0


@njit(fastmath=RELAXED, error_model="numpy", nogil=True, cache=True)
def _softmax_gradient(
    upper,  # [m, N] scores, becomes their gradient
    lower,  # [m, N] gradients of the weights, becomes the weights
    peak,  # [m]
    scale,  # [m], 1 / mass
    first,
    end,
):
    keys = upper.shape[1]
    for i in range(first, end):
        top, factor, mean = peak[i], scale[i], ZERO
        for j in range(keys):
            weight = factor * _exp(upper[i, j] - top)
            upper[i, j] = weight
            mean += weight * lower[i, j]
        for j in range(keys):
            weight, gradient = upper[i, j], lower[i, j]
            upper[i, j], lower[i, j] = weight * (gradient - mean), weight
    return 0


@njit(fastmath=RELAXED, error_model="numpy", nogil=True, cache=True)
def _weights_gradient(
    upper,  # [m, N] exp(score - peak), becomes the gradient of the scores
    lower,  # [m, N] gradients of the weights, becomes the weights
    mass,  # [m]
    first,
    end,
):
    keys = upper.shape[1]
    for i in range(first, end):
        factor, mean = ONE / mass[i], ZERO
        for j in range(keys):
            mean += upper[i, j] * lower[i, j]
        mean *= factor
        for j in range(keys):
            weight, gradient = factor * upper[i, j], lower[i, j]
            upper[i, j], lower[i, j] = weight * (gradient - mean), weight
    return 0


@njit(fastmath=RELAXED, error_model="numpy", nogil=True, cache=True)
def _expect_with_gradient(
    scores,  # [m, N], becomes factor * softmax * (distance - mean)
    target_xy,  # [m, 2]
    grid_xy,  # [2, N]
    roots,  # 2 for the exponent 0.5, 1 for 1
    factor,
    mean,  # [m], written
    first,
    end,
):
    keys = scores.shape[1]
    distances = np.empty(keys, np.float32)  # one row stays in the fastest cache
    for i in range(first, end):
        top = _highest(scores[i])
        x, y = target_xy[i, 0], target_xy[i, 1]
        total, weighted = ZERO, ZERO
        for j in range(keys):
            across, down = x - grid_xy[0, j], y - grid_xy[1, j]
            distance = np.sqrt(across * across + down * down)
            distance = np.sqrt(distance) if roots == 2 else distance
            weight = _exp(scores[i, j] - top)
            distances[j], scores[i, j] = distance, weight
            total += weight
            weighted += weight * distance
        middle, scale = weighted / total, factor / total
        for j in range(keys):
            scores[i, j] *= scale * (distances[j] - middle)
        mean[i] = middle
    return 0


def _by_rows(kernel: Callable[..., int], *arguments: Tensor | float | np.float32) -> None:
    """Run a kernel on all rows of its first argument, split over as many threads as torch uses."""
    block = arguments[0]
    assert isinstance(block, Tensor)
    rows = len(block)
    pieces = min(torch.get_num_threads(), rows)
    tasks = [(rows * piece // pieces, rows * (piece + 1) // pieces) for piece in range(pieces)]
    arrays = [a.numpy() if isinstance(a, Tensor) else a for a in arguments]
    run_tasks(kernel, arrays, tasks, work=block.numel())


def _softmax_pass(scores: Tensor, peak: Tensor, mass: Tensor) -> None:
    _by_rows(_softmax, scores, peak, mass)


def _distances_pass(target_xy: Tensor, grid_xy: Tensor, power: float, out: Tensor) -> None:
    if power not in (0.5, 1.0):
        power_distances(target_xy, grid_xy, power, out)
        return
    _by_rows(_root_distances, out, target_xy, grid_xy.t().contiguous(), 2 if power == 0.5 else 1)


def _expect_pass(scores: Tensor, distances: Tensor, peak: Tensor, mass: Tensor, mean: Tensor) -> None:
    _by_rows(_expect, scores, distances, peak, mass, mean)


def _expect_gradient_pass(
    scores: Tensor, distances: Tensor, peak: Tensor, scale: Tensor, mean: Tensor
) -> None:
    _by_rows(_expect_gradient, scores, distances, peak, scale, mean)


def _softmax_gradient_pass(both: Tensor, peak: Tensor, scale: Tensor) -> None:
    upper, lower = both.chunk(2)
    _by_rows(_softmax_gradient, upper, lower, peak, scale)


def _weights_gradient_pass(both: Tensor, mass: Tensor) -> None:
    upper, lower = both.chunk(2)
    _by_rows(_weights_gradient, upper, lower, mass)


def _expect_with_gradient_pass(
    scores: Tensor, target_xy: Tensor, grid_xy: Tensor, power: float, factor: float, mean: Tensor
) -> None:
    if power not in (0.5, 1.0):
        expect_with_gradient(scores, target_xy, grid_xy, power, factor, mean)
        return
    roots, planes = 2 if power == 0.5 else 1, grid_xy.t().contiguous()
    _by_rows(_expect_with_gradient, scores, target_xy, planes, roots, np.float32(factor), mean)


NUMBA_PASSES = Passes(
    _softmax_pass,
    _distances_pass,
    _expect_pass,
    _expect_gradient_pass,
    _softmax_gradient_pass,
    _weights_gradient_pass,
    _expect_with_gradient_pass,
)

"""The exchange loss on a GPU: fused kernels over tiles of the score matrix, in full single precision.

Forward kernels keep a running maximum, sum and weighted sum per row (the online softmax), so no row of scores is ever
complete in memory. Backward kernels compute each tile again: once by rows, for the gradient of the queries, and once by
columns, for that of the keys, which needs 14 instead of 11 matrix products but no atomic adds and so repeats bit for
bit. Matrix products never use TF32: scores reach 400, where its 10 bits resolve 0.25.

Layout: descriptors ``[B, C, N]`` contiguous; one program per block of rows or columns and item of the batch. With
``TRITON_INTERPRET=1`` the kernels run on CPU tensors.
"""

# mypy: allow-untyped-defs
# (kernels are typed by their compiler)
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

# Single-precision products keep their operands in registers: at 64 channels, larger tiles or fewer warps spill.
TILE, WARPS, STAGES = 32, 8, 1


@triton.jit
def _tile(base, channels, points, start, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """``[CHANNELS, BLOCK]`` of a ``[channels, points]`` matrix, zero outside."""
    # CHANNELS is a power of two, as Triton's blocks must be; zero rows add nothing to a product.
    c = tl.arange(0, CHANNELS)[:, None]
    p = start + tl.arange(0, BLOCK)[None, :]
    return tl.load(base + c * points + p, mask=(c < channels) & (p < points), other=0.0)


@triton.jit
def _store_tile(base, values, channels, points, start, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    c = tl.arange(0, CHANNELS)[:, None]
    p = start + tl.arange(0, BLOCK)[None, :]
    tl.store(base + c * points + p, values, mask=(c < channels) & (p < points))


@triton.jit
def _product(left, right):
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def _distances(target_xy, grid_xy, rows, keys, row, key, POWER: tl.constexpr):
    """``[BLOCK, BLOCK]`` powers of the distances between points of ``[rows, 2]`` and ``[keys, 2]``."""
    inside_rows, inside_keys = row < rows, key < keys
    x = tl.load(target_xy + 2 * row, mask=inside_rows, other=0.0)
    y = tl.load(target_xy + 2 * row + 1, mask=inside_rows, other=0.0)
    across = x[:, None] - tl.load(grid_xy + 2 * key, mask=inside_keys, other=0.0)[None, :]
    down = y[:, None] - tl.load(grid_xy + 2 * key + 1, mask=inside_keys, other=0.0)[None, :]
    squared = across * across + down * down
    if POWER == 0.5:
        result = tl.sqrt(tl.sqrt(squared))
    elif POWER == 1.0:
        result = tl.sqrt(squared)
    else:
        # Triton has no power function; the limit keeps the logarithm finite at distance zero.
        result = tl.exp2(tl.log2(tl.maximum(squared, 1e-30)) * (POWER / 2))
    return result


@triton.jit
def _reconstruct_kernel(
    q,  # [B, C, M]
    a,  # [B, C, K]
    result,  # [B, C, M], written
    peak,  # [B, M], written
    mass,  # [B, M], written
    channels, rows, keys, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    # 64 bits: the offset of an item may exceed 2^31 elements.
    item, start = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK
    row = start + tl.arange(0, BLOCK)
    queries = tl.trans(_tile(q + item * channels * rows, channels, rows, start, CHANNELS, BLOCK))
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    summed = tl.zeros([BLOCK, CHANNELS], tl.float32)
    for first in range(0, keys, BLOCK):
        vectors = _tile(a + item * channels * keys, channels, keys, first, CHANNELS, BLOCK)
        # Keys beyond the end must not count in the maximum either: minus infinity, not zero.
        inside = (first + tl.arange(0, BLOCK) < keys)[None, :]
        scores = tl.where(inside, _product(queries, vectors), float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        # What was summed under a lower maximum is brought to the new one (online softmax).
        shrink = tl.exp(top - higher)
        weights = tl.exp(scores - higher[:, None])
        total = total * shrink + tl.sum(weights, 1)
        summed = summed * shrink[:, None] + _product(weights, tl.trans(vectors))
        top = higher
    values = tl.trans(summed / total[:, None])
    _store_tile(result + item * channels * rows, values, channels, rows, start, CHANNELS, BLOCK)
    tl.store(peak + item * rows + row, top, mask=row < rows)
    tl.store(mass + item * rows + row, total, mask=row < rows)


@triton.jit
def _expect_kernel(
    q,  # [B, C, M]
    t,  # [B, C, N]
    target_xy,  # [B, M, 2]
    grid_xy,  # [N, 2]
    mean,  # [B, M], written
    peak,  # [B, M], written
    mass,  # [B, M], written
    channels, rows, keys,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, POWER: tl.constexpr,
):  # fmt: skip
    item, start = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK
    row = start + tl.arange(0, BLOCK)
    queries = tl.trans(_tile(q + item * channels * rows, channels, rows, start, CHANNELS, BLOCK))
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    weighted = tl.zeros([BLOCK], tl.float32)
    for first in range(0, keys, BLOCK):
        key = first + tl.arange(0, BLOCK)
        vectors = _tile(t + item * channels * keys, channels, keys, first, CHANNELS, BLOCK)
        scores = tl.where((key < keys)[None, :], _product(queries, vectors), float("-inf"))
        away = _distances(target_xy + item * rows * 2, grid_xy, rows, keys, row, key, POWER)
        higher = tl.maximum(top, tl.max(scores, 1))
        shrink = tl.exp(top - higher)
        weights = tl.exp(scores - higher[:, None])
        total = total * shrink + tl.sum(weights, 1)
        weighted = weighted * shrink + tl.sum(weights * away, 1)
        top = higher
    tl.store(mean + item * rows + row, weighted / total, mask=row < rows)
    tl.store(peak + item * rows + row, top, mask=row < rows)
    tl.store(mass + item * rows + row, total, mask=row < rows)


@triton.jit
def _weights(scores, peak, scale, row, rows, key, keys):
    """``scale_u exp(score - peak_u)``, zero outside the matrix."""
    inside = row < rows
    top = tl.load(peak + row, mask=inside, other=0.0)
    factor = tl.load(scale + row, mask=inside, other=0.0)
    exponent = tl.where(inside[:, None] & (key < keys)[None, :], scores - top[:, None], float("-inf"))
    return tl.exp(exponent) * factor[:, None]


@triton.jit
def _reconstruct_backward_kernel(
    q,  # [B, C, M]
    a,  # [B, C, K]
    g,  # [B, C, M] gradient of the result
    peak,  # [B, M]
    scale,  # [B, M] 1 / mass
    shift,  # [B, M] <gradient, result>, the row sum of the softmax's derivative
    d_out,  # [B, C, M], or [B, C, K] by keys; written
    channels, rows, keys,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, BY_KEYS: tl.constexpr,
):  # fmt: skip
    item, start = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK
    q, g = q + item * channels * rows, g + item * channels * rows
    a = a + item * channels * keys
    peak, scale, shift = peak + item * rows, scale + item * rows, shift + item * rows
    # One kernel for both directions: the program keeps its block of rows (or keys) and walks over all others, so that
    # its sum stays in registers and nothing is added atomically.
    total = tl.zeros([CHANNELS, BLOCK], tl.float32)
    for other in range(0, rows if BY_KEYS else keys, BLOCK):
        first_row = other if BY_KEYS else start
        first_key = start if BY_KEYS else other
        row, key = first_row + tl.arange(0, BLOCK), first_key + tl.arange(0, BLOCK)
        queries = _tile(q, channels, rows, first_row, CHANNELS, BLOCK)
        gradients = _tile(g, channels, rows, first_row, CHANNELS, BLOCK)
        vectors = _tile(a, channels, keys, first_key, CHANNELS, BLOCK)
        weights = _weights(_product(tl.trans(queries), vectors), peak, scale, row, rows, key, keys)
        middle = tl.load(shift + row, mask=row < rows, other=0.0)
        d_scores = weights * (_product(tl.trans(gradients), vectors) - middle[:, None])
        if BY_KEYS:
            total += _product(queries, d_scores) + _product(gradients, weights)
        else:
            total += _product(vectors, tl.trans(d_scores))
    points = keys if BY_KEYS else rows
    _store_tile(d_out + item * channels * points, total, channels, points, start, CHANNELS, BLOCK)


@triton.jit
def _expect_backward_kernel(
    q,  # [B, C, M]
    t,  # [B, C, N]
    target_xy,  # [B, M, 2]
    grid_xy,  # [N, 2]
    mean,  # [B, M]
    peak,  # [B, M]
    scale,  # [B, M] gradient of the result / mass
    d_out,  # [B, C, M], or [B, C, N] by keys; written
    channels, rows, keys,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, POWER: tl.constexpr, BY_KEYS: tl.constexpr,
):  # fmt: skip
    item, start = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK
    q, t = q + item * channels * rows, t + item * channels * keys
    target_xy = target_xy + item * rows * 2
    mean, peak, scale = mean + item * rows, peak + item * rows, scale + item * rows
    total = tl.zeros([CHANNELS, BLOCK], tl.float32)
    for other in range(0, rows if BY_KEYS else keys, BLOCK):
        first_row = other if BY_KEYS else start
        first_key = start if BY_KEYS else other
        row, key = first_row + tl.arange(0, BLOCK), first_key + tl.arange(0, BLOCK)
        queries = _tile(q, channels, rows, first_row, CHANNELS, BLOCK)
        vectors = _tile(t, channels, keys, first_key, CHANNELS, BLOCK)
        weights = _weights(_product(tl.trans(queries), vectors), peak, scale, row, rows, key, keys)
        away = _distances(target_xy, grid_xy, rows, keys, row, key, POWER)
        d_scores = weights * (away - tl.load(mean + row, mask=row < rows, other=0.0)[:, None])
        if BY_KEYS:
            total += _product(queries, d_scores)
        else:
            total += _product(vectors, tl.trans(d_scores))
    points = keys if BY_KEYS else rows
    _store_tile(d_out + item * channels * points, total, channels, points, start, CHANNELS, BLOCK)


def _launch(points: int, like: Tensor) -> tuple[tuple[int, int], dict[str, int], AbstractContextManager]:
    batch, channels, _ = like.shape
    sizes = {
        "CHANNELS": max(16, triton.next_power_of_2(channels)),
        "BLOCK": TILE,
        "num_warps": WARPS,
        "num_stages": STAGES,
    }
    device = torch.cuda.device(like.device) if like.is_cuda else nullcontext()
    return (triton.cdiv(points, TILE), batch), sizes, device


def reconstruct_forward(queries: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `blocked.reconstruct_forward`."""
    queries, auxiliary = queries.contiguous(), auxiliary.contiguous()
    batch, channels, rows = queries.shape
    result = torch.empty_like(queries)
    peak, mass = queries.new_empty(batch, rows), queries.new_empty(batch, rows)
    grid, sizes, device = _launch(rows, queries)
    with device:
        _reconstruct_kernel[grid](
            queries, auxiliary, result, peak, mass, channels, rows, auxiliary.shape[2], **sizes
        )
    return result, peak, mass


def reconstruct_backward(
    gradient: Tensor, queries: Tensor, auxiliary: Tensor, result: Tensor, peak: Tensor, mass: Tensor
) -> tuple[Tensor, Tensor]:
    """As `blocked.reconstruct_backward`."""
    gradient, queries, auxiliary = gradient.contiguous(), queries.contiguous(), auxiliary.contiguous()
    _, channels, rows = queries.shape
    keys = auxiliary.shape[2]
    scale, shift = mass.reciprocal(), (gradient * result).sum(dim=1)
    d_queries, d_auxiliary = torch.empty_like(queries), torch.empty_like(auxiliary)
    for out, points, by_keys in ((d_queries, rows, False), (d_auxiliary, keys, True)):
        grid, sizes, device = _launch(points, queries)
        with device:
            _reconstruct_backward_kernel[grid](
                queries, auxiliary, gradient, peak, scale, shift, out, channels, rows, keys,
                **sizes, BY_KEYS=by_keys,
            )  # fmt: skip
    return d_queries, d_auxiliary


def distance_forward(
    queries: Tensor, targets: Tensor, target_xy: Tensor, grid_xy: Tensor, power: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `blocked.distance_forward`."""
    queries, targets = queries.contiguous(), targets.contiguous()
    batch, channels, rows = queries.shape
    mean, peak, mass = (queries.new_empty(batch, rows) for _ in range(3))
    grid, sizes, device = _launch(rows, queries)
    with device:
        _expect_kernel[grid](
            queries, targets, target_xy, grid_xy, mean, peak, mass, channels, rows, targets.shape[2],
            **sizes, POWER=power,
        )  # fmt: skip
    return mean, peak, mass


def distance_backward(
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
    """As `blocked.distance_backward`."""
    queries, targets = queries.contiguous(), targets.contiguous()
    _, channels, rows = queries.shape
    keys = targets.shape[2]
    scale = (gradient / mass).contiguous()
    d_queries, d_targets = torch.empty_like(queries), torch.empty_like(targets)
    for out, points, by_keys in ((d_queries, rows, False), (d_targets, keys, True)):
        grid, sizes, device = _launch(points, queries)
        with device:
            _expect_backward_kernel[grid](
                queries, targets, target_xy, grid_xy, mean, peak, scale, out, channels, rows, keys,
                **sizes, POWER=power, BY_KEYS=by_keys,
            )  # fmt: skip
    return d_queries, d_targets

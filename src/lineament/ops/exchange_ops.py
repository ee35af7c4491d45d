"""Registers the exchange loss and its two halves with torch, so that autograd, compile and export know them.

Each half has a forward op, a backward op and their shapes; `impl` says which kernels do the work. The forward ops also
return the row maxima and row sums that the backward pass needs to compute any tile of the score matrix again. The mean
of the whole loss is an op of its own, which returns its gradients with it; its backward pass only scales them.
All arguments are contiguous (exchange.py sees to it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lineament.ops import exchange_blocked, exchange_fused


@contextmanager
def _exact_products(kind: str) -> Iterator[None]:
    """Matrix products in the full precision of their arguments, whatever the caller allows elsewhere."""
    backend: Any = torch.backends.cuda if kind == "cuda" else torch.backends.mkldnn
    backend = getattr(backend, "matmul", None)
    with torch.autocast(kind, enabled=False):
        if hasattr(backend, "fp32_precision"):
            before, backend.fp32_precision = backend.fp32_precision, "ieee"
            try:
                yield
            finally:
                backend.fp32_precision = before
        else:  # torch before 2.9
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            try:
                yield
            finally:
                torch.set_float32_matmul_precision(before)


def _passes(impl: str) -> exchange_blocked.Passes:
    if impl == "numba":
        from lineament.ops.exchange_numba import NUMBA_PASSES

        return NUMBA_PASSES
    return exchange_blocked.TENSOR_PASSES


@torch.library.custom_op("lineament::reconstruct", mutates_args=())
def reconstruct(queries: Tensor, auxiliary: Tensor, impl: str) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction ``[B, C, M]``, row maxima and row sums ``[B, M]``."""
    if impl == "triton":
        from lineament.ops import exchange_triton

        return exchange_triton.reconstruct_forward(queries, auxiliary)
    with _exact_products(queries.device.type):
        return exchange_blocked.reconstruct_forward(_passes(impl), queries, auxiliary)


@reconstruct.register_fake
def _(queries: Tensor, auxiliary: Tensor, impl: str) -> tuple[Tensor, Tensor, Tensor]:
    rows = queries.new_empty(queries.shape[0], queries.shape[2])
    return torch.empty_like(queries), rows, torch.empty_like(rows)


@torch.library.custom_op("lineament::reconstruct_backward", mutates_args=())
def reconstruct_backward(
    gradient: Tensor,
    queries: Tensor,
    auxiliary: Tensor,
    result: Tensor,
    peak: Tensor,
    mass: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of queries and auxiliary vectors."""
    if impl == "triton":
        from lineament.ops import exchange_triton

        return exchange_triton.reconstruct_backward(gradient, queries, auxiliary, result, peak, mass)
    with _exact_products(queries.device.type):
        return exchange_blocked.reconstruct_backward(_passes(impl), gradient, queries, auxiliary, peak, mass)


@reconstruct_backward.register_fake
def _(
    gradient: Tensor,
    queries: Tensor,
    auxiliary: Tensor,
    result: Tensor,
    peak: Tensor,
    mass: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(queries), torch.empty_like(auxiliary)


def _reconstruct_setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    queries, auxiliary, ctx.impl = inputs
    ctx.save_for_backward(queries, auxiliary, *output)


def _reconstruct_autograd(ctx, gradient, *_):  # type: ignore[no-untyped-def]
    d_queries, d_auxiliary = reconstruct_backward(gradient, *ctx.saved_tensors, ctx.impl)
    return d_queries, d_auxiliary, None


reconstruct.register_autograd(_reconstruct_autograd, setup_context=_reconstruct_setup)


@torch.library.custom_op("lineament::expected_distance", mutates_args=())
def expected_distance(
    queries: Tensor, targets: Tensor, target_xy: Tensor, lattice_xy: Tensor, power: float, impl: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Expected distances, row maxima and row sums, each ``[B, M]``."""
    if impl == "triton":
        from lineament.ops import exchange_triton

        return exchange_triton.distance_forward(queries, targets, target_xy, lattice_xy, power)
    with _exact_products(queries.device.type):
        return exchange_blocked.distance_forward(
            _passes(impl), queries, targets, target_xy, lattice_xy, power
        )


@expected_distance.register_fake
def _(
    queries: Tensor, targets: Tensor, target_xy: Tensor, lattice_xy: Tensor, power: float, impl: str
) -> tuple[Tensor, Tensor, Tensor]:
    rows = queries.new_empty(queries.shape[0], queries.shape[2])
    return rows, torch.empty_like(rows), torch.empty_like(rows)


@torch.library.custom_op("lineament::expected_distance_backward", mutates_args=())
def expected_distance_backward(
    gradient: Tensor,
    queries: Tensor,
    targets: Tensor,
    target_xy: Tensor,
    lattice_xy: Tensor,
    mean: Tensor,
    peak: Tensor,
    mass: Tensor,
    power: float,
    impl: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of queries and targets."""
    if impl == "triton":
        from lineament.ops import exchange_triton

        return exchange_triton.distance_backward(
            gradient, queries, targets, target_xy, lattice_xy, mean, peak, mass, power
        )
    with _exact_products(queries.device.type):
        return exchange_blocked.distance_backward(
            _passes(impl), gradient, queries, targets, target_xy, lattice_xy, mean, peak, mass, power
        )


@expected_distance_backward.register_fake
def _(
    gradient: Tensor,
    queries: Tensor,
    targets: Tensor,
    target_xy: Tensor,
    lattice_xy: Tensor,
    mean: Tensor,
    peak: Tensor,
    mass: Tensor,
    power: float,
    impl: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(queries), torch.empty_like(targets)


def _distance_setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    queries, targets, target_xy, lattice_xy, ctx.power, ctx.impl = inputs
    ctx.save_for_backward(queries, targets, target_xy, lattice_xy, *output)


def _distance_autograd(ctx, gradient, *_):  # type: ignore[no-untyped-def]
    d_queries, d_targets = expected_distance_backward(gradient, *ctx.saved_tensors, ctx.power, ctx.impl)
    return d_queries, d_targets, None, None, None, None


expected_distance.register_autograd(_distance_autograd, setup_context=_distance_setup)


@torch.library.custom_op("lineament::mean_loss", mutates_args=())
def mean_loss(
    source: Tensor,
    auxiliary: Tensor | None,
    target: Tensor,
    target_xy: Tensor,
    lattice_xy: Tensor,
    power: float,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean expected distance, with exchange where ``auxiliary`` is given, and its gradients; not for triton."""
    with _exact_products(source.device.type):
        return exchange_fused.mean_loss(
            _passes(impl), source, auxiliary, target, target_xy, lattice_xy, power
        )


@mean_loss.register_fake
def _(
    source: Tensor,
    auxiliary: Tensor | None,
    target: Tensor,
    target_xy: Tensor,
    lattice_xy: Tensor,
    power: float,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    d_auxiliary = source.new_empty(0) if auxiliary is None else torch.empty_like(auxiliary)
    return source.new_empty(()), torch.empty_like(source), d_auxiliary, torch.empty_like(target)


# An op without a derivative, so that asking for gradients of gradients fails instead of giving part of them.
@torch.library.custom_op("lineament::mean_loss_backward", mutates_args=())
def mean_loss_backward(
    gradient: Tensor, d_source: Tensor, d_auxiliary: Tensor, d_target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale the gradients that the forward pass left."""
    return gradient * d_source, gradient * d_auxiliary, gradient * d_target


@mean_loss_backward.register_fake
def _(
    gradient: Tensor, d_source: Tensor, d_auxiliary: Tensor, d_target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(d_source), torch.empty_like(d_auxiliary), torch.empty_like(d_target)


def _mean_loss_setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.exchanged = inputs[1] is not None
    ctx.save_for_backward(*output[1:])
    ctx.set_materialize_grads(False)  # the other outputs are as large as the maps, and nobody asks for theirs


def _mean_loss_autograd(ctx, gradient, *_):  # type: ignore[no-untyped-def]
    if gradient is None:
        return (None,) * 7
    d_source, d_auxiliary, d_target = mean_loss_backward(gradient, *ctx.saved_tensors)
    return d_source, d_auxiliary if ctx.exchanged else None, d_target, None, None, None, None


mean_loss.register_autograd(_mean_loss_autograd, setup_context=_mean_loss_setup)

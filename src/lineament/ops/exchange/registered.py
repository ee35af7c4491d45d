"""The exchange loss and its two halves as ops of torch, so that autograd, compile and export know them.

Each half has a forward op and a backward op; `impl` says which kernels do the work. The forward ops also return the row
maxima and row sums that the backward pass needs to compute any tile of the score matrix again. The mean of the whole
loss is an op of its own, which returns its gradients with it; its backward pass only scales them.
All arguments are contiguous (`__init__.py` sees to it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lineament.ops.exchange import blocked, fused
from lineament.ops.registration import register_op

Three = tuple[Tensor, Tensor, Tensor]
Four = tuple[Tensor, Tensor, Tensor, Tensor]


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


def _passes(impl: str) -> blocked.Passes:
    if impl == "numba":
        from lineament.ops.exchange.numba import NUMBA_PASSES

        return NUMBA_PASSES
    return blocked.TENSOR_PASSES


def _reconstruct(queries: Tensor, auxiliary: Tensor, impl: str) -> Three:
    if impl == "triton":
        from lineament.ops.exchange import triton

        return triton.reconstruct_forward(queries, auxiliary)
    with _exact_products(queries.device.type):
        return blocked.reconstruct_forward(_passes(impl), queries, auxiliary)


def _reconstruct_fake(queries: Tensor, auxiliary: Tensor, impl: str) -> Three:
    rows = queries.new_empty(queries.shape[0], queries.shape[2])
    return torch.empty_like(queries), rows, torch.empty_like(rows)


def _reconstruct_backward(
    gradient: Tensor,
    queries: Tensor,
    auxiliary: Tensor,
    result: Tensor,
    peak: Tensor,
    mass: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor]:
    if impl == "triton":
        from lineament.ops.exchange import triton

        return triton.reconstruct_backward(gradient, queries, auxiliary, result, peak, mass)
    with _exact_products(queries.device.type):
        return blocked.reconstruct_backward(_passes(impl), gradient, queries, auxiliary, peak, mass)


def _reconstruct_backward_fake(
    gradient: Tensor,
    queries: Tensor,
    auxiliary: Tensor,
    result: Tensor,
    peak: Tensor,
    mass: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(queries), torch.empty_like(auxiliary)


def _save_reconstruct(ctx: Any, inputs: tuple[Any, ...], output: Three) -> None:
    queries, auxiliary, ctx.impl = inputs
    ctx.save_for_backward(queries, auxiliary, *output)


def _differentiate_reconstruct(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Any, ...]:
    d_queries, d_auxiliary = reconstruct_backward(gradient.contiguous(), *ctx.saved_tensors, ctx.impl)
    return d_queries, d_auxiliary, None


reconstruct_backward = register_op(
    "reconstruct_backward(Tensor gradient, Tensor queries, Tensor auxiliary, Tensor result, Tensor peak, Tensor mass, "
    "str impl) -> (Tensor, Tensor)",
    _reconstruct_backward,
    _reconstruct_backward_fake,
)
# Returns the reconstruction [B, C, M], row maxima and row sums [B, M].
reconstruct = register_op(
    "reconstruct(Tensor queries, Tensor auxiliary, str impl) -> (Tensor, Tensor, Tensor)",
    _reconstruct,
    _reconstruct_fake,
    backward=_differentiate_reconstruct,
    save=_save_reconstruct,
)


def _expected_distance(
    queries: Tensor, targets: Tensor, target_xy: Tensor, grid_xy: Tensor, power: float, impl: str
) -> Three:
    if impl == "triton":
        from lineament.ops.exchange import triton

        return triton.distance_forward(queries, targets, target_xy, grid_xy, power)
    with _exact_products(queries.device.type):
        return blocked.distance_forward(_passes(impl), queries, targets, target_xy, grid_xy, power)


def _expected_distance_fake(
    queries: Tensor, targets: Tensor, target_xy: Tensor, grid_xy: Tensor, power: float, impl: str
) -> Three:
    rows = queries.new_empty(queries.shape[0], queries.shape[2])
    return rows, torch.empty_like(rows), torch.empty_like(rows)


def _expected_distance_backward(
    gradient: Tensor,
    queries: Tensor,
    targets: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    mean: Tensor,
    peak: Tensor,
    mass: Tensor,
    power: float,
    impl: str,
) -> tuple[Tensor, Tensor]:
    if impl == "triton":
        from lineament.ops.exchange import triton

        return triton.distance_backward(
            gradient, queries, targets, target_xy, grid_xy, mean, peak, mass, power
        )
    with _exact_products(queries.device.type):
        return blocked.distance_backward(
            _passes(impl), gradient, queries, targets, target_xy, grid_xy, mean, peak, mass, power
        )


def _expected_distance_backward_fake(
    gradient: Tensor,
    queries: Tensor,
    targets: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    mean: Tensor,
    peak: Tensor,
    mass: Tensor,
    power: float,
    impl: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(queries), torch.empty_like(targets)


def _save_expected_distance(ctx: Any, inputs: tuple[Any, ...], output: Three) -> None:
    queries, targets, target_xy, grid_xy, ctx.power, ctx.impl = inputs
    ctx.save_for_backward(queries, targets, target_xy, grid_xy, *output)


def _differentiate_expected_distance(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    d_queries, d_targets = expected_distance_backward(gradient.contiguous(), *saved, ctx.power, ctx.impl)
    return d_queries, d_targets, None, None, None, None


expected_distance_backward = register_op(
    "expected_distance_backward(Tensor gradient, Tensor queries, Tensor targets, Tensor target_xy, Tensor grid_xy, "
    "Tensor mean, Tensor peak, Tensor mass, float power, str impl) -> (Tensor, Tensor)",
    _expected_distance_backward,
    _expected_distance_backward_fake,
)
# Returns expected distances, row maxima and row sums, each [B, M].
expected_distance = register_op(
    "expected_distance(Tensor queries, Tensor targets, Tensor target_xy, Tensor grid_xy, float power, str impl) "
    "-> (Tensor, Tensor, Tensor)",
    _expected_distance,
    _expected_distance_fake,
    backward=_differentiate_expected_distance,
    save=_save_expected_distance,
)


def _mean_loss(
    source: Tensor,
    auxiliary: Tensor | None,
    target: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    power: float,
    impl: str,
) -> Four:
    with _exact_products(source.device.type):
        return fused.mean_loss(_passes(impl), source, auxiliary, target, target_xy, grid_xy, power)


def _mean_loss_fake(
    source: Tensor,
    auxiliary: Tensor | None,
    target: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    power: float,
    impl: str,
) -> Four:
    d_auxiliary = source.new_empty(0) if auxiliary is None else torch.empty_like(auxiliary)
    return source.new_empty(()), torch.empty_like(source), d_auxiliary, torch.empty_like(target)


def _save_mean_loss(ctx: Any, inputs: tuple[Any, ...], output: Four) -> None:
    ctx.exchanged, ctx.scale = inputs[1] is not None, fused.gradient_scale(inputs[0])
    ctx.save_for_backward(*output[1:])
    ctx.set_materialize_grads(False)  # the other outputs are as large as the maps, and nobody asks for theirs


def _differentiate_mean_loss(ctx: Any, gradient: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    if gradient is None:
        return (None,) * 7
    share = gradient * ctx.scale
    d_source, d_auxiliary, d_target = (share * kept for kept in ctx.saved_tensors)
    return d_source, d_auxiliary if ctx.exchanged else None, d_target, None, None, None, None


# Returns the mean expected distance, with exchange where `auxiliary` is given, and its gradients in the scale of
# `fused.mean_loss`; not for triton.
mean_loss = register_op(
    "mean_loss(Tensor source, Tensor? auxiliary, Tensor target, Tensor target_xy, Tensor grid_xy, float power, "
    "str impl) -> (Tensor, Tensor, Tensor, Tensor)",
    _mean_loss,
    _mean_loss_fake,
    backward=_differentiate_mean_loss,
    save=_save_mean_loss,
)

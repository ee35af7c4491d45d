"""The descriptor-exchange loss as streaming ops (Thewlis et al. 2019, equations 2 to 5).

Usage, for a batch of B pairs with source and target maps ``[B, C, H, W]``::

    loss = exchange_loss(source, target, None, target_xy, grid_xy, normalize=False, power=0.5)
    loss = dense_correlation_loss(source, target, target_xy, grid_xy, normalize=False)   # no exchange

``target_xy [B, N, 2]`` says where each source point belongs in the target image, ``grid_xy [N, 2]`` where the target
points lie, both in input pixels, x then y. Maps may be given flat, ``[B, C, N]``; a subset of the source points is a
flat source with as many rows in ``target_xy`` (then give ``auxiliary``, or the exchange sees only the subset).

No N x N x C product is formed and no N x N matrix outlives a block of rows: memory grows as N, time as N^2. The loss is
made of two ops that are useful by themselves, :func:`reconstruct` and :func:`expected_distance`; where its gradient is
wanted, one op forms loss and gradients in a single sweep. All are ``torch.library`` ops with hand-written gradients, so
they work under ``torch.compile`` and ``torch.export``. There are no gradients of gradients.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.ops.dispatch import device_of
from lineament.ops.exchange import reference, registered

NORMALISED_LENGTH = 20.0
TRITON_CHANNELS = 128  # more would not fit the shared memory of smaller GPUs
IMPLEMENTATIONS = ("auto", "reference", "torch", "numba", "triton")
FUSED = ("torch", "numba")  # those that form the gradients of the mean loss in the forward pass


def exchange_loss(
    source: Tensor,
    target: Tensor,
    auxiliary: Tensor | None,
    target_xy: Tensor,
    grid_xy: Tensor,
    *,
    normalize: bool,
    power: float = 0.5,
    impl: str = "auto",
) -> Tensor:
    """Expected distance between match and truth after the source was rebuilt from another face.

    ``r_u = sum_w softmax_w(f_u . a_w) a_w``; ``L = mean_b mean_u sum_v softmax_v(r_u . t_v) |g(u) - v| ** power``.
    Scores are raw dot products without a temperature; r is not normalised again.

    Args:
        source: ``[B, C, H, W]`` or ``[B, C, M]`` descriptors f.
        target: ``[B, C, H, W]`` or ``[B, C, N]`` descriptors t.
        auxiliary: ``[B, C, ...]`` descriptors a of another face; None takes the source of the next pair in the batch
            (with B = 1 the source itself), as published.
        target_xy: ``[B, M, 2]`` where g(u) each source point belongs in the target, input pixels. No gradient.
        grid_xy: ``[N, 2]`` positions v of the target points, input pixels. No gradient.
        normalize: Give all vectors the length 20 first.
        power: Exponent of the Euclidean distance; 0.5 in all published runs.
        impl: ``auto`` (by device), ``reference`` (keeps N x N), ``torch``, ``numba`` (CPU), ``triton`` (CUDA).

    Returns:
        Scalar in the descriptors' precision (single precision for half-precision descriptors).

    Raises:
        DataError: If shapes do not fit together.
        UsageError: If ``impl`` is unknown or cannot run on this device.
    """
    source, target = _vectors("source", source, normalize), _vectors("target", target, normalize)
    if auxiliary is None:
        auxiliary = source.roll(-1, dims=0)
    else:
        auxiliary = _vectors("auxiliary", auxiliary, normalize)
    if _learning(source, auxiliary, target) and _choose(impl, source) in FUSED:
        _check_pair(source, auxiliary)
        return _mean_loss(source, auxiliary, target, target_xy, grid_xy, power, impl)
    rebuilt = reconstruct(source, auxiliary, impl=impl)
    return expected_distance(rebuilt, target, target_xy, grid_xy, power=power, impl=impl).mean()


def dense_correlation_loss(
    source: Tensor,
    target: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    *,
    normalize: bool,
    power: float = 0.5,
    impl: str = "auto",
) -> Tensor:
    """The same loss without exchange: ``mean_b mean_u sum_v softmax_v(f_u . t_v) |g(u) - v| ** power``.

    Arguments, result and errors as in :func:`exchange_loss`.
    """
    source, target = _vectors("source", source, normalize), _vectors("target", target, normalize)
    if _learning(source, target) and _choose(impl, source) in FUSED:
        return _mean_loss(source, None, target, target_xy, grid_xy, power, impl)
    return expected_distance(source, target, target_xy, grid_xy, power=power, impl=impl).mean()


def _learning(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _mean_loss(
    source: Tensor,
    auxiliary: Tensor | None,
    target: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    power: float,
    impl: str,
) -> Tensor:
    """The loss by the op that forms its gradients on the way."""
    target_xy, grid_xy = _places(source, target, target_xy, grid_xy, power)
    return registered.mean_loss(
        source.contiguous(),
        None if auxiliary is None else auxiliary.contiguous(),
        target.contiguous(),
        target_xy,
        grid_xy,
        float(power),
        _choose(impl, source),
    )[0]


def reconstruct(queries: Tensor, auxiliary: Tensor, *, impl: str = "auto") -> Tensor:
    """Rebuild each query from the vectors it resembles: ``r_u = sum_w softmax_w(q_u . a_w) a_w``.

    Args:
        queries: ``[B, C, M]``.
        auxiliary: ``[B, C, K]``.
        impl: As in :func:`exchange_loss`.

    Returns:
        ``[B, C, M]``, differentiable in both arguments.

    Raises:
        DataError: If batch, channels, precision or device differ, or a set is empty.
        UsageError: If ``impl`` is unknown or cannot run on this device.
    """
    _check_pair(queries, auxiliary)
    chosen = _choose(impl, queries)
    if chosen == "reference":
        return reference.reconstruct(queries, auxiliary)
    return registered.reconstruct(queries.contiguous(), auxiliary.contiguous(), chosen)[0]


def expected_distance(
    queries: Tensor,
    targets: Tensor,
    target_xy: Tensor,
    grid_xy: Tensor,
    *,
    power: float = 0.5,
    impl: str = "auto",
) -> Tensor:
    """Mean distance of each query's soft match from where it belongs.

    ``l_u = sum_v softmax_v(q_u . t_v) |g(u) - v| ** power``.

    Args:
        queries: ``[B, C, M]``.
        targets: ``[B, C, N]``.
        target_xy: ``[B, M, 2]`` true places g(u), pixels. No gradient.
        grid_xy: ``[N, 2]`` places v of the targets, pixels. No gradient.
        power: Exponent of the Euclidean distance, > 0.
        impl: As in :func:`exchange_loss`.

    Returns:
        ``[B, M]`` in pixels to the given power, differentiable in queries and targets.

    Raises:
        DataError: If shapes, precision or device do not fit, a set is empty, or ``power`` is not positive.
        UsageError: If ``impl`` is unknown or cannot run on this device.
    """
    target_xy, grid_xy = _places(queries, targets, target_xy, grid_xy, power)
    chosen = _choose(impl, queries)
    if chosen == "reference":
        return reference.expected_distance(queries, targets, target_xy, grid_xy, power)
    return registered.expected_distance(
        queries.contiguous(), targets.contiguous(), target_xy, grid_xy, float(power), chosen
    )[0]


def _places(
    queries: Tensor, targets: Tensor, target_xy: Tensor, grid_xy: Tensor, power: float
) -> tuple[Tensor, Tensor]:
    """Check the arguments of :func:`expected_distance`; returns the positions as the ops take them."""
    _check_pair(queries, targets)
    batch, _, rows = queries.shape
    if target_xy.shape != (batch, rows, 2) or grid_xy.shape != (targets.shape[2], 2):
        raise DataError(
            f"{batch} x {rows} queries and {targets.shape[2]} targets need target_xy [{batch}, {rows}, 2] and "
            f"grid_xy [{targets.shape[2]}, 2]; got {list(target_xy.shape)} and {list(grid_xy.shape)}."
        )
    if not power > 0:
        raise DataError(f"the distance exponent must be positive, not {power}: the published value is 0.5.")
    target_xy, grid_xy = (xy.detach().to(queries).contiguous() for xy in (target_xy, grid_xy))
    return target_xy, grid_xy


def _vectors(name: str, features: Tensor, normalize: bool) -> Tensor:
    """``[B, C, ...]`` -> ``[B, C, N]``, at least single precision, of length 20 if asked."""
    if features.ndim < 3 or not features.is_floating_point():
        raise DataError(
            f"{name} must be floating-point [B, C, H, W] or [B, C, N], not {features.dtype} {list(features.shape)}."
        )
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()  # scores reach 400, where half precision resolves 0.25 and bfloat16 2
    if normalize:
        # Scores grow to 400 and the exchange amplifies their errors: rounding the vectors once instead of three times
        # halves the error of the gradients.
        wide = features if features.device.type == "mps" else features.double()
        features = (NORMALISED_LENGTH * F.normalize(wide, dim=1)).to(features.dtype)
    return features.flatten(2)


def _check_pair(queries: Tensor, keys: Tensor) -> None:
    same = queries.ndim == keys.ndim == 3 and queries.shape[:2] == keys.shape[:2]
    if not same or queries.dtype != keys.dtype or queries.device != keys.device:
        raise DataError(
            "two sets of descriptors must agree in batch, channels, precision and device; got "
            f"{list(queries.shape)} {queries.dtype} {queries.device} and {list(keys.shape)} {keys.dtype} {keys.device}."
        )
    if queries.numel() == 0 or keys.numel() == 0:
        raise DataError(
            f"empty descriptor sets {list(queries.shape)} and {list(keys.shape)}: give at least one point."
        )
    if queries.dtype not in (torch.float32, torch.float64):
        raise DataError(f"descriptors must be float32 or float64, not {queries.dtype}.")


def _choose(impl: str, *tensors: Tensor) -> str:
    """Resolve ``impl`` for the tensors, the first of which decides precision and channels."""
    device, like = device_of(impl, IMPLEMENTATIONS, *tensors), tensors[0]
    single = like.dtype == torch.float32
    if impl == "numba" and (device != "cpu" or not single):
        raise UsageError(
            f"impl='numba' needs float32 on a CPU, not {like.dtype} on {device}: give impl='auto'."
        )
    if impl == "triton":
        if find_spec("triton") is None:
            raise UsageError(
                "impl='triton' needs the package triton: install lineament[gpu] or give impl='auto'."
            )
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        if not single or like.shape[1] > TRITON_CHANNELS or (device != "cuda" and not interpreted):
            raise UsageError(
                f"impl='triton' needs float32 on CUDA and at most {TRITON_CHANNELS} channels, not {like.shape[1]} "
                f"channels of {like.dtype} on {device}: give impl='auto'."
            )
    if impl != "auto" or not single:
        return "torch" if impl == "auto" else impl
    if device == "cuda" and like.shape[1] <= TRITON_CHANNELS and find_spec("triton") is not None:
        return "triton"
    return "numba" if device == "cpu" else "torch"

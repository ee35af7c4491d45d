"""The multiplane renderer as an op of torch, so that autograd, compile and export know it.

All arguments are contiguous (`__init__.py` sees to it).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lineament.ops.mpi_composite import reference
from lineament.ops.mpi_composite.reference import Scene, Three
from lineament.ops.registration import register_op


def _kernel(
    alpha: Tensor,
    colour: Tensor,
    planes: Tensor,
    eye: Tensor,
    rays: Tensor,
    height: int,
    width: int,
    clamp_last: bool,
    stop: float,
    impl: str,
) -> Three:
    scene = Scene(alpha, colour, planes, eye, rays)
    if impl == "reference":
        return reference.composite(scene, height, width, clamp_last)
    if impl == "triton":
        from lineament.ops.mpi_composite.triton import composite
    else:
        from lineament.ops.mpi_composite.numba import composite
    return composite(scene, height, width, clamp_last, stop)


def _fake(
    alpha: Tensor,
    colour: Tensor,
    planes: Tensor,
    eye: Tensor,
    rays: Tensor,
    height: int,
    width: int,
    clamp_last: bool,
    stop: float,
    impl: str,
) -> Three:
    return reference.empty_results(Scene(alpha, colour, planes, eye, rays), height, width)


def _backward_kernel(
    to_image: Tensor,
    to_depth: Tensor,
    to_opacity: Tensor,
    alpha: Tensor,
    colour: Tensor,
    planes: Tensor,
    eye: Tensor,
    rays: Tensor,
    clamp_last: bool,
    stop: float,
    impl: str,
) -> tuple[Tensor, Tensor]:
    gradients = to_image, to_depth, to_opacity
    if impl == "reference":
        with torch.enable_grad():
            leaves = alpha.detach().requires_grad_(), colour.detach().requires_grad_()
            height, width = to_depth.shape[1:]
            results = reference.composite(Scene(*leaves, planes, eye, rays), height, width, clamp_last)
        to_alpha, to_colour = torch.autograd.grad(results, leaves, gradients)
        return to_alpha, to_colour
    if impl == "triton":
        from lineament.ops.mpi_composite.triton import composite_backward
    else:
        from lineament.ops.mpi_composite.numba import composite_backward
    return composite_backward(gradients, Scene(alpha, colour, planes, eye, rays), clamp_last, stop)


def _backward_fake(
    to_image: Tensor,
    to_depth: Tensor,
    to_opacity: Tensor,
    alpha: Tensor,
    colour: Tensor,
    planes: Tensor,
    eye: Tensor,
    rays: Tensor,
    clamp_last: bool,
    stop: float,
    impl: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(alpha), torch.empty_like(colour)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Three) -> None:
    *tensors, _, _, clamp_last, stop, impl = inputs
    ctx.save_for_backward(*tensors)
    ctx.options = clamp_last, stop, impl


def _backward(ctx: Any, to_image: Tensor, to_depth: Tensor, to_opacity: Tensor) -> tuple[Any, ...]:
    gradients = (each.contiguous() for each in (to_image, to_depth, to_opacity))
    to_alpha, to_colour = mpi_composite_backward(*gradients, *ctx.saved_tensors, *ctx.options)
    return to_alpha, to_colour, *(None,) * 8


_TEXTURES = "Tensor alpha, Tensor colour, Tensor planes, Tensor eye, Tensor rays"
mpi_composite = register_op(
    f"mpi_composite({_TEXTURES}, SymInt height, SymInt width, bool clamp_last, float stop, str impl) "
    "-> (Tensor, Tensor, Tensor)",
    _kernel,
    _fake,
    backward=_backward,
    save=_save,
)
mpi_composite_backward = register_op(
    f"mpi_composite_backward(Tensor to_image, Tensor to_depth, Tensor to_opacity, {_TEXTURES}, "
    "bool clamp_last, float stop, str impl) -> (Tensor, Tensor)",
    _backward_kernel,
    _backward_fake,
)

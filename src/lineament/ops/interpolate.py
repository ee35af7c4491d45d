"""Spreads values at the vertices over the pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lineament.errors import UsageError, unknown_name
from lineament.ops.checks import check_faces, check_image, check_index
from lineament.ops.dispatch import choose_implementation, refuse_bad_ids, refuse_bad_tables
from lineament.ops.registration import register_op
from lineament.ops.threads import row_bands, run_tasks, scatter


def interpolate(
    attributes: Tensor, faces: Tensor, index: Tensor, bary: Tensor, *, empty: str = "zero", impl: str = "auto"
) -> Tensor:
    """Blend the attributes of the three corners of the triangle seen at each pixel.

    Differentiable with respect to the attributes and to ``bary``; empty pixels receive and give no gradient. For
    texture coordinates with their own topology (seams), pass the faces of that topology with the same ``index``.

    Args:
        attributes: ``[N, V, C]`` values at the vertices, float; cast to the type of ``bary``.
        faces: ``[F, 3]`` or ``[N, F, 3]`` ids into ``attributes``, int32.
        index: ``[N, H, W]`` int32 triangle ids, -1 empty.
        bary: ``[N, 3, H, W]`` from :func:`lineament.ops.barycentrics`.
        empty: What empty pixels hold: ``"zero"``, or ``"foreign"`` for the numbers that DRTK leaves there (pixel
            coordinates swept from -1 to 1, x in even and y in odd channels), needed only to compare with it.
        impl: ``"auto"``, ``"reference"``, ``"numba"`` or ``"cuda"``.

    Returns:
        ``[N, C, H, W]`` in the type of ``bary``.

    Raises:
        UsageError: On wrong shapes or types or an unknown word.
        DataError: If ``index`` names a face, or a face a vertex, that does not exist (CPU; the GPU kernel gives zeros).
    """
    if attributes.ndim != 3 or not attributes.is_floating_point():
        raise UsageError(
            f"attributes must be [N, V, C] float, got {list(attributes.shape)} of {attributes.dtype}."
        )
    if empty not in ("zero", "foreign"):
        raise unknown_name("empty", empty, ("zero", "foreign"))
    batched_faces = check_faces(faces, attributes.shape[0])
    index = check_index(index, attributes.shape[0])
    bary = check_image("bary", bary, index, channels=3)
    chosen = choose_implementation(impl, attributes, faces, index, bary)
    image: Tensor = _interpolate(attributes.to(bary.dtype).contiguous(), batched_faces, index, bary, chosen)
    return image if empty == "zero" else torch.where(index[:, None] < 0, _sweep(image), image)


def _sweep(image: Tensor) -> Tensor:
    """Pixel coordinates from -1 to 1 (``align_corners=False``): x in even channels, y in odd ones."""
    _, c, h, w = image.shape
    x = ((torch.arange(w, device=image.device) * 2 + 1) / w - 1).expand(h, w)
    y = ((torch.arange(h, device=image.device) * 2 + 1) / h - 1)[:, None].expand(h, w)
    return torch.stack([x, y])[torch.arange(c, device=image.device) % 2].to(image.dtype)[None]  # [1, C, H, W]


def _kernel(attributes: Tensor, faces: Tensor, index: Tensor, bary: Tensor, impl: str) -> Tensor:
    if impl == "reference":
        from lineament.ops.reference.interpolate import interpolate_reference

        refuse_bad_tables(faces, attributes.shape[1], index)
        return interpolate_reference(attributes, faces, index, bary)
    if impl == "cuda":
        from lineament.ops.numba_cuda.interpolate import interpolate_cuda

        return interpolate_cuda(attributes, faces, index, bary)
    from lineament.ops.numba_cpu.interpolate import interpolate_band

    n, h, w = index.shape
    image = bary.new_empty((n, attributes.shape[2], h, w))
    arrays = (attributes.numpy(), faces.numpy(), index.numpy(), bary.numpy(), image.numpy())
    bad = run_tasks(interpolate_band, arrays, row_bands(n, h), index.numel())
    refuse_bad_ids(bad, f"index name faces outside 0..{faces.shape[1] - 1} or attributes that do not exist")
    return image


def _fake(attributes: Tensor, faces: Tensor, index: Tensor, bary: Tensor, impl: str) -> Tensor:
    n, h, w = index.shape
    return bary.new_empty((n, attributes.shape[2], h, w))


def _backward_kernel(
    gradient: Tensor, attributes: Tensor, faces: Tensor, index: Tensor, bary: Tensor, impl: str
) -> tuple[Tensor, Tensor]:
    if impl == "reference":
        from lineament.ops.reference.interpolate import interpolate_reference

        with torch.enable_grad():
            leaves = attributes.detach().requires_grad_(), bary.detach().requires_grad_()
            image = interpolate_reference(leaves[0], faces, index, leaves[1])
        first, second = torch.autograd.grad(image, leaves, gradient)
        return first.contiguous(), second.contiguous()
    if impl == "cuda":
        from lineament.ops.numba_cuda.interpolate import interpolate_backward_cuda

        return interpolate_backward_cuda(gradient, attributes, faces, index, bary)
    from lineament.ops.numba_cpu.interpolate import interpolate_backward_band

    to_attributes, to_bary = torch.empty_like(attributes), torch.empty_like(bary)
    arrays = [array.numpy() for array in (gradient, attributes, faces, index, bary, to_bary)]
    scatter(interpolate_backward_band, arrays, to_attributes, *index.shape)
    return to_attributes, to_bary


def _backward_fake(
    gradient: Tensor, attributes: Tensor, faces: Tensor, index: Tensor, bary: Tensor, impl: str
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(attributes), torch.empty_like(bary)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, str], output: Tensor) -> None:
    *tensors, ctx.impl = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, Tensor, None]:
    to_attributes, to_bary = _interpolate_backward(gradient.contiguous(), *ctx.saved_tensors, ctx.impl)
    return to_attributes, None, None, to_bary, None


_interpolate = register_op(
    "interpolate(Tensor attributes, Tensor faces, Tensor index, Tensor bary, str impl) -> Tensor",
    _kernel,
    _fake,
    backward=_backward,
    save=_save,
)
_interpolate_backward = register_op(
    "interpolate_backward(Tensor gradient, Tensor attributes, Tensor faces, Tensor index, Tensor bary, str impl) "
    "-> (Tensor, Tensor)",
    _backward_kernel,
    _backward_fake,
)

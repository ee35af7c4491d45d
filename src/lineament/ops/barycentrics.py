"""Depth and perspective-correct barycentric coordinates of the triangle seen at each pixel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lineament.ops.checks import check_index, check_mesh
from lineament.ops.dispatch import choose_implementation, refuse_bad_ids, refuse_bad_tables
from lineament.ops.registration import register_op
from lineament.ops.threads import row_bands, run_tasks, scatter


def barycentrics(
    vertices: Tensor, faces: Tensor, index: Tensor, *, impl: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Where in its triangle each pixel centre lies, and how far away.

    With ``l_i`` the ratio of areas in the image and ``z_i`` the depths of the corners, ``1 / depth = sum l_j / z_j``
    and ``bary_i = (l_i / z_i) * depth``: the coordinates of the point in space, not in the image. Differentiable with
    respect to the vertices for a fixed index image (edges that move contribute through
    :func:`lineament.ops.edge_gradient`).

    Breaks: gradients grow without bound as a triangle turns edge-on (they are divided by its area in pixels); a
    triangle in ``index`` that was dropped by :func:`lineament.ops.rasterize` (``z <= 1e-8``, no area) gives zeros.

    Args:
        vertices: ``[N, V, 3]`` x and y in pixels, z the depth (> 0), float32 or float64.
        faces: ``[F, 3]`` or ``[N, F, 3]`` vertex ids, int32.
        index: ``[N, H, W]`` int32 triangle ids from :func:`lineament.ops.rasterize`, -1 empty.
        impl: ``"auto"``, ``"reference"``, ``"numba"`` or ``"cuda"``.

    Returns:
        Depth ``[N, H, W]`` and barycentric coordinates ``[N, 3, H, W]`` in the type of the vertices, zero where empty.

    Raises:
        UsageError: On wrong shapes or types or an unknown ``impl``.
        DataError: If ``index`` names a face, or a face a vertex, that does not exist (CPU; the GPU kernel gives zeros).
    """
    batched_faces = check_mesh(vertices, faces)
    index = check_index(index, vertices.shape[0])
    chosen = choose_implementation(impl, vertices, faces, index)
    depth, bary = _barycentrics(vertices.contiguous(), batched_faces, index, chosen)
    return depth, bary


def _kernel(vertices: Tensor, faces: Tensor, index: Tensor, impl: str) -> tuple[Tensor, Tensor]:
    if impl == "reference":
        from lineament.ops.reference.barycentrics import barycentrics_reference

        refuse_bad_tables(faces, vertices.shape[1], index)
        return barycentrics_reference(vertices, faces, index)
    if impl == "cuda":
        from lineament.ops.numba_cuda.barycentrics import barycentrics_cuda

        return barycentrics_cuda(vertices, faces, index)
    from lineament.ops.numba_cpu.barycentrics import barycentrics_band

    n, h, w = index.shape
    depth, bary = vertices.new_empty((n, h, w)), vertices.new_empty((n, 3, h, w))
    arrays = (vertices.numpy(), faces.numpy(), index.numpy(), depth.numpy(), bary.numpy())
    bad = run_tasks(barycentrics_band, arrays, row_bands(n, h), index.numel())
    refuse_bad_ids(bad, f"index name faces outside 0..{faces.shape[1] - 1} or vertices that do not exist")
    return depth, bary


def _fake(vertices: Tensor, faces: Tensor, index: Tensor, impl: str) -> tuple[Tensor, Tensor]:
    n, h, w = index.shape
    return vertices.new_empty((n, h, w)), vertices.new_empty((n, 3, h, w))


def _backward_kernel(
    depth_gradient: Tensor, bary_gradient: Tensor, vertices: Tensor, faces: Tensor, index: Tensor, impl: str
) -> Tensor:
    if impl == "reference":
        from lineament.ops.reference.barycentrics import barycentrics_reference

        with torch.enable_grad():
            leaf = vertices.detach().requires_grad_()
            outputs = barycentrics_reference(leaf, faces, index)
        return torch.autograd.grad(outputs, leaf, (depth_gradient, bary_gradient))[0]
    if impl == "cuda":
        from lineament.ops.numba_cuda.barycentrics import barycentrics_backward_cuda

        return barycentrics_backward_cuda(depth_gradient, bary_gradient, vertices, faces, index)
    from lineament.ops.numba_cpu.barycentrics import barycentrics_backward_band

    gradient = torch.empty_like(vertices)
    arrays = [array.numpy() for array in (depth_gradient, bary_gradient, vertices, faces, index)]
    scatter(barycentrics_backward_band, arrays, gradient, *index.shape)
    return gradient


def _backward_fake(
    depth_gradient: Tensor, bary_gradient: Tensor, vertices: Tensor, faces: Tensor, index: Tensor, impl: str
) -> Tensor:
    return torch.empty_like(vertices)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, str], output: tuple[Tensor, Tensor]) -> None:
    vertices, faces, index, ctx.impl = inputs
    ctx.save_for_backward(vertices, faces, index)


def _backward(ctx: Any, depth_gradient: Tensor, bary_gradient: Tensor) -> tuple[Tensor, None, None, None]:
    gradients = depth_gradient.contiguous(), bary_gradient.contiguous()
    return _barycentrics_backward(*gradients, *ctx.saved_tensors, ctx.impl), None, None, None


_barycentrics = register_op(
    "barycentrics(Tensor vertices, Tensor faces, Tensor index, str impl) -> (Tensor, Tensor)",
    _kernel,
    _fake,
    backward=_backward,
    save=_save,
)
_barycentrics_backward = register_op(
    "barycentrics_backward(Tensor depth_gradient, Tensor bary_gradient, Tensor vertices, Tensor faces, Tensor index, "
    "str impl) -> Tensor",
    _backward_kernel,
    _backward_fake,
)

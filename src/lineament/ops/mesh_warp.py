"""Moves an image along a mesh in the plane, painting triangle over triangle."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.errors import UsageError, unknown_name
from lineament.ops.checks import FLOATS, check_faces
from lineament.ops.dispatch import choose_implementation, refuse_bad_ids, refuse_bad_tables
from lineament.ops.registration import register_op
from lineament.ops.threads import row_bands, run_tasks

PADDINGS = ("repeat", "border")


def mesh_warp(
    image: Tensor,
    source: Tensor,
    target: Tensor,
    triangles: Tensor,
    height: int,
    width: int,
    *,
    padding: str = "repeat",
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Paint the triangles of an image at new places, in the order of their list: a later one covers an earlier one.

    Convention: pixel centres at integers, x right, y down, in both images. A centre on an edge belongs to the
    triangle whose top or left edge it is. Inside a triangle the image is mapped affinely and read bilinearly, without
    a pyramid: where it shrinks by more than two it aliases. There is no depth and no culling; a triangle without area
    in the target, or with a coordinate that is not finite, is left out. Not differentiable.

    Made for meshes of some hundred triangles: the GPU kernel asks all of them at every pixel. For larger meshes and
    hidden surfaces use :func:`lineament.ops.rasterize`.

    Args:
        image: ``[N, C, Hs, Ws]``, or ``[1, C, Hs, Ws]`` for all views, float32 or float64.
        source: ``[N, K, 2]`` or ``[1, K, 2]`` xy of the vertices in ``image``, pixels; may lie outside.
        target: ``[N, K, 2]`` xy of the vertices in the result, pixels.
        triangles: ``[F, 3]`` vertex ids in painting order, int32.
        height: Rows of the result.
        width: Columns of the result.
        padding: Outside the image: ``"repeat"`` tiles it, ``"border"`` repeats the last pixel.
        impl: ``"auto"``, ``"reference"``, ``"numba"`` or ``"cuda"``.

    Returns:
        ``[N, C, H, W]`` in the type of the image, zero where nothing is painted, and ``[N, H, W]`` int32 ids of the
        triangle on top, -1 where there is none.

    Raises:
        UsageError: On wrong shapes, types, sizes or an unknown word.
        DataError: If a triangle names a vertex that does not exist (CPU; the GPU kernel skips such a triangle).
    """
    _check(image, source, target, triangles)
    if padding not in PADDINGS:
        raise unknown_name("padding", padding, PADDINGS)
    if height < 0 or width < 0:
        raise UsageError(f"height and width must be 0 or more, got {height} x {width}.")
    faces = check_faces(triangles, 1)[0]
    views = target.shape[0]
    places = [points.detach().double().expand(views, -1, -1).contiguous() for points in (source, target)]
    pixels = image.detach().contiguous()
    chosen = choose_implementation(impl, pixels, *places, faces)
    warped, index = _mesh_warp(pixels, *places, faces, height, width, padding, chosen)
    return warped, index


def _check(image: Tensor, source: Tensor, target: Tensor, triangles: Tensor) -> None:
    if image.ndim != 4 or image.dtype not in FLOATS or 0 in image.shape[2:]:
        raise UsageError(
            f"image must be [N, C, H, W] float32 or float64 with H and W at least 1, "
            f"got {list(image.shape)} of {image.dtype}."
        )
    for name, points in (("source", source), ("target", target)):
        if points.ndim != 3 or points.shape[-1] != 2 or points.dtype not in FLOATS:
            raise UsageError(
                f"{name} must be [N, K, 2] float32 or float64, got {list(points.shape)} of {points.dtype}."
            )
    views = target.shape[0]
    if image.shape[0] not in (1, views) or source.shape[0] not in (1, views):
        raise UsageError(
            f"image has {image.shape[0]} views and source {source.shape[0]}, but target has {views}: "
            "give one, or one for each."
        )
    if source.shape[1] != target.shape[1]:
        raise UsageError(f"source has {source.shape[1]} vertices but target {target.shape[1]}.")
    if triangles.ndim != 2:
        raise UsageError(f"triangles must be [F, 3] int32, got {list(triangles.shape)}.")


def _kernel(
    image: Tensor,
    source: Tensor,
    target: Tensor,
    triangles: Tensor,
    height: int,
    width: int,
    padding: str,
    impl: str,
) -> tuple[Tensor, Tensor]:
    repeat = padding == "repeat"
    if impl == "reference":
        from lineament.ops.reference.mesh_warp import mesh_warp_reference

        refuse_bad_tables(triangles[None], source.shape[1])
        return mesh_warp_reference(image, source, target, triangles, height, width, repeat)
    views, channels = target.shape[0], image.shape[1]
    warped = image.new_empty((views, channels, height, width))
    index = torch.empty((views, height, width), dtype=torch.int32, device=image.device)
    if impl == "cuda":
        from lineament.ops.numba_cuda.mesh_warp import mesh_warp_cuda

        mesh_warp_cuda(image, source, target, triangles, warped, index, repeat)
        return warped, index
    from lineament.ops.numba_cpu.mesh_warp import mesh_warp_band

    tensors = (image, source, target, triangles, warped, index)
    arrays = (*(tensor.numpy() for tensor in tensors), repeat)
    bad = run_tasks(mesh_warp_band, arrays, row_bands(views, height), index.numel())
    refuse_bad_ids(bad, f"triangles name vertices outside 0..{source.shape[1] - 1}")
    return warped, index


def _fake(
    image: Tensor,
    source: Tensor,
    target: Tensor,
    triangles: Tensor,
    height: int,
    width: int,
    padding: str,
    impl: str,
) -> tuple[Tensor, Tensor]:
    views = target.shape[0]
    return image.new_empty((views, image.shape[1], height, width)), image.new_empty(
        (views, height, width), dtype=torch.int32
    )


_mesh_warp = register_op(
    "mesh_warp(Tensor image, Tensor source, Tensor target, Tensor triangles, SymInt height, SymInt width, "
    "str padding, str impl) -> (Tensor, Tensor)",
    _kernel,
    _fake,
)

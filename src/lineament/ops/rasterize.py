"""Which triangle is seen at each pixel centre."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lineament.errors import UsageError
from lineament.ops.checks import check_mesh
from lineament.ops.dispatch import choose_implementation, refuse_bad_ids, refuse_bad_tables
from lineament.ops.registration import register_op
from lineament.ops.threads import run_tasks, shares, spans

# Time to set up one triangle, in pixels that could be merged meanwhile.
TRIANGLE_COST = 8


def rasterize(vertices: Tensor, faces: Tensor, height: int, width: int, *, impl: str = "auto") -> Tensor:
    """Draw triangles and return the id of the nearest one at every pixel centre.

    Convention: pixel ``(x, y)`` samples the point ``(x, y)``, so an image of width ``W`` spans ``-0.5 .. W - 0.5``; x
    right, y down, z away from the camera. A centre on an edge belongs to the triangle whose top or left edge it is; at
    equal depth (float32) the lower id wins. Both windings are drawn. A triangle is dropped as a whole when a ``z`` is
    not above ``1e-8`` or not finite (there is no clipping at the near plane), or when its area is zero or not finite.
    Edges shared by two triangles leave no hole and are never drawn twice. Not differentiable: see
    :func:`lineament.ops.edge_gradient`.

    Args:
        vertices: ``[N, V, 3]`` x and y in pixels, z the depth (> 0), float32 or float64.
        faces: ``[F, 3]`` or ``[N, F, 3]`` vertex ids, int32.
        height: Rows of the image, 0 or more.
        width: Columns of the image, 0 or more.
        impl: ``"auto"``, ``"reference"``, ``"numba"`` or ``"cuda"``.

    Returns:
        ``[N, H, W]`` int32 triangle ids, -1 where nothing is drawn.

    Raises:
        UsageError: On wrong shapes, types, sizes or an unknown ``impl``.
        DataError: If a face names a vertex that does not exist (CPU; the GPU kernel skips such a face).
    """
    return rasterize_with_depth(vertices, faces, height, width, impl=impl)[0]


def rasterize_with_depth(
    vertices: Tensor, faces: Tensor, height: int, width: int, *, impl: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Like :func:`rasterize`, and also return the depth that decided who is seen.

    Args:
        vertices: See :func:`rasterize`.
        faces: See :func:`rasterize`.
        height: See :func:`rasterize`.
        width: See :func:`rasterize`.
        impl: See :func:`rasterize`.

    Returns:
        ``[N, H, W]`` int32 triangle ids (-1 empty) and ``[N, H, W]`` float32 depth (0 where empty, no gradient; for one
        with gradient use :func:`lineament.ops.barycentrics`).

    Raises:
        UsageError: See :func:`rasterize`.
        DataError: See :func:`rasterize`.
    """
    batched_faces = check_mesh(vertices, faces)
    if height < 0 or width < 0:
        raise UsageError(f"height and width must be 0 or more, got {height} x {width}.")
    chosen = choose_implementation(impl, vertices, faces)
    index, depth = _rasterize(vertices.detach().contiguous(), batched_faces, height, width, chosen)
    return index, depth


def _kernel(vertices: Tensor, faces: Tensor, height: int, width: int, impl: str) -> tuple[Tensor, Tensor]:
    if impl == "reference":
        from lineament.ops.reference.rasterize import rasterize_reference

        refuse_bad_tables(faces, vertices.shape[1])
        return rasterize_reference(vertices, faces, height, width)
    views = vertices.shape[0]
    if impl == "cuda":
        from lineament.ops.numba_cuda.rasterize import rasterize_cuda

        return rasterize_cuda(vertices, faces, height, width)
    from lineament.ops.numba_cpu.rasterize import merge_layer, rasterize_band

    index = torch.empty((views, height, width), dtype=torch.int32)
    depth = torch.empty((views, height, width), dtype=torch.float32)
    layers = [(index.numpy(), depth.numpy())]
    count, parts = faces.shape[1], shares(views)
    # A band of rows has to look at all triangles. Where these are many, each part draws some of them into a layer of
    # its own instead; the nearest of all layers is the same whatever the cut.
    if parts > 1 and count * TRIANGLE_COST > height * width:
        layers += [(np.empty_like(layers[0][0]), np.empty_like(layers[0][1])) for _ in range(parts - 1)]
        cuts = [(*layer, 0, height, *span) for layer, span in zip(layers, spans(count, parts), strict=True)]
    else:
        cuts = [(*layers[0], *band, 0, count) for band in spans(height, parts)]
    tasks = [(*cut[:2], view, *cut[2:]) for view in range(views) for cut in cuts]
    arrays = (vertices.numpy(), faces.numpy())
    bad = run_tasks(rasterize_band, arrays, tasks, index.numel() + views * count)
    for number, layer in enumerate(layers[1:], start=2):
        merge_layer(*layers[0], *layer, number == len(layers))
    refuse_bad_ids(bad, f"faces name vertices outside 0..{vertices.shape[1] - 1}")
    return index, depth


def _fake(vertices: Tensor, faces: Tensor, height: int, width: int, impl: str) -> tuple[Tensor, Tensor]:
    shape = (vertices.shape[0], height, width)
    return vertices.new_empty(shape, dtype=torch.int32), vertices.new_empty(shape, dtype=torch.float32)


_rasterize = register_op(
    "rasterize(Tensor vertices, Tensor faces, SymInt height, SymInt width, str impl) -> (Tensor, Tensor)",
    _kernel,
    _fake,
)

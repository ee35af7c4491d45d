"""What the image gains or loses when a visible edge moves: the gradient that rasterisation itself does not have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lineament.ops.checks import check_image, check_index, check_mesh
from lineament.ops.dispatch import choose_implementation, refuse_bad_ids, refuse_bad_tables
from lineament.ops.registration import register_op
from lineament.ops.threads import scatter

# No edge may move further than this per unit of motion of a triangle (nearly coplanar intersections).
LARGEST_MOTION = 1e4


def edge_gradient(
    vertices: Tensor,
    faces: Tensor,
    bary: Tensor,
    image: Tensor,
    index: Tensor,
    *,
    flat: bool = False,
    impl: str = "auto",
) -> Tensor:
    """Return ``image`` unchanged, with a gradient to the vertices through the edges in it.

    Between two neighbouring pixels A and B with different ids lies a micro-edge. Moving it by ``dp`` along their axis
    changes the loss by ``0.5 (g_A + g_B) . (I_A - I_B) dp``, summed over channels, with ``g`` the gradient of the loss
    (Pidhorskyi et al., Rasterized Edge Gradients, ECCV 2024). That number goes as x or y gradient

    - to the occluding triangle, when one contains the other's pixel centre and not the reverse;
    - to both, and to their depths, when each contains the other's centre: they intersect, and the edge is the line
      where the planes meet;
    - when neither contains the other's centre: to the nearer one if depth jumps between them (small triangles); if
      not, they continue one surface, and nothing happens (``flat=False``: the colours are continuous there, and their
      change is already in the gradient of :func:`lineament.ops.barycentrics`) or both get half (``flat=True``);

    and is spread over the triangle's corners by ``bary``, which is held constant (for x and y turned into ratios of
    areas in the image, in which the edge moves linearly with its corners). The background gets none. Call it
    last: after shading and compositing with the background, before any blur, resampling or masking, which would mix
    pixels on both sides of an edge and spoil the sign. Maps that act on each pixel alone may follow.

    Known bias: the spread uses the pixel centre, half a pixel inside the edge on average, so gradients of single
    vertices are too small by about ``1 px / size of the triangle`` (a 7.3 px quad: 0.79 of the true value).

    Args:
        vertices: ``[N, V, 3]`` x and y in pixels, z the depth (> 0), float32 or float64.
        faces: ``[F, 3]`` or ``[N, F, 3]`` vertex ids, int32.
        bary: ``[N, 3, H, W]`` from :func:`lineament.ops.barycentrics`.
        image: ``[N, C, H, W]`` float, any number of channels (colours, masks, ids ...).
        index: ``[N, H, W]`` int32 triangle ids, -1 empty.
        flat: True when colours are constant in each triangle, so that every border between two is an edge of the image.
        impl: ``"auto"``, ``"reference"``, ``"numba"`` or ``"cuda"``.

    Returns:
        ``[N, C, H, W]``, equal to ``image``.

    Raises:
        UsageError: On wrong shapes or types or an unknown ``impl``.
        DataError: In the backward pass, if ``index`` names a face that does not exist (CPU; the GPU kernel skips it).
    """
    batched_faces = check_mesh(vertices, faces)
    index = check_index(index, vertices.shape[0])
    bary = check_image("bary", bary, index, channels=3)
    image = check_image("image", image, index)
    chosen = choose_implementation(impl, vertices, faces, bary, image, index)
    result: Tensor = _edge_gradient(
        vertices.contiguous(), batched_faces, bary.detach(), image, index, flat, chosen
    )
    return result


def _kernel(
    vertices: Tensor, faces: Tensor, bary: Tensor, image: Tensor, index: Tensor, flat: bool, impl: str
) -> Tensor:
    return image.clone()


def _fake(
    vertices: Tensor, faces: Tensor, bary: Tensor, image: Tensor, index: Tensor, flat: bool, impl: str
) -> Tensor:
    return torch.empty_like(image)


def _backward_kernel(
    image_gradient: Tensor,
    vertices: Tensor,
    faces: Tensor,
    bary: Tensor,
    image: Tensor,
    index: Tensor,
    flat: bool,
    impl: str,
) -> Tensor:
    tensors = (image_gradient, vertices, faces, bary, image, index)
    if impl == "reference":
        from lineament.ops.reference.edge_gradient import edge_gradient_reference

        refuse_bad_tables(faces, vertices.shape[1], index)
        return edge_gradient_reference(*tensors, flat, LARGEST_MOTION)
    if impl == "cuda":
        from lineament.ops.numba_cuda.edge_gradient import edge_gradient_cuda

        return edge_gradient_cuda(*tensors, flat, LARGEST_MOTION)
    from lineament.ops.numba_cpu.edge_gradient import edge_gradient_band

    gradient = torch.empty_like(vertices)
    arrays = [tensor.numpy() for tensor in tensors]
    bad = scatter(edge_gradient_band, (*arrays, flat, LARGEST_MOTION), gradient, *index.shape)
    refuse_bad_ids(bad, f"index name faces outside 0..{faces.shape[1] - 1}")
    return gradient


def _backward_fake(
    image_gradient: Tensor,
    vertices: Tensor,
    faces: Tensor,
    bary: Tensor,
    image: Tensor,
    index: Tensor,
    flat: bool,
    impl: str,
) -> Tensor:
    return torch.empty_like(vertices)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, bool, str], output: Tensor) -> None:
    *tensors, ctx.flat, ctx.impl = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, image_gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, None, None, None]:
    to_vertices = None
    if ctx.needs_input_grad[0]:
        arguments = (image_gradient.contiguous(), *ctx.saved_tensors, ctx.flat, ctx.impl)
        to_vertices = _edge_gradient_backward(*arguments)
    return to_vertices, None, None, image_gradient, None, None, None


_edge_gradient = register_op(
    "edge_gradient(Tensor vertices, Tensor faces, Tensor bary, Tensor image, Tensor index, bool flat, str impl) "
    "-> Tensor",
    _kernel,
    _fake,
    backward=_backward,
    save=_save,
)
_edge_gradient_backward = register_op(
    "edge_gradient_backward(Tensor image_gradient, Tensor vertices, Tensor faces, Tensor bary, Tensor image, "
    "Tensor index, bool flat, str impl) -> Tensor",
    _backward_kernel,
    _backward_fake,
)

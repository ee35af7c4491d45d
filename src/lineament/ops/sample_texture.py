"""Looks up a texture at every pixel, bilinear or mip-mapped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.errors import UsageError, unknown_name
from lineament.ops.checks import FLOATS, check_index
from lineament.ops.dispatch import choose_implementation
from lineament.ops.registration import register_op
from lineament.ops.threads import row_bands, run_tasks, scatter

PADDINGS = ("border", "zeros")


def sample_texture(
    texture: Tensor,
    uv: Tensor,
    *,
    align_corners: bool,
    index: Tensor | None = None,
    uv_derivative: Tensor | None = None,
    padding: str = "border",
    impl: str = "auto",
) -> Tensor:
    """Sample a texture at texture coordinates.

    Convention: u runs right and v down over the texture as stored, row 0 first (flip v for files with their origin at
    the bottom). With ``align_corners=False``, 0 and 1 are the outer borders of the first and last texel (texel
    ``u * W - 0.5``); with ``True`` they are their centres (texel ``u * (W - 1)``). Differentiable with respect to
    texture and uv. With ``uv_derivative``, blends the two levels of a mip pyramid (each level the area average of the
    one before, half as large) whose texels are next in size to the pixel's longer side in the texture; the choice of
    the level has no gradient.

    Breaks: without ``uv_derivative``, a texture that is drawn smaller than it is stored aliases, and gradients reach
    only the four texels next to each pixel's centre. Isotropic: surfaces seen at a grazing angle blur across.

    Args:
        texture: ``[N, C, Ht, Wt]``, or ``[1, C, Ht, Wt]`` for all views, float32 or float64.
        uv: ``[N, 2, H, W]`` coordinates u, v in 0..1.
        align_corners: See above; always written out.
        index: ``[N, H, W]`` triangle ids; where -1 the result is zero and no gradient flows.
        uv_derivative: ``[N, 2, 2, H, W]``, entry ``[:, i, j]`` the change of coordinate ``i`` per pixel along axis
            ``j`` (0: x, 1: y); see :func:`lineament.ops.screen_derivative`. None: no pyramid.
        padding: Outside the texture: ``"border"`` repeats the last texel, ``"zeros"`` is black.
        impl: ``"auto"``, ``"reference"``, ``"numba"`` or ``"cuda"``.

    Returns:
        ``[N, C, H, W]`` in the type of the texture. A coordinate that is not finite counts as 0 without gradient.

    Raises:
        UsageError: On wrong shapes or types or an unknown word.
    """
    _check(texture, uv, uv_derivative)
    if padding not in PADDINGS:
        raise unknown_name("padding", padding, PADDINGS)
    n = uv.shape[0]
    uv = uv.to(texture.dtype)
    texture = texture.expand(n, -1, -1, -1)
    mask = None if index is None else check_index(index, n) >= 0
    packed, level, levels = texture.flatten(2), None, 1
    if uv_derivative is not None:
        packed, levels = _pyramid(texture)
        level = _level(uv_derivative.to(uv), texture.shape[2], texture.shape[3], levels)
    tensors = [packed.contiguous(), uv.contiguous(), *([] if level is None else [level])]
    chosen = choose_implementation(impl, *tensors)
    image: Tensor = _sample(
        tensors[0],
        tensors[1],
        level,
        texture.shape[2],
        texture.shape[3],
        levels,
        align_corners,
        padding,
        chosen,
    )
    return image if mask is None else torch.where(mask[:, None], image, 0)


def screen_derivative(
    attributes: Tensor, vertices: Tensor, faces: Tensor, index: Tensor, bary: Tensor
) -> Tensor:
    """Change of an interpolated attribute from each pixel to its right and lower neighbour on the triangle's plane.

    Args:
        attributes: ``[N, V, C]`` as for :func:`lineament.ops.interpolate`.
        vertices: ``[N, V, 3]`` projected vertices with the same corner ids as ``attributes``.
        faces: ``[F, 3]`` or ``[N, F, 3]``.
        index: ``[N, H, W]``.
        bary: ``[N, 3, H, W]`` from :func:`lineament.ops.barycentrics`.

    Returns:
        ``[N, C, 2, H, W]`` (x, then y) without gradient; zero where empty.
    """
    from lineament.ops.barycentrics import barycentrics
    from lineament.ops.interpolate import interpolate

    with torch.no_grad():
        here = interpolate(attributes, faces, index, bary)
        steps = []
        for axis in range(2):
            shift = vertices.new_zeros(3)
            shift[axis] = 1
            moved = barycentrics(vertices - shift, faces, index)[1]
            steps.append(interpolate(attributes, faces, index, moved) - here)
        return torch.stack(steps, dim=2)


def _check(texture: Tensor, uv: Tensor, uv_derivative: Tensor | None) -> None:
    if texture.ndim != 4 or texture.dtype not in FLOATS or 0 in texture.shape[2:]:
        raise UsageError(
            f"texture must be [N, C, Ht, Wt] float32 or float64 with Ht and Wt at least 1, "
            f"got {list(texture.shape)} of {texture.dtype}."
        )
    if uv.ndim != 4 or uv.shape[1] != 2 or not uv.is_floating_point():
        raise UsageError(f"uv must be [N, 2, H, W] float, got {list(uv.shape)} of {uv.dtype}.")
    if texture.shape[0] not in (1, uv.shape[0]):
        raise UsageError(
            f"texture has {texture.shape[0]} views but uv has {uv.shape[0]}: give one, or one for each."
        )
    n, _, h, w = uv.shape
    if uv_derivative is not None and tuple(uv_derivative.shape) != (n, 2, 2, h, w):
        raise UsageError(f"uv_derivative must be {[n, 2, 2, h, w]}, got {list(uv_derivative.shape)}.")


def _pyramid(texture: Tensor) -> tuple[Tensor, int]:
    """All levels behind one another ``[N, C, T]``, and their number."""
    levels = [texture]
    while levels[-1].shape[2] > 1 or levels[-1].shape[3] > 1:
        h, w = levels[-1].shape[2:]
        levels.append(F.adaptive_avg_pool2d(levels[-1], (max(1, h // 2), max(1, w // 2))))
    return torch.cat([level.flatten(2) for level in levels], dim=2), len(levels)


def _level(uv_derivative: Tensor, height: int, width: int, levels: int) -> Tensor:
    """Pyramid level ``[N, H, W]``: log2 of the longer side of the pixel, in texels of level 0."""
    texels = uv_derivative.detach() * uv_derivative.new_tensor([width, height]).view(2, 1, 1, 1)
    side = texels.square().sum(1).amax(1).sqrt()
    return side.nan_to_num(0.0).clamp(min=1).log2().clamp(max=levels - 1).contiguous()


def _kernel(
    packed: Tensor,
    uv: Tensor,
    level: Tensor | None,
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    padding: str,
    impl: str,
) -> Tensor:
    border = padding == "border"
    if impl == "reference":
        from lineament.ops.reference.sample_texture import sample_texture_reference

        return sample_texture_reference(packed, uv, level, height, width, levels, align_corners, border)
    known = uv.new_zeros((0, 0, 0)) if level is None else level
    if impl == "cuda":
        from lineament.ops.numba_cuda.sample_texture import sample_texture_cuda

        return sample_texture_cuda(packed, uv, known, height, width, levels, align_corners, border)
    from lineament.ops.numba_cpu.sample_texture import sample_band

    n, _, h, w = uv.shape
    image = packed.new_empty((n, packed.shape[1], h, w))
    arrays = [tensor.numpy() for tensor in (packed, uv, known, image)]
    run_tasks(
        sample_band, (*arrays, height, width, levels, align_corners, border), row_bands(n, h), n * h * w
    )
    return image


def _fake(
    packed: Tensor,
    uv: Tensor,
    level: Tensor | None,
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    padding: str,
    impl: str,
) -> Tensor:
    return packed.new_empty((uv.shape[0], packed.shape[1], uv.shape[2], uv.shape[3]))


def _backward_kernel(
    gradient: Tensor,
    packed: Tensor,
    uv: Tensor,
    level: Tensor | None,
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    padding: str,
    impl: str,
) -> tuple[Tensor, Tensor]:
    border = padding == "border"
    if impl == "reference":
        from lineament.ops.reference.sample_texture import sample_texture_reference

        with torch.enable_grad():
            leaves = packed.detach().requires_grad_(), uv.detach().requires_grad_()
            image = sample_texture_reference(*leaves, level, height, width, levels, align_corners, border)
        to_packed, to_uv = torch.autograd.grad(image, leaves, gradient)
        return to_packed, to_uv
    known = uv.new_zeros((0, 0, 0)) if level is None else level
    if impl == "cuda":
        from lineament.ops.numba_cuda.sample_texture import sample_texture_backward_cuda

        return sample_texture_backward_cuda(
            gradient, packed, uv, known, height, width, levels, align_corners, border
        )
    from lineament.ops.numba_cpu.sample_texture import sample_backward_band

    to_packed, to_uv = torch.empty_like(packed), torch.empty_like(uv)
    arrays = [tensor.numpy() for tensor in (gradient, packed, uv, known, to_uv)]
    arguments = (*arrays, height, width, levels, align_corners, border)
    scatter(sample_backward_band, arguments, to_packed, uv.shape[0], *uv.shape[2:])
    return to_packed, to_uv


def _backward_fake(
    gradient: Tensor,
    packed: Tensor,
    uv: Tensor,
    level: Tensor | None,
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    padding: str,
    impl: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(packed), torch.empty_like(uv)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    packed, uv, level, *ctx.options = inputs
    ctx.save_for_backward(packed, uv, level)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    to_packed, to_uv = _sample_backward(gradient.contiguous(), *ctx.saved_tensors, *ctx.options)
    return to_packed, to_uv, *(None,) * 7


_OPTIONS = "SymInt height, SymInt width, int levels, bool align_corners, str padding, str impl"
_sample = register_op(
    f"sample_texture(Tensor packed, Tensor uv, Tensor? level, {_OPTIONS}) -> Tensor",
    _kernel,
    _fake,
    backward=_backward,
    save=_save,
)
_sample_backward = register_op(
    f"sample_texture_backward(Tensor gradient, Tensor packed, Tensor uv, Tensor? level, {_OPTIONS}) "
    "-> (Tensor, Tensor)",
    _backward_kernel,
    _backward_fake,
)

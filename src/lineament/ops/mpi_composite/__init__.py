"""The multiplane renderer: warps planes into cameras and lays them over each other.

Usage, for M multiplane images seen by V cameras (V a multiple of M; each image is seen by V / M cameras in a row, which
share its textures)::

    image, depth, opacity = mpi_composite(alpha, colour, background, planes, eye, rays, 256, 256)

Plane k is the rectangle z = planes[k, 0] of height planes[k, 1] and width planes[k, 2], centred on the z axis; its
outermost texels lie on its border, and beyond them it fades to nothing within one texel. For the ray through a pixel
with texture values a_k and c_k where it meets plane k, and camera depth s_k there,
``T_k = prod_{j<k} (1 - a_j + 1e-10)``, image ``sum a_k T_k c_k``, depth ``sum a_k T_k s_k``, opacity ``sum a_k T_k``.

World frame: x right, y down, z away from the viewer. Gradients reach the textures alone.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name
from lineament.ops.dispatch import device_of
from lineament.ops.mpi_composite import registered

IMPLEMENTATIONS = ("auto", "reference", "numba", "triton")
OUTSIDE = ("raise", "clamp", "zero")


class Composite(NamedTuple):
    """What the cameras see.

    Attributes:
        image: ``[V, 3, H, W]`` in the range of the colours.
        depth: ``[V, H, W]`` distance along the optical axis, weighted by opacity and not divided by it.
        opacity: ``[V, H, W]`` share of the light that comes from the planes.
    """

    image: Tensor
    depth: Tensor
    opacity: Tensor


def mpi_composite(
    alpha: Tensor,
    colour: Tensor,
    background: Tensor | None,
    planes: Tensor,
    eye: Tensor,
    rays: Tensor,
    height: int,
    width: int,
    *,
    outside: str = "raise",
    stop: float = 0.0,
    impl: str = "auto",
) -> Composite:
    """Render multiplane images.

    Args:
        alpha: ``[M, P, Ht, Wt]`` opacity of each plane, 0..1, the nearest plane first; float32 or float64.
        colour: ``[M, 3, Ht, Wt]`` shared by the planes, or ``[M, P, 3, Ht, Wt]`` of each plane.
        background: ``[M, 3, Ht, Wt]`` colour of the last plane; None: as ``colour`` has it.
        planes: ``[P, 3]`` z, height, width, z ascending. No gradient.
        eye: ``[V, 3]`` positions of the cameras, in front of the first plane. No gradient.
        rays: ``[V, 3, 3]``: times (column, row, 1) gives the ray of a pixel in the world, of length 1 along the optical
            axis. No gradient.
        height: Rows of the image.
        width: Columns.
        outside: Where a pixel's ray passes the last plane by: ``"raise"`` an error, ``"clamp"`` repeats that plane's
            border, ``"zero"`` leaves the pixel empty.
        stop: Stop behind planes that let less than this share of the light through, and take planes for empty whose
            alphas are together less than half of it; 0 is exact. The result is off by at most twice this share of the
            range of the values, and so are gradients, which are off by 1e-12 in any case. The twin never stops.
        impl: ``"auto"`` (numba on a CPU, triton on a GPU, for float32), ``"reference"``, ``"numba"`` or ``"triton"``.

    Returns:
        Image, depth and opacity in the precision of alpha.

    Raises:
        DataError: If the shapes do not fit together.
        UsageError: If a word is unknown, a camera is behind a plane or looks away from the planes, a ray passes the
            last plane by, or the implementation cannot run here.
    """
    if outside not in OUTSIDE:
        raise unknown_name("outside", outside, OUTSIDE)
    if not 0 <= stop < 1:
        raise UsageError(f"stop must be a share of the light from 0 (exact) to below 1, not {stop}.")
    if height < 1 or width < 1:
        raise UsageError(f"an image needs at least one row and one column, got {height} x {width}.")
    layers = _colour_layers(alpha, colour, background)
    planes, eye, rays = (each.detach().to(alpha.device, torch.float64) for each in (planes, eye, rays))
    _check_geometry(alpha, planes, eye, rays)
    _check_sight(planes, eye, rays, height, width, outside)
    image, depth, opacity = registered.mpi_composite(
        alpha.contiguous(),
        layers.contiguous(),
        planes.contiguous(),
        eye.contiguous(),
        rays.contiguous(),
        height,
        width,
        outside == "clamp",
        float(stop),
        _choose(impl, alpha, layers),
    )
    return Composite(image, depth, opacity)


def _colour_layers(alpha: Tensor, colour: Tensor, background: Tensor | None) -> Tensor:
    """The colours as ``[M, G, 3, Ht, Wt]``: one layer for all planes, or two with the background, or one for each."""
    if alpha.ndim != 4 or 0 in alpha.shape or alpha.dtype not in (torch.float32, torch.float64):
        raise DataError(
            f"alpha must be [M, P, Ht, Wt] float32 or float64, got {list(alpha.shape)} of {alpha.dtype}."
        )
    images, count, *size = alpha.shape
    shared, each = (images, 3, *size), (images, count, 3, *size)
    if tuple(colour.shape) not in (shared, each) or colour.dtype != alpha.dtype:
        raise DataError(
            f"colour must be {list(shared)} or {list(each)} of {alpha.dtype} for this alpha, got "
            f"{list(colour.shape)} of {colour.dtype}."
        )
    if background is None:
        return colour[:, None] if colour.ndim == 4 else colour
    if colour.ndim == 5 or tuple(background.shape) != shared or background.dtype != alpha.dtype:
        raise DataError(
            f"a background of {list(background.shape)} {background.dtype} belongs to one colour image for all planes "
            f"and must be {list(shared)} of {alpha.dtype}; colour is {list(colour.shape)}."
        )
    return torch.stack([colour, background], dim=1)


def _check_geometry(alpha: Tensor, planes: Tensor, eye: Tensor, rays: Tensor) -> None:
    images, count = alpha.shape[:2]
    if tuple(planes.shape) != (count, 3):
        raise DataError(
            f"alpha has {count} planes, so planes must be [{count}, 3], got {list(planes.shape)}."
        )
    views = len(eye)
    if tuple(eye.shape) != (views, 3) or tuple(rays.shape) != (views, 3, 3) or views % images or not views:
        raise DataError(
            f"{images} multiplane images need eye [V, 3] and rays [V, 3, 3] with V a multiple of {images}, got "
            f"{list(eye.shape)} and {list(rays.shape)}."
        )
    z = planes[:, 0]
    if not bool(planes.isfinite().all() and (planes[:, 1:] > 0).all() and (z.diff() >= 0).all()):
        raise DataError("planes must be finite, of positive height and width, the nearest first.")


def _check_sight(planes: Tensor, eye: Tensor, rays: Tensor, height: int, width: int, outside: str) -> None:
    """Refuse cameras that see the planes from behind or look away, and rays that pass the last plane by."""
    if not bool((eye[:, 2] <= planes[0, 0]).all()):
        raise UsageError(
            f"a camera at z = {float(eye[:, 2].max()):.4g} is behind the first plane at z = {float(planes[0, 0]):.4g}: "
            "give poses from which all planes are in front."
        )
    # What holds at the corners of the image holds in it: rays between them meet a plane between where these meet it.
    right, bottom = width - 1.0, height - 1.0
    corners = eye.new_tensor([[0.0, right, 0.0, right], [0.0, 0.0, bottom, bottom], [1.0] * 4])
    directions = rays @ corners  # [V, 3, corners]
    if not bool((directions[:, 2] > 0).all()):
        raise UsageError(
            "a camera looks away from the planes: give poses from which all rays run towards them."
        )
    if outside != "raise":
        return
    last = planes[-1]
    reach = (last[0] - eye[:, 2])[:, None, None] * directions[:, :2] / directions[:, 2:]
    share = ((eye[:, :2, None] + reach).abs() / (last[1:].flip(0)[:, None] / 2)).amax(dim=(1, 2))
    # The corners of the largest range may lie on the border, up to rounding.
    if bool((share > 1 + 1e-9).any()):
        number = int(share.argmax())
        raise UsageError(
            f"rays of view {number} pass the last plane by (they reach {float(share[number]):.3f} of its half size): "
            "give a smaller angle, or outside='clamp' to repeat the plane's border, or 'zero' to leave them empty."
        )


def _choose(impl: str, alpha: Tensor, colour: Tensor) -> str:
    """Resolve ``impl`` for the tensors."""
    device, single = device_of(impl, IMPLEMENTATIONS, alpha, colour), alpha.dtype == torch.float32
    if impl == "numba" and (device != "cpu" or not single):
        raise UsageError(
            f"impl='numba' needs float32 on a CPU, not {alpha.dtype} on {device}: give impl='auto'."
        )
    if impl == "triton":
        if find_spec("triton") is None:
            raise UsageError(
                "impl='triton' needs the package triton: install lineament[gpu] or give impl='auto'."
            )
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        if not single or (device != "cuda" and not interpreted):
            raise UsageError(
                f"impl='triton' needs float32 on CUDA, not {alpha.dtype} on {device}: give impl='auto'."
            )
    if impl != "auto":
        return impl
    if not single:
        return "reference"
    if device == "cuda" and find_spec("triton") is not None:
        return "triton"
    return "numba" if device == "cpu" else "reference"

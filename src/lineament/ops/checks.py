"""Refuses arguments of the wrong shape or type with one sentence."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.errors import UsageError

FLOATS = (torch.float32, torch.float64)


def _refuse(name: str, wanted: str, tensor: Tensor) -> UsageError:
    return UsageError(f"{name} must be {wanted}, got {list(tensor.shape)} of {tensor.dtype}.")


def check_mesh(vertices: Tensor, faces: Tensor) -> Tensor:
    """Check a batch of projected meshes.

    Args:
        vertices: ``[N, V, 3]`` float32 or float64.
        faces: ``[F, 3]`` or ``[N, F, 3]`` int32 or int64.

    Returns:
        The faces as contiguous int32 ``[1, F, 3]`` or ``[N, F, 3]``.

    Raises:
        UsageError: On any other shape or type.
    """
    if vertices.ndim != 3 or vertices.shape[-1] != 3 or vertices.dtype not in FLOATS:
        raise _refuse("vertices", "[N, V, 3] float32 or float64 (x, y in pixels, z depth)", vertices)
    return check_faces(faces, vertices.shape[0])


def check_faces(faces: Tensor, views: int) -> Tensor:
    """Check triangle corner ids; see :func:`check_mesh`."""
    if faces.ndim not in (2, 3) or faces.shape[-1] != 3 or faces.dtype not in (torch.int32, torch.int64):
        raise _refuse("faces", "[F, 3] or [N, F, 3] int32", faces)
    if faces.ndim == 3 and faces.shape[0] != views:
        raise UsageError(f"faces have {faces.shape[0]} views but the vertices or attributes have {views}.")
    batched = faces if faces.ndim == 3 else faces[None]
    return batched.to(torch.int32).contiguous()


def check_index(index: Tensor, views: int) -> Tensor:
    """Check an index image ``[N, H, W]`` and return it as contiguous int32.

    Raises:
        UsageError: On another shape, type or number of views.
    """
    if index.ndim != 3 or index.dtype not in (torch.int32, torch.int64):
        raise _refuse("index", "[N, H, W] int32 (-1 = empty)", index)
    if index.shape[0] != views:
        raise UsageError(f"index has {index.shape[0]} views but the vertices or attributes have {views}.")
    return index.to(torch.int32).contiguous()


def check_image(name: str, image: Tensor, index: Tensor, channels: int | None = None) -> Tensor:
    """Check that ``image`` is ``[N, C, H, W]`` float over the pixels of ``index`` and return it contiguous.

    Raises:
        UsageError: On another shape, type or number of channels.
    """
    n, h, w = index.shape
    fits = image.ndim == 4 and (image.shape[0], *image.shape[2:]) == (n, h, w) and image.dtype in FLOATS
    if not fits or (channels is not None and image.shape[1] != channels):
        raise _refuse(name, f"[{n}, {channels or 'C'}, {h}, {w}] float32 or float64", image)
    return image.contiguous()

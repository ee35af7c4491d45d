"""Many small images on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import ImageDraw
from torch import Tensor

from lineament.eight_bit import from_pil, to_pil
from lineament.errors import UsageError
from lineament.files import replacing


def contact_sheet(
    images: Sequence[Tensor],
    columns: int | None = None,
    tile: int | None = None,
    landmarks: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """Lay images out in rows.

    Args:
        images: ``[3, H, W]`` images in 0..1, of any sizes.
        columns: Images in a row; about as many as rows when not given.
        tile: Side of a tile in pixels; the first image's larger side when not given. Images are scaled to fit.
        landmarks: For each image ``[K, 2]`` points to dot on it, in its own pixels, or None.

    Returns:
        ``[3, rows * tile, columns * tile]`` sheet in 0..1, grey where there is no image.

    Raises:
        UsageError: When there is no image.
    """
    if not images:
        raise UsageError("a contact sheet needs at least one image.")
    columns = columns or math.ceil(math.sqrt(len(images)))
    tile = tile or max(images[0].shape[1:])
    rows = math.ceil(len(images) / columns)
    sheet = torch.full((3, rows * tile, columns * tile), 0.5)
    for number, image in enumerate(images):
        scale = tile / max(image.shape[1:])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[2] * scale)))
        small = image[None].float()
        if size != tuple(image.shape[1:]):
            small = F.interpolate(small, size, mode="bilinear", antialias=True, align_corners=False)
        thumbnail = small[0].clamp(0, 1)
        points = landmarks[number] if landmarks is not None else None
        if points is not None:
            # Integer pixel centres: scaling by s moves c to (c + 0.5) s - 0.5.
            thumbnail = _dot(thumbnail, (points.float() + 0.5) * scale - 0.5, radius=max(tile / 160, 0.7))
        top, left = number // columns * tile, number % columns * tile
        top, left = top + (tile - size[0]) // 2, left + (tile - size[1]) // 2
        sheet[:, top : top + size[0], left : left + size[1]] = thumbnail
    return sheet


def write_sheet(sheet: Tensor, path: Path, overwrite: bool = False, quality: int = 88) -> Path:
    """Write a sheet as PNG or JPEG; raises ``UsageError`` when the file is there and ``overwrite`` is not set."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists: choose another name or add --overwrite.")
    options: dict[str, Any] = {"quality": quality} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    with replacing(path) as temporary:
        to_pil(sheet).save(temporary, **options)
    return path


def _dot(thumbnail: Tensor, points: Tensor, radius: float) -> Tensor:
    image = to_pil(thumbnail)
    draw = ImageDraw.Draw(image)
    for x, y in points.tolist():
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(40, 255, 60))
    return from_pil(image)

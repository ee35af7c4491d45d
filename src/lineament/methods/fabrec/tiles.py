"""Images of what a landmark model sees and says of one face, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ImageDraw
from torch import Tensor

from lineament.eight_bit import from_pil, to_pil
from lineament.faces.schemes import LandmarkScheme

# White pixels between tiles.
GAP = 2
# Least side of a tile: smaller images are enlarged so that numbers can be read on them.
TILE = 128
# Opacity of heatmaps over an image.
OPACITY = 0.45


@dataclass(frozen=True)
class Look:
    """Everything the model sees and says of one face, in pixels of its image.

    Attributes:
        image: ``[3, S, S]`` in 0..1.
        reconstruction: ``[3, S, S]`` in 0..1.
        heatmaps: ``[K, h, h]`` raw.
        points: ``[K, 2]``.
    """

    image: Tensor
    reconstruction: Tensor
    heatmaps: Tensor
    points: Tensor


def tile_images(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Lay images ``[3, h, w]`` of one size out in rows, 2 px of white to the right of and below each."""
    padded = [torch.cat([F.pad(tile, (0, GAP, 0, GAP), value=1.0) for tile in row], dim=2) for row in rows]
    return torch.cat(padded, dim=1)


def enlarged(image: Tensor, side: int = TILE) -> Tensor:
    """An image at whole multiples of its size until it is at least ``side`` wide."""
    factor = -(-side // image.shape[-1])
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2) if factor > 1 else image


def coloured(values: Tensor, name: str, low: float, high: float) -> Tensor:
    """A map ``[h, w]`` in the colours of a matplotlib map: ``[3, h, w]``."""
    scaled = ((values - low) / (high - low)).clamp(0, 1)
    import matplotlib  # slow to import, and most images need none of its colours

    colours = matplotlib.colormaps[name](scaled.numpy())[..., :3]
    return torch.from_numpy(np.ascontiguousarray(colours)).permute(2, 0, 1).float()


def heatmap_overlay(image: Tensor, heatmaps: Tensor, opacity: float = OPACITY) -> Tensor:
    """All heatmaps over an image: image + opacity * inferno(max_k h^3), as published.

    Args:
        image: ``[3, S, S]`` in 0..1.
        heatmaps: ``[K, h, h]`` raw.
        opacity: Weight of the colours.
    """
    # Cubed and coloured before they are enlarged: enlarged first, the peaks would be of another height.
    colours = coloured(heatmaps.amax(0).clamp(0, 1) ** 3, "inferno", 0.0, 1.0)
    large = F.interpolate(colours[None], image.shape[-2:], mode="bicubic", align_corners=False)[0]
    return (image + opacity * large).clamp(0, 1)


def with_landmarks(image: Tensor, points: Tensor, layout: LandmarkScheme) -> Tensor:
    """Draw contours and points ``[K, 2]`` into an image ``[3, h, w]``."""
    canvas = to_pil(image)
    pen = ImageDraw.Draw(canvas)
    radius = max(1.0, image.shape[-1] / 120)
    places = [tuple(point) for point in points.tolist()]
    for contour in layout.contours:
        line = [places[index] for index in contour.indices]
        pen.line(line + line[:1] if contour.closed else line, fill=(64, 200, 255), width=1)
    for x, y in places:
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(64, 255, 64))
    return from_pil(canvas)


def five_tiles(look: Look, layout: LandmarkScheme) -> list[Tensor]:
    """Input, reconstruction, heatmaps over the input, landmarks in the reconstruction, landmarks in the input."""
    large = [enlarged(look.image), enlarged(look.reconstruction)]
    factor = large[0].shape[-1] / look.image.shape[-1]
    points = (look.points + 0.5) * factor - 0.5
    return [
        *large,
        heatmap_overlay(large[0], look.heatmaps),
        with_landmarks(large[1], points, layout),
        with_landmarks(large[0], points, layout),
    ]

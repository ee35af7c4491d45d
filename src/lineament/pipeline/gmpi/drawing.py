"""Images of multiplane images: views, depths, planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lineament.eight_bit import to_array
from lineament.files import replacing
from lineament.geometry.multiplane import MultiplaneImage
from lineament.methods.gmpi.figures import image_grid

# Columns of a grid of planes, as published, and the longest side of one of its cells.
COLUMNS, LARGEST_CELL = 8, 256


def depth_image(image: MultiplaneImage, depth: Tensor, colours: str) -> Tensor:
    """Depths ``[V, H, W]`` as images ``[V, 3, H, W]``: grey (near black, far white) or turbo (near red, far blue)."""
    share = image.depth_share(depth).cpu()
    if colours == "grey":
        return share[:, None].expand(-1, 3, -1, -1)
    from matplotlib import colormaps

    painted = colormaps["turbo"](1 - share.numpy())[..., :3]
    return torch.from_numpy(painted).float().permute(0, 3, 1, 2)


def alpha_grid(image: MultiplaneImage) -> Tensor:
    """The opacity of all planes ``[3, ...]``, the nearest first, eight in a row; black is empty, white opaque."""
    return image_grid(_cells(image.alpha[:, None]).expand(-1, 3, -1, -1), COLUMNS, 0.0)


def rgba_grid(image: MultiplaneImage) -> Tensor:
    """The planes with their colours and opacities ``[4, ...]``, the nearest first, eight in a row."""
    count = len(image.alpha)
    colours = torch.cat([image.colour.expand(count - 1, -1, -1, -1), image.background[None]])
    alpha = image.alpha[:, None]
    # Averages of transparent texels count by their opacity.
    cells = _cells(torch.cat([colours * alpha, alpha], 1))
    opacity = cells[:, 3:]
    return image_grid(
        torch.cat([cells[:, :3] / opacity.clamp(min=1e-4), opacity], 1).clamp(0, 1), COLUMNS, 0.0
    )


def write_rgba(path: Path, image: Tensor) -> Path:
    """Write ``[4, H, W]`` in 0..1 as PNG with transparency; it is complete or absent."""
    with replacing(path) as temporary:
        Image.fromarray(np.ascontiguousarray(to_array(image))).save(temporary, "PNG")
    return path


def _cells(planes: Tensor) -> Tensor:
    """``[P, C, H, W]`` on the CPU, made smaller where they are larger than a cell."""
    planes = planes.cpu()
    factor = LARGEST_CELL / max(planes.shape[2:])
    if factor >= 1:
        return planes
    size = [max(1, round(side * factor)) for side in planes.shape[2:]]
    return F.interpolate(planes, size, mode="area")

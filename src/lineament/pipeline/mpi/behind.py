"""What a photo does not show: colours behind a person and beyond the border, from what is seen beside it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def spread(image: Tensor, known: Tensor) -> Tensor:
    """Fill an image smoothly from where it is known, the nearest counting most (pull-push over a pyramid).

    Args:
        image: ``[C, H, W]``.
        known: ``[H, W]`` weights 0..1; where they are 1, values stay; at least one must be above 0.

    Returns:
        ``[C, H, W]``.
    """
    height, width = known.shape
    if min(height, width) <= 1 and max(height, width) <= 1:
        return image
    weight = known[None, None].to(image)
    pad = (0, width % 2, 0, height % 2)
    sums = F.avg_pool2d(F.pad(image[None] * weight, pad), 2)
    weights = F.avg_pool2d(F.pad(weight, pad), 2)
    coarse = sums / weights.clamp(min=1e-8)
    below = spread(coarse[0], (4 * weights[0, 0]).clamp(max=1))
    above = F.interpolate(below[None], scale_factor=2, mode="bilinear", align_corners=False)[
        0, :, :height, :width
    ]
    return weight[0] * image + (1 - weight[0]) * above

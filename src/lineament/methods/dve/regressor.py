"""Landmark regressor on frozen descriptors: per landmark, many soft-argmax points and one linear map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lineament.nn.soft_argmax import soft_argmax


class LandmarkRegressor(nn.Module):
    """K landmarks from a descriptor map through I virtual points each (section 3.3 of the paper).

    Every virtual point is a learnt descriptor; where it matches the map, softly, is its position. A linear map per
    landmark turns its I positions into one. The names of the parameters are those of the published checkpoints.

    Args:
        channels: Descriptor dimensions C.
        landmarks: Number of annotated landmarks K.
        intermediate: Virtual points I per landmark; 50 in the published runs.
        sharpness: Factor on the match scores before the softmax; 100 in the published runs.
        upsample: Double the resolution of the descriptors first, bilinearly; no published run does.
    """

    def __init__(
        self,
        channels: int,
        landmarks: int,
        intermediate: int = 50,
        sharpness: float = 100.0,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.landmarks = landmarks
        self.intermediate = intermediate
        self.sharpness = sharpness
        self.inner_conv = nn.Conv2d(channels, landmarks * intermediate, 1, bias=False)
        self.reg_conv = nn.Conv2d(
            landmarks * 2 * intermediate, 2 * landmarks, 1, groups=landmarks, bias=False
        )
        nn.init.normal_(self.inner_conv.weight)
        bound = (2 * intermediate) ** -0.5
        nn.init.uniform_(self.reg_conv.weight, -bound, bound)

    def forward(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Find the landmarks.

        Args:
            descriptors: ``[B, C, H, W]``; no gradient flows back into them.

        Returns:
            Landmarks ``[B, K, 2]`` and virtual points ``[B, K, I, 2]``, both xy in -1..1 where -1 and 1 are the
            centres of the border points of the feature grid.
        """
        if self.upsample:
            descriptors = nn.functional.interpolate(
                descriptors, scale_factor=2, mode="bilinear", align_corners=False
            )
        scores = self.inner_conv(descriptors.detach())  # [B, K*I, H, W]
        points = soft_argmax(self.sharpness * scores)  # [B, K*I, 2]
        landmarks = self.reg_conv(points.flatten(1)[:, :, None, None])  # [B, 2*K, 1, 1]
        batch = len(descriptors)
        return landmarks.view(batch, self.landmarks, 2), points.view(
            batch, self.landmarks, self.intermediate, 2
        )


def landmark_loss(
    predicted: Tensor, target: Tensor, alpha: float = 10.0, known: Tensor | None = None
) -> Tensor:
    """Smooth L1 of ``alpha`` times the coordinates, mean over all landmarks that are known.

    Args:
        predicted: ``[B, K, 2]`` in -1..1.
        target: The same; anything where a landmark is not known.
        alpha: Factor on both.
        known: ``[B, K]`` bool; all count when None. With none known the loss is 0.
    """
    if known is None:
        return nn.functional.smooth_l1_loss(alpha * predicted, alpha * target)
    # Chosen before the difference is taken: no number, however large, passes through a product with zero.
    target = torch.where(known[..., None], target, predicted.detach())
    each = nn.functional.smooth_l1_loss(alpha * predicted, alpha * target, reduction="none")
    return each.sum() / (predicted.shape[-1] * known.sum()).clamp(min=1)


def to_unit(points: Tensor, width: int, height: int) -> Tensor:
    """Pixels ``[..., 2]`` -> -1..1 (corner-aligned: the outermost pixel centres are -1 and 1)."""
    size = points.new_tensor([width - 1, height - 1])
    return 2 * points / size - 1


def to_pixels(points: Tensor, width: int, height: int) -> Tensor:
    """Inverse of :func:`to_unit`."""
    size = points.new_tensor([width - 1, height - 1])
    return (points + 1) * size / 2

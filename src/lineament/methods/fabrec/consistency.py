"""What unlabelled faces teach landmarks: a moved image has its landmarks where the unmoved one has them.

A teacher, the moving average of the networks, finds landmarks in the plain image of an unlabelled face; the networks
must find them, moved along, in an image that is turned, shifted, mirrored and of another appearance (equivariant
landmarks: Honari et al., "Improving Landmark Localization with Semi-Supervised Learning", CVPR 2018; mean teacher:
Tarvainen and Valpola, NeurIPS 2017). Not part of the published 3FabRec.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.faces.schemes import LandmarkScheme
from lineament.nn.soft_argmax import edge_aligned, soft_moments

# Spread of a teacher's heatmap, as a share of the image's side, at which its answer counts exp(-1/2).
CONFIDENCE_SIGMA = 0.1


def pseudo_labels(
    scores: Tensor, clean_to_augmented: Tensor, mirrored: Tensor, layout: LandmarkScheme, size: int
) -> tuple[Tensor, Tensor]:
    """Where a teacher's landmarks lie in the moved images, and how sure it is of them.

    Args:
        scores: ``[B, K, h, h]`` raw heatmaps of the plain images.
        clean_to_augmented: ``[B, 2, 3]`` from pixels of the plain to pixels of the moved images.
        mirrored: ``[B]`` bool, whether the move mirrors.
        layout: Scheme that says which landmarks change sides.
        size: Side of the images in pixels.

    Returns:
        Points ``[B, K, 2]`` in pixels of the moved images, and weights ``[B, K]`` in 0..1: 0 outside the image.
    """
    means, variances = soft_moments(scores.float(), edge_aligned)
    weights = torch.exp(-0.5 * variances / CONFIDENCE_SIGMA**2)
    points = (means * size - 0.5) @ clean_to_augmented[:, :, :2].transpose(1, 2) + clean_to_augmented[
        :, None, :, 2
    ]
    order = list(layout.mirror)
    points = torch.where(mirrored[:, None, None], points[:, order], points)
    weights = torch.where(mirrored[:, None], weights[:, order], weights)
    inside = ((points > -0.5) & (points < size - 0.5)).all(-1)
    return points, weights * inside

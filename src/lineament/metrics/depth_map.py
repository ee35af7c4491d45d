"""How alike two depth maps of a face are up to scale and offset, and how far a pose is from another.

As GMPI and EG3D measure the geometry of generated faces (Zhao et al., ECCV 2022; Chan et al., CVPR 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor

# Added to standard deviations, and least depth of a pixel that a view has.
EPSILON, LEAST_DEPTH = 1e-8, 1e-8


def standardised_error(depth: Tensor, other: Tensor, mask: Tensor) -> float:
    """Mean squared difference of two depth maps, each brought to mean 0 and standard deviation 1 over the mask.

    It is ``2 (1 - r)`` of Pearson's correlation r: 0 for depths that agree up to scale and offset, 4 at most.

    Args:
        depth: ``[H, W]``; pixels of no depth (below 1e-8) do not count.
        other: ``[H, W]``.
        mask: ``[H, W]`` bool.

    Returns:
        The error; NaN where fewer than two pixels count.
    """
    valid = mask & (depth >= LEAST_DEPTH)
    one, two = depth[valid].double(), other[valid].double()
    if len(one) < 2:
        return float("nan")
    one, two = ((each - each.mean()) / (each.std(correction=0) + EPSILON) for each in (one, two))
    return float((one - two).square().mean())


def depth_correlation_in(depth: Tensor, other: Tensor, mask: Tensor) -> float:
    """Pearson's correlation of two depth maps ``[H, W]`` over a mask ``[H, W]`` bool; 0 where one does not vary."""
    one, two = depth[mask].double(), other[mask].double()
    if len(one) < 2:
        return 0.0
    one, two = one - one.mean(), two - two.mean()
    scale = one.norm() * two.norm()
    return float(one @ two / scale) if scale > 0 else 0.0


def pose_error(predicted: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Squared error of poses, mean over the three angles, squared radians; a roll of the prediction is an error.

    Args:
        predicted: ``[N, 3]`` angles of Deep3DFaceRecon about x, y and z, radians: of opposite yaw to the camera's.
        pitch: ``[N]`` of the camera, radians.
        yaw: ``[N]`` likewise.

    Returns:
        ``[N]`` in double precision.
    """
    true = torch.stack([pitch, -yaw, torch.zeros_like(pitch)], -1).double()
    return (predicted.double() - true).square().mean(-1)

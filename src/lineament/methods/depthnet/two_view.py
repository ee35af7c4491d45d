"""The modern depth network: a face's own depth from its keypoints alone, then corrected by the target as a second view.

A target face that is turned otherwise sees the source's depth: what the affine map leaves of the target along the
direction in which depth moves the points is, but for noise, depth that was missed (or, between two people, a
difference of their faces). One damped least-squares step for the depth under the map that was found takes it in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lineament.faces.schemes import eye_centres, scheme
from lineament.geometry.affine_fit import apply_affine, fit_affine
from lineament.methods.depthnet.model import KEYPOINTS, WIDTHS, blocks

LAYOUT = scheme("66")
MIRROR = LAYOUT.mirror


class TwoViewDepthNet(nn.Module):
    """Depth of the source keypoints from the source, corrected by the target.

    The source's own depth follows a similarity of the image plane and a mirror exactly: the network sees each face
    upright, centred and scaled, and answers the mean of a face and its mirror image.

    Args:
        widths: Units of the hidden layers.
        damping: Of the correction by the target, in squared units of the affine map's depth column between faces of
            equal size; the larger, the closer the depth stays to the source's own. ``inf`` switches it off.
    """

    # Called from outside by the recipe; the correction is a least-squares fit and stays in float32 there.
    forward_methods: ClassVar[tuple[str, ...]] = ("own_depth",)

    def __init__(self, widths: Sequence[int] = WIDTHS, damping: float = 0.02) -> None:
        super().__init__()
        self.keypoints = KEYPOINTS
        self.damping = damping
        self.fc = nn.Sequential(*blocks([2 * KEYPOINTS, *widths]), nn.Linear(widths[-1], KEYPOINTS))

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Predict.

        Args:
            source: ``[B, K, 2]`` xy over the image's size.
            target: ``[B, K, 2]``.

        Returns:
            Depth ``[B, K]``, and None in place of the affine map.
        """
        return self.corrected(source, self.own_depth(source), target), None

    def own_depth(self, source: Tensor) -> Tensor:
        """Depth ``[B, K]`` of faces ``[B, K, 2]`` from themselves alone."""
        points, size = upright(source)
        mirrored = points[:, MIRROR] * points.new_tensor([-1.0, 1.0])
        seen = torch.cat([points, mirrored]).transpose(1, 2).flatten(1)
        one, other = self.fc(seen).unflatten(0, (2, -1)).unbind(0)
        return 0.5 * (one + other[:, MIRROR]) * size[:, 0]

    def corrected(self, source: Tensor, depth: Tensor, target: Tensor) -> Tensor:
        """Move depths ``[B, K]`` towards what the targets show of them; arguments as :meth:`forward`."""
        if self.damping == float("inf"):
            return depth
        matrix = fit_affine(source, depth, target)
        left = target - apply_affine(matrix, source, depth)
        along = matrix[:, :, 2]
        scale = (_size(target) / _size(source)).square()[:, 0]
        step = (left * along[:, None]).sum(2) / (along.square().sum(1, keepdim=True) + self.damping * scale)
        return depth + step

    @torch.no_grad()
    def pair_depths(self, keypoints: Tensor) -> Callable[[int, slice], tuple[Tensor, None]]:
        """Depths for all pairs of faces ``[N, K, 2]``: a function of a source's number and a slice of the targets."""
        own = self.own_depth(keypoints)

        def depths(source: int, targets: slice) -> tuple[Tensor, None]:
            target = keypoints[targets]
            face = keypoints[source].expand_as(target)
            return self.corrected(face, own[source].expand(len(target), -1), target), None

        return depths


def upright(keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Centre each face on its mean, divide it by its root mean square, and turn it upright.

    Upright means: the line between the eyes and the line from them to the mouth, weighed by their lengths, lie across
    and down on average.

    Args:
        keypoints: ``[B, 66, 2]``.

    Returns:
        Points ``[B, 66, 2]`` and size ``[B, 1, 1]``.
    """
    size = _size(keypoints)
    points = (keypoints - keypoints.mean(1, keepdim=True)) / size
    left, right = eye_centres(points, LAYOUT).unbind(1)
    across, down = right - left, points[:, LAYOUT.part("mouth")].mean(1) - 0.5 * (left + right)
    axis = torch.stack([across[:, 0] + down[:, 1], across[:, 1] - down[:, 0]], dim=1)
    cosine, sine = (axis / axis.norm(dim=1, keepdim=True).clamp(min=1e-6))[:, None].unbind(2)
    x, y = points.unbind(2)
    return torch.stack([cosine * x + sine * y, cosine * y - sine * x], dim=2), size


def _size(keypoints: Tensor) -> Tensor:
    """Root mean square distance of the coordinates from their means, ``[B, 1, 1]``."""
    centred = keypoints - keypoints.mean(1, keepdim=True)
    return centred.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-6)

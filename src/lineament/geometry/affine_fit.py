"""The closed-form affine map from source points with depth to target points (Moniz et al., NeurIPS 2018, section 3.1).

Minimises ``sum_k |t_k - m [x_k, y_k, z_k, 1]|^2`` over the 2 x 4 matrix ``m``. Both of its rows share one Gram matrix,
which is eliminated block by block: the plane (1, x, y) first, then the part of the depth that no plane explains. Only
that part of the depth matters: adding any function ``a + b x + c y`` to the depth, or scaling it, leaves the fitted
points as they are.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lineament.errors import UsageError

Layout = Literal["affine", "legacy"]
# Depth counts as flat where its variation beyond a plane is below this share of its square; below it the quotient
# would be rounding noise, and its gradient without bound.
FLAT = 1e-12


def fit_affine(
    source: Tensor, depth: Tensor, target: Tensor, *, damping: float = 0.0, layout: Layout = "affine"
) -> Tensor:
    """Fit the affine map of each face; differentiable in all three arguments.

    Computed in float64 whatever comes in: the normal equations of 66 points have condition numbers of 1e4 to 1e7.

    Args:
        source: ``[B, K, 2]`` xy.
        depth: ``[B, K]`` depth of the source points, in a unit of the caller's choice.
        target: ``[B, K, 2]`` xy.
        damping: Tikhonov factor added to the diagonal of the Gram matrix, 0 for plain least squares.
        layout: ``legacy`` reproduces the columns of the oldest published runs: the y row's depth shares its unknown
            with the x row's offset, and that offset never enters the map. Needs damping.

    Returns:
        ``[B, 2, 4]``: rows ``m1 m2 m3 tx`` and ``m4 m5 m6 ty``, in the type of ``source``. Where the depth is flat (a
        plane in x and y), its column is zero and passes no gradient; where all points lie on a line, the x and y
        columns are zero too.

    Raises:
        UsageError: If the shapes do not fit, or ``legacy`` is asked for without damping.
    """
    batch, count = source.shape[:2]
    if source.shape != target.shape or source.shape[2:] != (2,) or depth.shape != (batch, count):
        raise UsageError(
            f"an affine fit needs source and target [B, K, 2] and depth [B, K], not {tuple(source.shape)}, "
            f"{tuple(target.shape)} and {tuple(depth.shape)}."
        )
    if layout == "legacy" and not damping > 0:
        raise UsageError(
            f"the legacy layout is singular without damping: give it more than 0, not {damping}."
        )
    parts = source.double(), depth.double(), target.double()
    if layout == "legacy":
        matrix = _legacy(*parts, damping)
    else:
        matrix = _damped(*parts, damping) if damping > 0 else _least_squares(*parts)
    return matrix.to(source.dtype)


def apply_affine(matrix: Tensor, source: Tensor, depth: Tensor) -> Tensor:
    """Carry points with depth over to the target: ``m [x, y, z, 1]``.

    Args:
        matrix: ``[B, 2, 4]``.
        source: ``[B, K, 2]`` xy.
        depth: ``[B, K]``.

    Returns:
        ``[B, K, 2]`` xy.
    """
    points = source @ matrix[:, :, :2].transpose(1, 2) + depth[..., None] * matrix[:, None, :, 2]
    return points + matrix[:, None, :, 3]


def homogeneous(source: Tensor, depth: Tensor) -> Tensor:
    """Points as columns ``[x, y, z, 1]``: ``[B, 4, K]``."""
    columns = [source[..., 0], source[..., 1], depth, torch.ones_like(depth)]
    return torch.stack(columns, dim=1)


def _least_squares(source: Tensor, depth: Tensor, target: Tensor) -> Tensor:
    plane = torch.cat([source, torch.ones_like(source[..., :1])], dim=2)  # [B, K, 3]: x, y, 1
    across = plane.transpose(1, 2)
    rest = torch.cat([depth[..., None], target], dim=2)  # [B, K, 3]: depth, target x, target y
    slopes = _plane_inverse(across @ plane) @ (across @ rest)  # [B, 3, 3]
    beyond = rest - plane @ slopes  # what no plane explains
    relief = (beyond[..., :1].transpose(1, 2) @ beyond)[
        :, 0
    ]  # [B, 3]: its energy, its products with the target
    energy = relief[:, :1]
    flat = energy <= FLAT * depth.detach().square().sum(1, keepdim=True)
    share = relief[:, 1:] / energy.masked_fill(flat, torch.inf)  # [B, 2]: m3, m6
    rows = slopes[..., 1:] - slopes[..., :1] * share[:, None]  # [B, 3, 2]
    return torch.cat([rows[:, :2], share[:, None], rows[:, 2:]], dim=1).transpose(1, 2)


def _plane_inverse(gram: Tensor) -> Tensor:
    """Invert the Gram matrices ``[B, 3, 3]`` of x, y, 1; points on a line keep the mean alone."""
    count = gram[:, 2, 2]
    centred = gram[:, :2, :2] - gram[:, :2, 2:] * gram[:, 2:, :2] / count[:, None, None]
    spread = centred[:, 0, 0] + centred[:, 1, 1]
    singular = torch.linalg.det(centred) <= FLAT * spread.square()
    if not bool(singular.any()):
        return torch.linalg.inv(gram)
    mean_only = torch.diag(gram.new_tensor([0.0, 0.0, 1.0])) / count[:, None, None]
    regular = torch.where(singular[:, None, None], torch.eye(3).to(gram), gram)
    return torch.where(singular[:, None, None], mean_only, torch.linalg.inv(regular))


def _damped(source: Tensor, depth: Tensor, target: Tensor, damping: float) -> Tensor:
    rows = homogeneous(source, depth)
    gram = rows @ rows.transpose(1, 2) + damping * torch.eye(4).to(rows)
    return torch.linalg.solve(gram, rows @ target).transpose(1, 2)


def _legacy(source: Tensor, depth: Tensor, target: Tensor, damping: float) -> Tensor:
    x, y = source.unbind(2)
    zero, one = torch.zeros_like(depth), torch.ones_like(depth)
    x_rows = torch.stack([x, y, depth, zero, zero, zero, one, zero], dim=1)  # [B, 8, K]
    y_rows = torch.stack([zero, zero, zero, zero, x, y, depth, one], dim=1)
    gram = x_rows @ x_rows.transpose(1, 2) + y_rows @ y_rows.transpose(1, 2)
    right = x_rows @ target[..., :1] + y_rows @ target[..., 1:]
    return torch.linalg.solve(gram + damping * torch.eye(8).to(gram), right).view(-1, 2, 4)

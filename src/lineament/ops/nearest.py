"""Which of many values in the plane lies nearest to each of a few points, by exhaustive search."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.ops.dispatch import choose_implementation
from lineament.ops.threads import run_tasks

# Distances that the reference keeps in memory at a time.
BLOCK = 2**22


def nearest_values(points: Tensor, values: Tensor, *, impl: str = "auto") -> Tensor:
    """Index of the value nearest to each point; of several equally near the first.

    A sweep through all values costs 10 to 15 us for 10,000 of them on one core, less than building a search tree, and
    needs no assumption about their order. Distances are compared in double precision. Not differentiable.

    Args:
        points: ``[B, K, 2]``.
        values: ``[B, N, 2]``, N >= 1; fastest when the coordinates lie in planes, as in a view of ``[B, 2, N]``.
        impl: ``"auto"``, ``"reference"`` or ``"numba"``; on a GPU auto takes the reference.

    Returns:
        ``[B, K]`` int64.

    Raises:
        DataError: If the shapes do not fit or there are no values.
        UsageError: If ``impl`` is unknown or cannot run on this device.
    """
    batch = len(points)
    if points.ndim != 3 or points.shape[2] != 2 or values.shape != (batch, values.shape[1], 2):
        raise DataError(
            f"points must be [B, K, 2] and values [B, N, 2], not {list(points.shape)} and {list(values.shape)}."
        )
    if not values.shape[1]:
        raise DataError("there is no nearest one of no values: give at least one per item.")
    points = points.detach().double()
    planes = values.detach().transpose(1, 2)  # [B, 2, N]
    if impl == "auto" and points.device.type != "cpu":
        impl = "reference"
    if choose_implementation(impl, points, planes) == "reference":
        return _reference(points, planes.double())
    from lineament.ops.numba_cpu.nearest import nearest_in_item

    index = torch.zeros(batch, points.shape[1], dtype=torch.long)
    arrays = [points.contiguous().numpy(), planes.contiguous().numpy(), index.numpy()]
    run_tasks(
        nearest_in_item, arrays, [(item,) for item in range(batch)], work=index.numel() * planes.shape[2]
    )
    return index


def _reference(points: Tensor, planes: Tensor) -> Tensor:
    across, down = planes.unbind(1)  # [B, N] each
    nearest = [points.new_zeros(len(points), 0, dtype=torch.long)]
    for part in points.split(max(1, BLOCK // across.numel()), dim=1) if points.numel() else ():
        right = part[:, :, 0, None] - across[:, None]  # [B, k, N]
        below = part[:, :, 1, None] - down[:, None]
        nearest.append(right.square_().addcmul_(below, below).argmin(2))
    return torch.cat(nearest, dim=1)

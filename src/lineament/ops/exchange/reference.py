"""The plain twin of the exchange loss: every N x N matrix written out, double precision capable, autograd's gradients.

For tests and for reading; `__init__.py` has the shapes, units and meaning of each argument.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reconstruct(queries: Tensor, auxiliary: Tensor) -> Tensor:
    """``r_u = sum_w softmax_w(q_u . a_w) a_w``: ``[B, C, M]``, ``[B, C, K]`` -> ``[B, C, M]``."""
    weights = torch.einsum("bcu,bcw->buw", queries, auxiliary).softmax(dim=2)  # [B, M, K]
    return torch.einsum("buw,bcw->bcu", weights, auxiliary)


def expected_distance(
    queries: Tensor, targets: Tensor, target_xy: Tensor, grid_xy: Tensor, power: float
) -> Tensor:
    """``l_u = sum_v softmax_v(q_u . t_v) |g(u) - v| ** power``: ``[B, C, M]``, ``[B, C, N]`` -> ``[B, M]``."""
    weights = torch.einsum("bcu,bcv->buv", queries, targets).softmax(dim=2)  # [B, M, N]
    offsets = target_xy[:, :, None, :] - grid_xy[None, None, :, :]  # [B, M, N, 2]
    distances = offsets.square().sum(dim=3).pow(power / 2)  # not norm(): no gradient is asked of it
    return (weights * distances.to(weights.dtype)).sum(dim=2)

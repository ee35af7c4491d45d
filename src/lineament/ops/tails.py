"""Softmax and bell curves whose tails end in exact zeros.

Far from the peak their values shrink to subnormal numbers, and so do the products of smaller ones; many processors need
some hundred cycles for each operation that meets one, and none of them matters to a sum that holds the peak.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Twelve orders below the resolution of single precision, and its natural logarithm.
NEGLIGIBLE_WEIGHT, NEGLIGIBLE = 1e-20, -46.0


def exp_without_tail(exponents: Tensor, least: float = NEGLIGIBLE) -> Tensor:
    """``exp(x)``, and 0 where x is below ``least``.

    Args:
        exponents: At most about 0: logarithms relative to the peak. NaN stays NaN.
        least: Logarithm of the least value kept. Give half of it to factors that will be multiplied by each other.

    Returns:
        The same shape; differentiable.
    """
    return F.threshold(exponents, least, -torch.inf).exp()


def softmax_without_tail(scores: Tensor, dim: int) -> Tensor:
    """Softmax in which weights below 1e-20 of the largest are 0.

    Args:
        scores: Any shape.
        dim: Along which the weights sum to 1.

    Returns:
        The same shape; differentiable.
    """
    peak = scores.detach().amax(dim, keepdim=True)
    return F.threshold(scores - peak, NEGLIGIBLE, -torch.inf).softmax(dim)

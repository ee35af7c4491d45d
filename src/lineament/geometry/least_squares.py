"""Non-linear least squares for batches of small problems: Levenberg-Marquardt in plain torch.

Gauss-Newton steps, damped by the diagonal of the normal matrix (Marquardt 1963), the damping by how well the linear
model foresaw the cost (Nielsen 1999; Madsen, Nielsen and Tingleff, "Methods for non-linear least squares problems",
2004, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.errors import UsageError

Function = Callable[[Tensor], Tensor]
# Diagonal entries count as no less than this share of the largest: parameters without effect stay where they are.
FLOOR = 1e-12
# Damping at which a problem is given up: no step, however small, lowers the cost.
MOST_DAMPING = 1e16


@dataclass(frozen=True)
class Minimum:
    """What was found for each problem of a batch.

    Attributes:
        parameters: ``[B, P]``.
        cost: ``[B]`` half the sum of squared residuals there.
        converged: ``[B]`` bool; False where the steps ran out or the start gave no finite cost.
        steps: Steps that were tried.
    """

    parameters: Tensor
    cost: Tensor
    converged: Tensor
    steps: int


def levenberg_marquardt(
    residual: Function,
    start: Tensor,
    *,
    jacobian: Function | None = None,
    steps: int = 100,
    tolerance: float = 1e-8,
    damping: float = 1e-3,
) -> Minimum:
    """Minimise ``0.5 |residual(x)|^2`` for each problem of a batch.

    A problem is done when a step moves its parameters, or lowers its cost, by less than ``tolerance`` of what they
    are, or when no residual correlates with a column of the Jacobian by more than ``tolerance``. Steps that do not
    lower the cost are not taken. Nothing is differentiated through.

    Args:
        residual: ``[B, P] -> [B, R]``; row b must depend on row b of the parameters alone. Weights and priors are
            residuals too: scale them by the root of what they should count.
        start: ``[B, P]`` floating point; float64 where the tolerance is to be reached.
        jacobian: ``[B, P] -> [B, R, P]``; by differentiating ``residual`` where None.
        steps: Most steps.
        tolerance: See above.
        damping: Of the first step, in shares of the normal matrix's diagonal.

    Raises:
        UsageError: If the shapes do not fit.
    """
    if start.ndim != 2 or not start.is_floating_point():
        raise UsageError(f"parameters are floating point [B, P], not {start.dtype} {list(start.shape)}.")
    x = start.detach().clone()
    with torch.no_grad():
        r = residual(x)
    if r.ndim != 2 or len(r) != len(x):
        raise UsageError(f"residuals of {len(x)} problems are [{len(x)}, R], not {list(r.shape)}.")
    derive = jacobian or jacobian_of(residual)
    cost = _cost(r)
    done, good = ~torch.isfinite(cost), torch.zeros_like(cost, dtype=torch.bool)
    factor, growth = torch.full_like(cost, damping), torch.full_like(cost, 2.0)
    taken = 0
    with torch.no_grad():
        while taken < steps and not bool(done.all()):
            taken += 1
            j = derive(x)  # [B, R, P]
            gradient = (j.mT @ r[..., None])[..., 0]
            normal = j.mT @ j
            diagonal = normal.diagonal(dim1=-2, dim2=-1)
            scale = torch.maximum(diagonal, FLOOR * diagonal.amax(-1, keepdim=True))
            scale = torch.where(scale > 0, scale, 1)
            # Cosine between residual and columns, as MINPACK measures it.
            flat = (gradient.abs() <= tolerance * (scale * 2 * cost[:, None]).sqrt()).all(-1)
            step = _solve(normal + torch.diag_embed(factor[:, None] * scale), -gradient)
            tried = x + step
            tried_r = residual(tried)
            tried_cost = _cost(tried_r)
            foreseen = 0.5 * (step * (factor[:, None] * scale * step - gradient)).sum(-1)
            gain = (cost - tried_cost) / foreseen
            better = torch.isfinite(tried_cost) & (tried_cost < cost) & ~done & ~flat
            small = step.norm(dim=-1) <= tolerance * (x.norm(dim=-1) + tolerance)
            level = better & (cost - tried_cost <= tolerance * cost) & (foreseen <= tolerance * cost)
            x = torch.where(better[:, None], tried, x)
            r = torch.where(better[:, None], tried_r, r)
            cost = torch.where(better, tried_cost, cost)
            shrink = (1 - (2 * gain - 1) ** 3).clamp(1 / 3, 2)
            factor = torch.where(better, factor * shrink, factor * growth)
            growth = torch.where(better, 2.0, growth * 2)
            reached = ~done & (flat | level | small)
            good |= reached
            done |= reached | (factor > MOST_DAMPING)
    return Minimum(x, cost, good, taken)


def jacobian_of(function: Function) -> Function:
    """``[B, P] -> [B, R, P]``: the Jacobian of each row of ``function``.

    By differentiating twice: the gradient ``J^T v`` is linear in ``v``, and its derivatives are the columns of J. One
    pass for each parameter; torch's forward mode does the same but compiles for a second before its first use.
    """

    def derive(x: Tensor) -> Tensor:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            values = function(at)
            if not values.requires_grad:
                return values.new_zeros(*values.shape, x.shape[1])
            weights = torch.zeros_like(values, requires_grad=True)
            (gradient,) = torch.autograd.grad(values, at, weights, create_graph=True, materialize_grads=True)
            columns = [
                torch.autograd.grad(entry.sum(), weights, retain_graph=True, materialize_grads=True)[0]
                for entry in gradient.unbind(1)
            ]
        return torch.stack(columns, -1)

    return derive


def _cost(residuals: Tensor) -> Tensor:
    return 0.5 * residuals.square().sum(-1)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve positive definite systems ``[B, P, P]``; no step where one is not."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    step = torch.cholesky_solve(right[..., None], factor)[..., 0]
    return torch.where((failed == 0)[:, None], step, 0).nan_to_num(0, 0, 0)

"""Random inputs of the exchange loss and the comparison of two implementations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.ops.exchange import exchange_loss


@dataclass
class Case:
    source: Tensor  # [B, C, ...]
    target: Tensor
    auxiliary: Tensor | None
    target_xy: Tensor  # [B, M, 2]
    grid_xy: Tensor  # [N, 2]

    def leaves(self) -> list[Tensor]:
        return [t for t in (self.source, self.target, self.auxiliary) if t is not None]

    def to(self, dtype: torch.dtype) -> Case:
        moved = [
            None if t is None else t.detach().to(dtype).clone().requires_grad_(t.requires_grad)
            for t in (self.source, self.target, self.auxiliary, self.target_xy, self.grid_xy)
        ]
        return Case(*moved)


def regular_grid(height: int, width: int, stride: int = 2) -> Tensor:
    ys, xs = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
    return torch.stack([xs, ys], dim=-1).view(-1, 2).double()


def make_case(
    batch: int,
    channels: int,
    shape: tuple[int, int],
    *,
    auxiliary: tuple[int, int] | None = None,
    target: tuple[int, int] | None = None,
    seed: int = 0,
) -> Case:
    """Double-precision descriptors; one true place coincides with a grid point, where the root has no slope."""
    generator = torch.Generator().manual_seed(seed)

    def descriptors(size: tuple[int, int]) -> Tensor:
        return torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64).requires_grad_()

    target = target or shape
    places = regular_grid(*target)
    reach = torch.tensor([target[1] * 2.0, target[0] * 2.0], dtype=torch.float64)
    rows = shape[0] * shape[1]
    target_xy = torch.rand(batch, rows, 2, generator=generator, dtype=torch.float64) * reach
    target_xy[0, 0] = places[-1]
    other = descriptors(auxiliary) if auxiliary else None
    return Case(descriptors(shape), descriptors(target), other, target_xy, places)


def loss_and_gradients(case: Case, dtype: torch.dtype, **options: object) -> list[Tensor]:
    case = case.to(dtype)
    loss = exchange_loss(case.source, case.target, case.auxiliary, case.target_xy, case.grid_xy, **options)
    return [loss.detach(), *torch.autograd.grad(loss, case.leaves())]


def errors(found: list[Tensor], wanted: list[Tensor]) -> list[float]:
    """Error of the loss relative to itself, then of each gradient relative to its largest entry.

    Gradients below 1e-3 are taken for 1e-3: some are exactly zero (one point, one channel).
    """
    assert [t.shape for t in found] == [t.shape for t in wanted]
    scales = [wanted[0].abs().clamp(min=1e-9), *(t.abs().max().clamp(min=1e-3) for t in wanted[1:])]
    return [
        ((one.double() - other.double()).abs().max() / scale).item()
        for one, other, scale in zip(found, wanted, scales, strict=True)
    ]


def assert_same(found: list[Tensor], wanted: list[Tensor], loss: float, gradient: float) -> None:
    """Compare by :func:`errors`."""
    seen = errors(found, wanted)
    assert seen[0] <= loss and max(seen[1:]) <= gradient, f"errors {seen} exceed {loss} and {gradient}"

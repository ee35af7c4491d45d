"""A step counter that is saved and resumed like any other network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StepCounter(nn.Module):
    """Counts its calls in a buffer, so that a resumed run knows how far it was."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    count: Tensor

    def forward(self) -> int:
        """Count one call and return how many there were before it."""
        before = int(self.count)
        self.count += 1
        return before

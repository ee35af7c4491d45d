"""Random numbers of one training image, drawn at once and handed out one by one."""

from __future__ import annotations

import torch


class Draws:
    """Random numbers in plain Python, all of them from one generator.

    Args:
        generator: The sample's; a tensor of uniform and one of normal numbers is taken from it at a time.

    Attributes:
        generator: The same, for arrays of random numbers.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self._uniform: list[float] = []
        self._normal: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number between the two."""
        if not self._uniform:
            self._uniform = torch.rand(64, generator=self.generator).tolist()
        return low + (high - low) * self._uniform.pop()

    def normal(self) -> float:
        """A number of mean 0 and standard deviation 1."""
        if not self._normal:
            self._normal = torch.randn(16, generator=self.generator).tolist()
        return self._normal.pop()

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.uniform() < probability

    def below(self, count: int) -> int:
        """One of ``0 .. count - 1``."""
        return min(count - 1, int(count * self.uniform()))

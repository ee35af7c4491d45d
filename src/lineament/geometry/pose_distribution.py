"""Distributions of yaw and pitch from which cameras are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.errors import UsageError, unknown_name

KINDS = ("truncated_gaussian", "uniform", "gaussian")
# Draws for each value of a truncated normal distribution; the first that lies inside is taken.
_TRIES = 4


@dataclass(frozen=True)
class PoseDistribution:
    """Independent distributions of yaw and pitch, radians.

    Attributes:
        yaw_std: Standard deviation of the yaw; 0 gives the mean alone.
        pitch_std: That of the pitch.
        truncation: Half of the range in standard deviations: ``mean +- truncation * std``. Standard deviations are
            those before truncation.
        yaw_mean: Middle of the yaw.
        pitch_mean: Middle of the pitch.
        kind: ``"truncated_gaussian"`` (normal, limited to the range), ``"uniform"`` over the range, or ``"gaussian"``
            (normal without a limit).

    Raises:
        UsageError: If the kind is unknown, or a standard deviation or the truncation is negative.
    """

    yaw_std: float
    pitch_std: float
    truncation: float = 2.0
    yaw_mean: float = 0.0
    pitch_mean: float = 0.0
    kind: str = "truncated_gaussian"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("pose distribution", self.kind, KINDS)
        if not (self.yaw_std >= 0 and self.pitch_std >= 0 and self.truncation >= 0):
            raise UsageError(
                f"yaw_std={self.yaw_std}, pitch_std={self.pitch_std} and truncation={self.truncation} "
                "must not be negative: give standard deviations in radians."
            )

    @property
    def yaw_range(self) -> tuple[float, float]:
        """Least and greatest yaw; for ``"gaussian"`` what is within the truncation."""
        reach = self.truncation * self.yaw_std
        return self.yaw_mean - reach, self.yaw_mean + reach

    @property
    def pitch_range(self) -> tuple[float, float]:
        """Least and greatest pitch, likewise."""
        reach = self.truncation * self.pitch_std
        return self.pitch_mean - reach, self.pitch_mean + reach

    def sample(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw cameras.

        All yaws are drawn before all pitches, in single precision on the CPU, so a seed gives the same poses on every
        device.

        Args:
            count: Number of cameras.
            generator: Of the CPU; None: torch's own.

        Returns:
            Yaw and pitch, ``[count]`` float32.
        """
        return (
            self._draw(count, self.yaw_mean, self.yaw_std, generator),
            self._draw(count, self.pitch_mean, self.pitch_std, generator),
        )

    def path(self, count: int, along: str = "yaw") -> tuple[Tensor, Tensor]:
        """Evenly spaced cameras from one end of the range to the other.

        Args:
            count: Number of cameras.
            along: ``"yaw"`` (with the mean pitch) or ``"pitch"`` (with the mean yaw).

        Returns:
            Yaw and pitch, ``[count]`` float32.

        Raises:
            UsageError: If ``along`` is neither.
        """
        if along not in ("yaw", "pitch"):
            raise unknown_name("angle", along, ("yaw", "pitch"))
        steps = torch.linspace(-self.truncation, self.truncation, count)
        yaw, pitch = torch.full((count,), self.yaw_mean), torch.full((count,), self.pitch_mean)
        if along == "yaw":
            return steps * self.yaw_std + self.yaw_mean, pitch
        return yaw, steps * self.pitch_std + self.pitch_mean

    def _draw(self, count: int, mean: float, std: float, generator: torch.Generator | None) -> Tensor:
        if self.kind == "uniform":
            return (torch.rand(count, generator=generator) - 0.5) * 2 * self.truncation * std + mean
        if self.kind == "gaussian":
            return torch.randn(count, generator=generator) * std + mean
        low, high = mean - self.truncation * std, mean + self.truncation * std
        # Order of the draws: that of the published program, [count, 1, 4].
        draws = torch.randn(count, _TRIES, generator=generator) * std + mean
        inside = (draws > low) & (draws < high)
        # The greatest of 4, 3, 2, 1 where inside and 0 elsewhere is the first that is; the first of all where none is.
        rank = inside * torch.arange(_TRIES, 0, -1)
        first = torch.where(inside.any(1), rank.argmax(1), 0)
        return draws.gather(1, first[:, None])[:, 0].clamp(low, high)

"""Smoothing of moving landmarks that adapts to their speed (Casiez, Roussel, Vogel, "1€ Filter", CHI 2012)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lineament.errors import UsageError

# Cut-off in hertz of a landmark at rest, for an amount of 1.
REST = 1.0
# Hertz added for each face side a second: a steady motion is followed 1 / (2 pi 10) = 1.6 % of a face side behind.
RESPONSE = 10.0
# Cut-off in hertz of the speed itself, as in the paper.
SPEED = 1.0


class OneEuroFilter:
    """Low-pass filter of the landmarks of one face, in the order of time.

    A landmark at rest is smoothed strongly, one that moves hardly at all. Speed is measured in face sides a second, so
    that neither the resolution nor the size of the face matters; it is that of the point, not of each axis.

    Args:
        amount: 1 smooths as described above; a larger one lowers both cut-offs, so smooths more and follows later;
            0 changes nothing.

    Raises:
        UsageError: If the amount is negative or not finite.
    """

    def __init__(self, amount: float = 1.0) -> None:
        if not 0.0 <= amount < math.inf:
            raise UsageError(f"the amount of smoothing is 0 (none) or more, not {amount}.")
        self.amount = amount
        self._time: float | None = None
        self._raw = self._smooth = self._speed = torch.zeros(0)

    def __call__(self, points: Tensor, time: float, side: float) -> Tensor:
        """Smooth the next positions.

        Args:
            points: ``[K, 2]`` in pixels.
            time: Seconds; later than in the call before, else the positions are taken as they are.
            side: Side of the face's box in pixels.

        Returns:
            ``[K, 2]``, for the first call ``points`` themselves.
        """
        step = 0.0 if self._time is None else time - self._time
        self._time = time
        if self.amount == 0.0 or step <= 0.0 or side <= 0.0:
            self._raw = self._smooth = points
            self._speed = torch.zeros_like(points)
            return points
        speed = (points - self._raw) / (side * step)  # [K, 2] face sides a second
        self._speed = self._speed + _weight(torch.tensor(SPEED), step) * (speed - self._speed)
        pace = self._speed.norm(dim=-1, keepdim=True)  # [K, 1]
        cut_off = (REST + RESPONSE * pace) / self.amount
        self._raw = points
        self._smooth = self._smooth + _weight(cut_off, step) * (points - self._smooth)
        return self._smooth


def _weight(cut_off: Tensor, step: float) -> Tensor:
    """Share of the new value in a first-order low-pass filter (equations 3 to 5 of the paper)."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cut_off * step))

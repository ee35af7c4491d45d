"""The options of `lineament evaluate depth`; importing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lineament.errors import UsageError

FRONTAL_DEGREES = 15.0


@dataclass(frozen=True)
class DepthOptions:
    """How depths of keypoints are scored, and what else is written.

    Attributes:
        frontal: With --photos: largest yaw of a frontal face in degrees.
        count: Use only the first so many faces; 0 uses all (the published valid score takes 225).
        dump: Write the predicted depths of all pairs to this .npz (one run only; N x N x 66 numbers).
        figures: Draw the figures of the paper, or the sheet of the photos, into this folder.
    """

    frontal: float = FRONTAL_DEGREES
    count: int = 0
    dump: Path | None = None
    figures: Path | None = None

    def check(self) -> None:
        """Raise ``UsageError`` on impossible numbers."""
        if self.count < 0:
            raise UsageError(f"--count is a number of faces, 0 for all, not {self.count}.")
        if not 0 < self.frontal <= 90:
            raise UsageError(f"--frontal is an angle above 0 and at most 90 degrees, not {self.frontal:g}.")

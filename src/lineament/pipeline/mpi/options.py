"""The options of `lineament mpi`; importing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from lineament.errors import UsageError

RESULTS = ("page", "video", "atlas", "npz")
SMALLEST_SIZE, LARGEST_SIZE = 64, 1024
MOST_PLANES = 256


@dataclass(frozen=True)
class MpiOptions:
    """How the multiplane image of a photo is made and filmed.

    Attributes:
        size: Longer side in pixels; larger photos are made smaller, 1024 at most.
        planes: Their number: when not given as many as keep surfaces smooth, 24 to 96.
        frames: Frames of the video.
        fps: Frames a second.
        video_size: Longer side of the video in pixels.
    """

    size: int = LARGEST_SIZE
    planes: int | None = None
    frames: int = 75
    fps: float = 25.0
    video_size: int = 640

    def check(self) -> None:
        """Raise ``UsageError`` on an impossible number."""
        for name, value in (("--size", self.size), ("--video-size", self.video_size)):
            if not SMALLEST_SIZE <= value <= LARGEST_SIZE:
                raise UsageError(
                    f"{name} must lie between {SMALLEST_SIZE} and {LARGEST_SIZE} pixels, not {value}."
                )
        if self.planes is not None and not 8 <= self.planes <= MOST_PLANES:
            raise UsageError(f"--planes must lie between 8 and {MOST_PLANES}, not {self.planes}.")
        if not 2 <= self.frames <= 10_000:
            raise UsageError(f"--frames must lie between 2 and 10000, not {self.frames}.")
        if not 0 < self.fps <= 240:
            raise UsageError(f"--fps must lie above 0 and at most at 240, not {self.fps:g}.")

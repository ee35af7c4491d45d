"""The options of landmarks in videos; importing them imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lineament.errors import UsageError

# What is written of a video besides the overlay unless it is said.
VIDEO_FORMATS = ("json", "csv")


@dataclass(frozen=True)
class FollowOptions:
    """How to follow faces.

    Attributes:
        smooth: Amount of smoothing in videos: 0 none, 1 usual, more for calmer landmarks that follow later (a One Euro
            filter, faces/one_euro.py).
        detect_every: Search the frames of videos for faces every so many; in between, and where a face is not found for
            a moment, faces are followed by their landmarks. 1 searches every frame.
    """

    smooth: float = 1.0
    detect_every: int = 5

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on numbers out of range."""
        if not 0.0 <= self.smooth < math.inf:
            raise UsageError(f"the amount of smoothing is 0 (none) or more, not {self.smooth}.")
        if self.detect_every < 1:
            raise UsageError(f"faces are searched every 1 or more frames, not every {self.detect_every}.")


@dataclass(frozen=True)
class VideoOptions:
    """How to put landmarks on a video.

    Attributes:
        formats: Which of json, csv and pts to write; pts makes a folder with a file for every face in every frame.
        follow: How to follow faces.
        overwrite: Do again what is done.
        all_faces: Keep detections, and follow faces, that the model takes for none.
    """

    formats: tuple[str, ...] = VIDEO_FORMATS
    follow: FollowOptions = field(default_factory=FollowOptions)
    overwrite: bool = False
    all_faces: bool = False

"""The options of `lineament turn` and of the verbs that find depth; importing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineament.errors import UsageError, unknown_name

# Faces are turned well by up to so many degrees, and those that look no further to the side.
LARGEST_TURN = 45.0
WARPS = ("dense", "triangles")
STRIP_SIZE, VIDEO_SIZE = 320, 512
SMALLEST_SIZE, LARGEST_SIZE = 32, 4096
BACKGROUNDS = {"white": 1.0, "grey": 0.5, "black": 0.0}


@dataclass(frozen=True)
class KeypointOptions:
    """Where the keypoints of a face come from, and the head that is fitted to them.

    Attributes:
        keypoints: Label file (json, csv, pts) with 68 keypoints, or such as can be turned into them.
        landmarks_model: Run directory or name of a landmark model (`lineament models`); face-68 when neither this nor a
            label file is given; head: a mean head is put on the detector's five points.
        head: Head that is fitted to the keypoints: builtin or ict.
        packs: Folder of the data packs, for the ICT head.
        device: Where the landmark model runs: cpu or cuda.
        all_faces: Keep detections that the landmark model takes for no face, being too unsure of its points.
    """

    keypoints: Path | None = None
    landmarks_model: Path | None = None
    head: str = "builtin"
    packs: Path | None = None
    device: str = "cpu"
    all_faces: bool = False


@dataclass(frozen=True)
class FaceOptions(KeypointOptions):
    """Where the keypoints of a face and their depth come from.

    Attributes:
        model: Run directory or name of a model that predicts the depth; face-depth when not given; head: that of the
            fitted head is taken.
    """

    model: Path | None = None

    def recorded(self) -> dict[str, Any]:
        """Return the settings that change a result, as its JSON file keeps them: names, and digests of files and runs.

        Raises:
            DataError: If the label file cannot be read.
        """
        from lineament.pipeline.predict.results import file_digest, run_digest  # imports torch
        from lineament.pipeline.turn.models import chosen_models
        from lineament.training.models import open_trained

        depth, marks = chosen_models(self.model, self.landmarks_model, self.keypoints)
        return {
            "keypoints": file_digest(self.keypoints),
            "landmarks_model": None if marks is None else run_digest(open_trained(marks).folder),
            "model": None if depth is None else run_digest(open_trained(depth).folder),
            "head": self.head,
            "all_faces": self.all_faces or None,
        }


@dataclass(frozen=True)
class TurnOptions:
    """How faces are turned.

    Attributes:
        warp: dense: a surface with hidden parts and a forehead; triangles: the published mesh of 107 triangles.
        keep_background: Keep the rest of the photo around the face.
        background: Colour around a face without its photo: white, grey or black.
        absolute: Angles are those of the result (0 looks straight ahead), instead of changes of the photo's.
        size: Longer side of an image in pixels: when not given 320 in a strip, 512 in a video.
        whole: Show the whole photo instead of a square around the head.
    """

    warp: str = "dense"
    keep_background: bool = False
    background: str = "white"
    absolute: bool = False
    size: int | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on an unknown word."""
        if self.warp not in WARPS:
            raise unknown_name("warp", self.warp, WARPS)
        if self.background not in BACKGROUNDS:
            raise unknown_name("background", self.background, BACKGROUNDS)
        if self.size is not None and not SMALLEST_SIZE <= self.size <= LARGEST_SIZE:
            raise UsageError(
                f"--size must lie between {SMALLEST_SIZE} and {LARGEST_SIZE} pixels, not {self.size}."
            )

    @property
    def side(self) -> int:
        """Longer side of an image in pixels; that of a video where none is given."""
        return VIDEO_SIZE if self.size is None else self.size

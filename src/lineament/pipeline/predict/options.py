"""The options of `lineament detect`, `lineament landmarks` and `lineament match`.

They are parsed before anything is computed, so that importing this module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineament.errors import UsageError, unknown_name
from lineament.faces.detector_options import DEFAULT_DETECTOR, Upright

# Files that can be written of landmarks besides the overlay.
FORMATS = ("json", "csv", "pts")


@dataclass(frozen=True)
class DetectOptions:
    """How to look for faces.

    Attributes:
        detector: yunet or mtcnn (box, points, score), or lbp (frontal faces, box only).
        min_score: Leave out faces with a lower score, 0..1; when not given what suits the detector, 0.6 for yunet. A
            lower one looks further.
        min_face: Smallest face looked for, in pixels. When not given, yunet looks at a small copy of the image first
            and closer only where that shows nothing or small faces; mtcnn looks for 20, or a twentieth of the image's
            shorter side if larger.
        upright: search: also find faces that lie on their side, stand on their head or are cut by the border; off: look
            once at the image as it is.
        overwrite: Do again what is done, replacing its files.
    """

    detector: str = DEFAULT_DETECTOR
    min_score: float | None = None
    min_face: float | None = None
    upright: Upright = "search"
    overwrite: bool = False

    def check(self) -> None:
        """Raise ``UsageError`` on an unknown detector or an impossible number."""
        if self.min_score is not None and not 0.0 <= self.min_score <= 1.0:
            raise UsageError(f"--min-score lies in 0..1, not at {self.min_score:g}.")
        if self.min_face is not None and not 1.0 <= self.min_face < float("inf"):
            raise UsageError(f"--min-face is a number of pixels, at least 1, not {self.min_face:g}.")
        from lineament.faces.detection import make_detector  # imports torch

        make_detector(self.detector)

    @property
    def least_score(self) -> float:
        """The score below which faces are left out, with this detector."""
        from lineament.faces.detection import least_score  # imports torch

        return least_score(self.detector) if self.min_score is None else self.min_score

    def recorded(self) -> dict[str, Any]:
        """Return the settings that change the result, as kept in every JSON file."""
        return {
            "detector": self.detector,
            "min_score": self.least_score,
            "min_face": self.min_face,
            "upright": self.upright,
        }


@dataclass(frozen=True)
class LandmarkOptions:
    """How to put landmarks on photos.

    Attributes:
        format: Files to write besides the overlay: json, csv, pts. By default all three for photos (pts holds the
            best face only), json and csv for videos, of which pts writes a folder with a file for every face in every
            frame.
        boxes: Label file (json or csv) with the face boxes of photos, instead of detecting faces.
        upright: search: also find faces of photos that lie on their side, stand on their head or are cut by the
            border; off: look once at the photo as it is.
        all_faces: Keep detections that the model takes for no face, being too unsure of its points.
        tiles: Also write NAME.tiles.png of photos (fabrec-landmarks): input, reconstruction, heatmaps, landmarks
            in both.
        overwrite: Do again what is done, replacing its files.
    """

    format: tuple[str, ...] | None = None
    boxes: Path | None = None
    upright: Upright = "search"
    all_faces: bool = False
    tiles: bool = False
    overwrite: bool = False

    @property
    def formats(self) -> tuple[str, ...]:
        """Files to write of photos."""
        return FORMATS if self.format is None else self.format

    def check(self) -> None:
        """Raise ``UsageError`` on an unknown format or none."""
        if not self.formats:
            raise UsageError(f"give at least one of the formats {', '.join(FORMATS)}.")
        for name in self.formats:
            if name not in FORMATS:
                raise unknown_name("format", name, FORMATS)


@dataclass(frozen=True)
class MatchOptions:
    """How points are matched.

    Attributes:
        points: The points in pixels of A: "x,y x,y ...", or a label file (json, csv, pts). When not given the landmarks
            of the model, or a grid over the face where it has none.
        upright: search: also find faces of photos that lie on their side, stand on their head or are cut by the
            border; off: look once at the photo as it is.
        all_faces: Keep detections that the model takes for no face, being too unsure of its points.
        overwrite: Replace results that exist.
    """

    points: str | None = None
    upright: Upright = "search"
    all_faces: bool = False
    overwrite: bool = False

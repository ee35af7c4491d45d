"""The options of `lineament analyze`; importing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineament.errors import UsageError
from lineament.faces.detector_options import Upright
from lineament.pipeline.turn.options import LARGEST_TURN


@dataclass(frozen=True)
class AnalyzeOptions:
    """What is looked for and written.

    Attributes:
        depth_model: Run directory or name of a model that predicts the depth of landmarks; face-depth where it is
            there, else, and for the word head, the depth of the fitted head.
        dense_model: Run directory or name of a model with dense descriptors or 68 landmarks, for the best matches
            between the photos of a folder; face-dense where it is there, else the landmark model.
        crops: Aligned crops to write of every face, such as ffhq.
        crop_size: Side of these in pixels; when not given the one of the data set.
        turn: Degrees by which the two turned views look further to the left and to the right.
        upright: search: also find faces of photos that lie on their side, stand on their head or are cut by the
            border; off: look once at the photo as it is.
        all_faces: Keep detections that the landmark model takes for no face, being too unsure of its points.
        overwrite: Do again what is done, replacing its files.
    """

    depth_model: Path | None = None
    dense_model: Path | None = None
    crops: tuple[str, ...] = ()
    crop_size: int | None = None
    turn: float = 30.0
    upright: Upright = "search"
    all_faces: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Raise ``UsageError`` on an unknown crop or an impossible number."""
        if not 1.0 <= self.turn <= LARGEST_TURN:
            raise UsageError(f"--turn lies between 1 and {LARGEST_TURN:g} degrees, not at {self.turn:g}.")
        if self.crop_size is not None and not 16 <= self.crop_size <= 4096:
            raise UsageError(f"--crop-size lies between 16 and 4096 pixels, not at {self.crop_size}.")
        if self.crop_size is not None and not self.crops:
            raise UsageError("--crop-size is that of --crops: name at least one, for example --crops ffhq.")
        from lineament.faces.crops import crop_size  # imports torch

        for name in self.crops:
            crop_size(name)

    def recorded(self) -> dict[str, Any]:
        """Return the settings that change a result, but for the models."""
        return {
            "crops": list(self.crops),
            "crop_size": self.crop_size,
            "turn": self.turn,
            "upright": self.upright,
            "all_faces": self.all_faces or None,
        }

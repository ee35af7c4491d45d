"""The options of `lineament data prepare ffhq | metfaces`; importing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lineament.errors import UsageError
from lineament.pipeline.prepare.options import PrepareOptions

DATA_SETS = ("ffhq", "metfaces")
# Detector of the published preparation, the smallest face that it looks for, and whose first detection counts.
PAPER = PrepareOptions(detector="mtcnn", min_face=20.0, upright="off")


@dataclass(frozen=True)
class PublishedOptions:
    """For ffhq and metfaces: landmarks and camera poses as GMPI's published preparation lays them out.

    Attributes:
        preset: paper: MTCNN and its first detection, as published; when not given the largest face that --detector
            finds.
        deep3d: Weights of Deep3DFaceRecon (epoch_20.pth) that the poses come from; when not given they come from the
            head that fits our landmarks, with --preset paper there are none.
    """

    preset: Literal["paper"] | None = None
    deep3d: Path | None = None

    @property
    def poses(self) -> Literal["deep3d", "head", "none"]:
        """What poses come from."""
        if self.deep3d is not None:
            return "deep3d"
        return "none" if self.preset == "paper" else "head"

    def detection(self, cutting: PrepareOptions) -> PrepareOptions:
        """How faces are found.

        Raises:
            UsageError: If options are given that the preset has its own values of, or a detector without landmarks.
        """
        if self.preset == "paper":
            given = [
                name
                for name in ("detector", "min_face", "min_score", "upright")
                if getattr(cutting, name) not in (getattr(PrepareOptions(), name), getattr(PAPER, name))
            ]
            if given:
                flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
                raise UsageError(
                    f"--preset paper has values of its own for {flags}: leave out one or the other."
                )
            return PAPER
        if cutting.detector == "lbp":
            raise UsageError("the detector lbp gives no landmarks: give --detector yunet or mtcnn.")
        return cutting

"""The options of `lineament data prepare`.

They are parsed before anything is computed: what imports torch is imported by the methods that need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lineament.errors import UsageError
from lineament.faces.detector_options import DEFAULT_DETECTOR, Upright


@dataclass(frozen=True)
class PrepareOptions:
    """How faces are found and cut out.

    Attributes:
        crop: Rule by which faces are cut out: box, dve-celeba, dve-hourglass, fabrec, ffhq, ...
        size: Side of the crops in pixels; the published one of the rule when not given.
        around: What is kept around the crop on every side, as a share of its side, for random moves and other views of
            the face; box keeps 0.15 when not given, fabrec the region that it moves, sqrt(2) times the crop.
        margins: What fabrec grows a face box by above and below, as shares of its height; 0.05 0.10 when not given.
        by: auto: the rule may use landmarks, known or detected; box: by the face box alone.
        faces: main: the one face a portrait is of; all: every face found.
        detector: Detector for photos without a known face: yunet, mtcnn or lbp.
        detect: Detect faces even where the data set knows them.
        min_face: Smallest face, longer side of its box in pixels of the photo.
        min_score: Least confidence of a detected face, 0..1; when not given what suits the detector.
        upright: search: find faces that lie on their side, stand on their head or are cut by the border, too, and turn
            them upright; off: look once.
        format: File format of the crops: webp and png lose nothing (webp is smaller and faster), jpg is a fourth of
            their size.
        quality: Quality of jpg, 1 to 100.
    """

    crop: str = "box"
    size: int | None = None
    around: float | None = None
    margins: tuple[float, float] | None = None
    by: Literal["auto", "box"] = "auto"
    faces: Literal["main", "all"] = "main"
    detector: str = DEFAULT_DETECTOR
    detect: bool = False
    min_face: float = 20.0
    min_score: float | None = None
    upright: Upright = "search"
    format: Literal["webp", "png", "jpg"] = "webp"
    quality: int = 95

    def check(self) -> None:
        """Raise ``UsageError`` on unknown names and impossible numbers."""
        from lineament.data.images import MAX_PIXELS
        from lineament.faces.crop_rules import crop_entry
        from lineament.faces.detection import make_detector

        entry = crop_entry(self.crop)
        make_detector(self.detector)
        if self.margins is not None and "margins" not in entry.options:
            raise UsageError(f"the crop {self.crop!r} has no margins above and below: leave them out.")
        if not all(-0.5 < margin <= 4 for margin in self.margins or ()):
            raise UsageError(f"margins are shares of the box's height up to 4, not {self.margins}.")
        if (self.size is not None and self.size < 1) or not 0 < self.min_face < float("inf"):
            raise UsageError(
                f"--size and --min-face must be positive, not {self.size} and {self.min_face:g}."
            )
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise UsageError(f"--min-score lies in 0..1, not at {self.min_score:g}.")
        if not 0 <= (self.around or 0) <= 4 or not 1 <= self.quality <= 100:
            raise UsageError(
                f"what is kept around a crop is 0 to 4 of its sides and the quality 1 to 100, not {self.around} and "
                f"{self.quality}."
            )
        region, around = self.frame
        if (region + 2 * around) ** 2 > MAX_PIXELS:
            raise UsageError(
                f"crops of {region + 2 * around} x {region + 2 * around} pixels would be refused when they are read: "
                "lower the size or what is kept around them."
            )

    @property
    def crop_side(self) -> int:
        """Side of the crop in pixels."""
        from lineament.faces.crops import crop_size

        return self.size or crop_size(self.crop)

    @property
    def frame(self) -> tuple[int, int]:
        """Side in pixels of the region that the rule gives, and of what is kept around it on each side."""
        from lineament.faces.crop_rules import crop_entry
        from lineament.faces.crops import region_side

        region = region_side(self.crop, self.crop_side)
        around = crop_entry(self.crop).around if self.around is None else self.around
        return region, round(region * around)


@dataclass(frozen=True)
class PosedOptions:
    """With --for gmpi: images and camera poses that a GMPI is trained on.

    Attributes:
        resolution: Side of the images in pixels: a power of two from 16 to 1024.
        radius: Distance of the cameras from the face, in whatever unit the scene is to have.
        fov_degrees: Full angle of view that the cameras are given, degrees; that of the paper's FFHQ when not
            given, whose crop this is.
        mirrored: Write the mirror image of each image too, with the mirrored pose.
        coefficients: Also write each pose as a .mat file of Deep3DFaceRecon, in coeffs/.
        landmark_model: Run directory, model folder or name of a landmark model; face-68 when not given.
        max_head_error: Faces whose landmarks fit a head worse are left out: mean distance, in shares of that between
            the outer eye corners.
    """

    resolution: int | None = None
    radius: float = 1.0
    fov_degrees: float = 12.6
    mirrored: bool = True
    coefficients: bool = False
    landmark_model: Path | None = None
    max_head_error: float = 0.08

    def check(self) -> None:
        """Raise ``UsageError`` on impossible numbers."""
        if self.resolution not in (16, 32, 64, 128, 256, 512, 1024):
            given = "" if self.resolution is None else f", not {self.resolution}"
            raise UsageError(f"--for gmpi needs --resolution, a power of two from 16 to 1024{given}.")
        if not (0 < self.radius < float("inf") and self.max_head_error > 0):
            raise UsageError(
                f"--radius {self.radius:g} and --max-head-error {self.max_head_error:g} must be above 0."
            )
        if not 0 < self.fov_degrees < 180:
            raise UsageError(f"--fov-degrees must be between 0 and 180, not {self.fov_degrees:g}.")

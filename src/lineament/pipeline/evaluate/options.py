"""The options of `lineament evaluate`.

They are parsed before anything is computed: what imports torch is imported by the methods that need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lineament.errors import UsageError

if TYPE_CHECKING:
    from lineament.faces.frame import Frame

# How faces are cut: as published where data and model have a published way, else by the face box; always by the box.
AUTO, BOX = "auto", "box"
# The protocol of runs that draw images, whose other options are GeneratorOptions.
GMPI = "gmpi"


@dataclass(frozen=True)
class EvaluateOptions:
    """How to score. What is None was not asked for; what is asked for and has no effect on the cards is refused.

    Attributes:
        protocol: landmarks: error of the landmarks; matching: error of matched landmarks between warps and identities;
            reconstruction: what an autoencoder makes of the faces, as a whole and at their landmarks; gmpi: images and
            multiplane images that a generator draws, compared with real images.
        count: Use only the first so many samples; 0 uses all.
        scheme: Landmark scheme to compare in, a name or a yaml file; the labels' own when not given.
        normaliser: What errors are divided by (landmarks, faces cut by the box): inter-ocular, inter-pupil, box,
            box-side, diagonal; when not given inter-ocular, and box for a scheme without eyes.
        box_jitter: Move and scale each face box by up to this share of its side (landmarks, faces cut by the box).
        seed: Seed of everything random in the protocol.
        device: Where the model runs: cpu or cuda.
        crops: How faces are cut: auto (as published where data set and model have a published way, else box), box, or
            the name of a published preprocessing (celeba, aflw-m, aflw-r, 300w, 300w-bicubic); auto when not given.
        image_size: Features from elsewhere: side in pixels of the images before the crop; 100 when not given.
        crop: Features from elsewhere: pixels cut off each side; 15 when not given.
        view: Features from elsewhere, cut by the box: side of what is seen, in sides of the face box;
            1.2 when not given.
        features_out: Write the features of the matching evaluation: .npz, .safetensors, or a folder.
        pictures_out: Write the images of the matching evaluation into this folder, for a program that will describe
            them.
        tables: Landmarks: also write subset tables, cumulative curves and the error of every landmark into this folder.
        area: Landmarks: how the area under the cumulative curve is taken: exact (when not given), or paper (3FabRec:
            the mean of the curve at 50 thresholds from 0 to 10 %).
    """

    protocol: Literal["landmarks", "matching", "reconstruction", "gmpi"] = "landmarks"
    count: int = 0
    scheme: str | None = None
    normaliser: str | None = None
    box_jitter: float = 0.0
    seed: int = 0
    device: str = "cpu"
    crops: str | None = None
    image_size: int | None = None
    crop: int | None = None
    view: float | None = None
    features_out: Path | None = None
    pictures_out: Path | None = None
    tables: Path | None = None
    area: Literal["exact", "paper"] | None = None

    def check(self) -> None:
        """Raise ``UsageError`` on unknown names, impossible numbers, and options that do not go together."""
        from lineament.evaluation.published import get_protocol
        from lineament.faces.normalisers import normaliser

        if self.count < 0 or not 0 <= self.box_jitter < 1:
            raise UsageError("--count is at least 0 and --box-jitter in 0..1.")
        if self.normaliser is not None:
            normaliser(self.normaliser)
        if self.crops not in (None, AUTO, BOX):
            get_protocol(self.crops)
        if self.view is not None and not 0 < self.view < float("inf"):
            raise UsageError(f"--view is a number of box sides above 0, not {self.view:g}.")
        frame = self.frame
        if frame.crop < 0 or frame.seen < 8:
            raise UsageError(f"cutting {frame.crop} px off each side of {frame.size} px leaves too little.")
        if (self.features_out or self.pictures_out) and self.protocol != "matching":
            raise UsageError("--features-out and --pictures-out belong to --protocol matching.")
        if self.tables and self.protocol != "landmarks":
            raise UsageError("--tables belongs to --protocol landmarks.")
        if self.protocol != "landmarks":
            self.refuse(f"--protocol {self.protocol}", "scheme", "normaliser", "box_jitter", "area")
        if self.protocol == GMPI:
            self.refuse(f"--protocol {GMPI}", "count", "crops", "image_size", "crop", "view")

    @property
    def frame(self) -> Frame:
        """The view of features from elsewhere."""
        from lineament.faces.frame import Frame  # imports torch

        size = 100 if self.image_size is None else self.image_size
        return Frame(size, 15 if self.crop is None else self.crop, 1.2 if self.view is None else self.view)

    def refuse(self, what: str, *names: str) -> None:
        """Raise ``UsageError`` if one of these fields was asked for, which has no effect on ``what``."""
        for name in names:
            value = getattr(self, name)
            if value not in (None, 0.0) and not (name == "crops" and value in (AUTO, BOX)):
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} {value} has no effect on {what}: leave it out.")

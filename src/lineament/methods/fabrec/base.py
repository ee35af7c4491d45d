"""Runs that build on runs: what is taken over from the one before, its sizes and its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lineament.errors import UsageError
from lineament.methods.fabrec.crop import Style, View
from lineament.methods.fabrec.model import Layout
from lineament.training.base_run import INHERIT, BaseKind, Inherited
from lineament.training.recipe import RecipeConfig


@dataclass(frozen=True)
class FabrecConfig(RecipeConfig):
    """Fields that all recipes of this method have."""

    # Run to build on; "random" starts with untrained networks.
    base: str = ""
    # Side of the image in pixels: 64, 128, 256 or 512; the base's, without a base 256.
    size: Inherited[int] = INHERIT
    # Channels of the networks' widest maps; the base's, without a base 64 as in the published models.
    width: Inherited[int] = INHERIT
    # Dimensions of the code; the base's, without a base 99 as in the published models.
    code: Inherited[int] = INHERIT
    # Ours: a linear map beside the encoder's convolutions, which short training needs; the base's, else none.
    linear: Inherited[bool] = INHERIT
    # Ours: the same beside the decoder's: better images, while its maps, which landmarks are read from, know less.
    linear_decoder: Inherited[bool] = INHERIT
    # Crop by the face box, or by the landmarks where a sample has more than five.
    crop: str = "box"
    # Turn faces that are cut by their landmarks (scheme 68 or 98) upright first.
    align: bool = False
    # What a face box is grown by above its upper edge, as a share of its height (300-W 0.20, WFLW 0).
    margin_top: float = 0.05
    # The same below its lower edge (300-W 0.12, WFLW and VGGFace2 0.10, AffectNet 0.25).
    margin_bottom: float = 0.10
    # How images are resampled: exact, or paper (bicubic to 8 bits, aliasing, twice).
    resampling: str = "exact"

    @property
    def layout(self) -> Layout:
        """Sizes of the networks."""
        return Layout(self.size, self.width, self.code, self.linear, self.linear_decoder)

    @property
    def view(self) -> View:
        """What the networks see of an image."""
        if self.crop not in ("box", "landmarks") or self.resampling not in ("exact", "paper"):
            raise UsageError(
                f"crop is box or landmarks and resampling exact or paper, not {self.crop!r}, {self.resampling!r}."
            )
        if self.align and self.crop != "landmarks":
            raise UsageError("--align turns faces by their landmarks: give --crop landmarks too.")
        style: Style = "paper" if self.resampling == "paper" else "exact"
        by = "landmarks" if self.crop == "landmarks" else "box"
        return View(self.size, by, (self.margin_top, self.margin_bottom), style, self.align)  # type: ignore[arg-type]


# What all recipes of this method build on.
AUTOENCODER_BASE = BaseKind(
    wanted="the networks of an autoencoder",
    give="a run of fabrec-ae or fabrec-landmarks",
    accepts=lambda run: run.method == "fabrec",
    defaults={"size": 256, "width": 64, "code": 99, "linear": False, "linear_decoder": False},
)


def code_noise(code: int, generator: torch.Generator) -> torch.Tensor:
    """A normal code ``[code]``."""
    return torch.randn(code, generator=generator)

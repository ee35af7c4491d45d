"""Runs that build on runs: what is taken over from the one before, its sizes and its weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from lineament.errors import UsageError
from lineament.methods.fabrec.crop import Style, View
from lineament.methods.fabrec.model import Layout
from lineament.training.recipe import RecipeConfig
from lineament.training.run import Run, open_run

# The word for untrained networks, for tests and as a baseline.
RANDOM_BASE = "random"


@dataclass(frozen=True)
class FabrecConfig(RecipeConfig):
    """Fields that all recipes of this method have."""

    # Run to build on; "random" starts with untrained networks.
    base: str = ""
    # Side of the picture in pixels: 64, 128, 256 or 512. As all sizes, 0 takes the base's (without a base 256).
    size: int = 0
    # Channels of the networks' widest maps; 64 in the published models.
    width: int = 0
    # Dimensions of the code; 99 in the published models.
    code: int = 0
    # Ours: a linear map beside the encoder's convolutions, which short training needs. A base decides for its children.
    linear: bool = False
    # Ours: the same beside the decoder's: better pictures, while its maps, which landmarks are read from, know less.
    linear_decoder: bool = False
    # Set by itself once the sizes were taken over: the weights then come from the run's own checkpoint.
    settled: bool = False
    # Crop by the face box, or by the landmarks where a sample has more than five.
    crop: str = "box"
    # Turn faces that are cut by their landmarks (scheme 68 or 98) upright first.
    align: bool = False
    # What a face box is grown by above its upper edge, as a share of its height (300-W 0.20, WFLW 0).
    margin_top: float = 0.05
    # The same below its lower edge (300-W 0.12, WFLW and VGGFace2 0.10, AffectNet 0.25).
    margin_bottom: float = 0.10
    # How pictures are resampled: exact, or published (bicubic to 8 bits, aliasing, twice).
    resampling: str = "exact"

    @property
    def layout(self) -> Layout:
        """Sizes of the networks."""
        return Layout(self.size, self.width, self.code, self.linear, self.linear_decoder)

    @property
    def view(self) -> View:
        """What the networks see of a photograph."""
        if self.crop not in ("box", "landmarks") or self.resampling not in ("exact", "published"):
            raise UsageError(
                f"crop is box or landmarks and resampling exact or published, not {self.crop!r}, {self.resampling!r}."
            )
        if self.align and self.crop != "landmarks":
            raise UsageError("--align turns faces by their landmarks: give --crop landmarks too.")
        style: Style = "published" if self.resampling == "published" else "exact"
        by = "landmarks" if self.crop == "landmarks" else "box"
        return View(self.size, by, (self.margin_top, self.margin_bottom), style, self.align)  # type: ignore[arg-type]


C = TypeVar("C", bound=FabrecConfig)


def settle(config: C) -> C:
    """Fill in the sizes, from the base run where there is one; a config that is settled is returned as it is.

    Raises:
        UsageError: If the base is not a run of this method, or sizes are given that differ from its own.
    """
    if config.settled:
        return config
    defaults = {"size": 256, "width": 64, "code": 99}
    linear = {key: getattr(config, key) for key in ("linear", "linear_decoder")}
    if config.base not in ("", RANDOM_BASE):
        run = open_base(config.base)
        defaults = {key: int(run.config[key]) for key in defaults}
        linear = {key: bool(run.config.get(key, False)) for key in linear}
        for key, value in defaults.items():
            given = getattr(config, key)
            if given and given != value:
                raise UsageError(
                    f"the base run {config.base} has {key} {value}, not {given}: leave --{key} out."
                )
    sizes: dict[str, Any] = {key: getattr(config, key) or value for key, value in defaults.items()}
    return replace(config, **sizes, **linear, settled=True)


def open_base(base: str) -> Run:
    """Open a run to build on.

    Raises:
        UsageError: If it is of another method.
    """
    run = open_run(base)
    if run.method != "fabrec":
        raise UsageError(
            f"the base run {base} holds {run.recipe}: give a run of fabrec-ae or fabrec-landmarks."
        )
    return run


def take_weights(networks: dict[str, nn.Module], base: str, names: Iterable[str]) -> list[str]:
    """Copy the weights of a base run; where a tensor has another shape (another number of landmarks) it stays.

    Args:
        networks: Networks to fill.
        base: The run.
        names: Networks to take over where the base has them.

    Returns:
        Names of the tensors that were not taken over.
    """
    trained = open_base(base).load_networks()
    left = []
    for name in names:
        if name not in trained:
            continue
        mine, theirs = networks[name].state_dict(), trained[name].state_dict()
        fitting = {
            key: value for key, value in theirs.items() if key in mine and mine[key].shape == value.shape
        }
        left += [f"{name}/{key}" for key in mine if key not in fitting]
        networks[name].load_state_dict(fitting, strict=False)
    return left


def code_noise(code: int, generator: torch.Generator) -> torch.Tensor:
    """A normal code ``[code]``."""
    return torch.randn(code, generator=generator)

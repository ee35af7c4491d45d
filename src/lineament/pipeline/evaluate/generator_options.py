"""The options of `lineament evaluate --protocol gmpi`; importing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from lineament.errors import UsageError
from lineament.pipeline.gmpi.options import PUBLISHED_PLANES, DrawOptions

# What a preset says of the numbers that are not given: generated and real images, people that are looked at.
PRESETS = {
    "quick": {"generated": 5000, "real": 5000, "people": 500},
    "debug": {"generated": 2048, "real": 2048, "people": 64},
    "paper": {"generated": 50_000, "real": 50_000, "people": 1024},
}


@dataclass(frozen=True)
class GeneratorOptions:
    """How runs that draw images are scored (--protocol gmpi).

    Attributes:
        preset: Numbers that are not given: quick (5000 generated and real images, 500 people), debug (2048 and 64),
            or paper (50000, 1024 people, 8 bits as published); quick when not given.
        generated: Generated images whose features are compared with those of real ones.
        real: Most real images, chosen at random, always the same; 0 takes all.
        people: Generated people whose geometry is looked at; 0 leaves that out.
        planes: Planes of a multiplane image; 96, as published, when not given, or those of the training where the run
            can make no others.
        truncation: Truncation psi; published figures have 1.
        rounding: How generated images get 8 bits: nearest, or published (fractions dropped, half a level darker than
            real images); nearest when not given, but in the preset paper.
        resize: Cut real images of another size to their middle square and scale it; else only where the run's training
            did so.
        inception: State dict of the Inception network of FID (pt_inception-2015-12-05), for FID and KID; nothing is
            downloaded.
        arcface: ONNX file of an ArcFace network, which tells whether views show the same person; without one the shape
            of fitted heads does, if it tells synthetic people apart.
        arcface_levels: Range of that network's input: -1..1 (most), 0..1, or 0..255 (those of the ONNX model zoo).
        deep3d: Checkpoint of Deep3DFaceRecon (epoch_20.pth), by which poses are estimated as published.
        identity_views: From where people are compared with themselves: fixed (20 degrees to either side), or random
            (two cameras of the training's spread, as published); fixed when not given, but in the preset paper.
        head: Head model that is fitted to the faces of generated people: builtin or ict.
        workers: Processes that draw and look at once.
    """

    preset: Literal["quick", "debug", "paper"] | None = None
    generated: int | None = None
    real: int | None = None
    people: int | None = None
    planes: int | None = None
    truncation: float = 1.0
    rounding: Literal["nearest", "published"] | None = None
    resize: bool = False
    inception: Path | None = None
    arcface: Path | None = None
    arcface_levels: Literal["-1..1", "0..1", "0..255"] = "-1..1"
    deep3d: Path | None = None
    identity_views: Literal["fixed", "random"] | None = None
    head: Literal["builtin", "ict"] = "builtin"
    workers: int = 2

    def settled(self) -> GeneratorOptions:
        """The same with every number said.

        Raises:
            UsageError: On an impossible number, or a file that is not there.
        """
        preset = self.preset or "quick"
        given = {name: getattr(self, name) for name in PRESETS[preset] if getattr(self, name) is not None}
        published = preset == "paper"
        rounding = self.rounding or ("published" if published else "nearest")
        views = self.identity_views or ("random" if published else "fixed")
        numbers = {**PRESETS[preset], **given}
        said = replace(self, preset=preset, rounding=rounding, identity_views=views, **numbers)
        said._check()
        return said

    def _check(self) -> None:
        DrawOptions(self.planes, self.truncation).check()
        for name, least in (("generated", 2), ("real", 0), ("people", 0), ("workers", 1)):
            value = getattr(self, name)
            if value < least or (name == "real" and value == 1):
                raise UsageError(f"--{name} must be {least} or more{_all(name)}, not {value}.")
        for name, path, what in (
            ("inception", self.inception, "the state dict of FID's network"),
            ("arcface", self.arcface, "an ONNX network"),
            ("deep3d", self.deep3d, "the checkpoint of Deep3DFaceRecon"),
        ):
            if path is not None and not path.is_file():
                raise UsageError(f"--{name} {path} is no file: give {what}.")

    def given(self) -> list[str]:
        """Flags of what was asked for, for words about other protocols."""
        plain = GeneratorOptions()
        return [
            f"--{each.name.replace('_', '-')}"
            for each in fields(self)
            if getattr(self, each.name) != getattr(plain, each.name)
        ]


def default_planes(any_planes: bool, trained: int, asked: int | None) -> int:
    """Planes of a multiplane image.

    Raises:
        UsageError: If the run can make no such number.
    """
    if asked not in (None, trained) and not any_planes:
        raise UsageError(
            f"the run draws {trained} planes and no others, --planes says {asked}: leave it out."
        )
    return asked or (PUBLISHED_PLANES if any_planes else trained)


def _all(name: str) -> str:
    return " (0 takes all, 1 is too few)" if name == "real" else ""

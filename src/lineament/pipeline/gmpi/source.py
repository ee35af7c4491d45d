"""Multiplane images of the seeds of a run, their settings, and where results of a run go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import MultiplaneGenerator
from lineament.errors import UsageError
from lineament.files import write_text
from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
from lineament.inference import Model, load
from lineament.pipeline.gmpi.options import PUBLISHED_PLANES, DrawOptions
from lineament.pipeline.predict.results import (
    first_difference,
    other_settings,
    read_settings,
    run_digest,
    settings_meta,
)
from lineament.training.model_folder import ModelFolder

# Angles may lie beyond the limits by this, in radians: degrees are rounded.
_ROUNDING = 1e-4


class MultiplaneSource:
    """A run that draws multiplane images.

    Args:
        run: Run directory, model folder, or name of a model.
        options: What is drawn.

    Attributes:
        model: As loaded.
        generator: What draws.
        planes: Planes that are drawn.

    Raises:
        UsageError: If it draws none, or not as many planes.
        LineamentError: If there is no such run.
    """

    def __init__(self, run: str | Path, options: DrawOptions) -> None:
        options.check()
        self.options = options
        self.model: Model = load(run, options.device)
        self.generator = self.model.capability(
            MultiplaneGenerator, "train one with `lineament train gmpi-folder`"
        )
        trained = len(self.generator.planes)
        self.planes = options.planes or (PUBLISHED_PLANES if self.generator.any_planes else trained)
        if self.planes != trained and not self.generator.any_planes:
            raise UsageError(
                f"{self.model.run.label} draws {trained} planes and no others, --planes says {self.planes}: "
                "leave it out."
            )

    def latent(self, seed: int) -> Tensor:
        """The latent ``[latent_size]`` of a seed, the same on every device."""
        return latent_of(seed, self.generator.latent_size)

    def draw(self, latent: Tensor, **facts: object) -> MultiplaneImage:
        """Draw a multiplane image, which says of itself what it was made from."""
        image = self.generator.multiplane(latent, self.planes, self.options.truncation)
        known: dict[str, object] = {
            "run": self.model.run.label,
            "step": self.model.step,
            "truncation": self.options.truncation,
        }
        return MultiplaneImage(
            image.colour, image.background, image.alpha, image.planes, image.cameras, known | facts
        )

    def folder(self, out: Path | None, name: str) -> Path:
        """Where results go: ``out``, else a folder of that name in the run.

        Raises:
            UsageError: If a model that is no run is named without ``--out``, or ``--out`` is a file.
        """
        if out is None:
            if isinstance(self.model.run, ModelFolder):
                raise UsageError(
                    f"{self.model.run.label} is a model and no run: say with --out where results go."
                )
            return self.model.run.folder / name
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out} is a file: give a folder.")
        return out

    def settings(self, **more: object) -> dict[str, Any]:
        """All that decides a result besides the seed."""
        return {
            "model": run_digest(self.model.run.folder),
            "planes": self.planes,
            "truncation": self.options.truncation,
            **more,
        }


def latent_of(seed: int, size: int) -> Tensor:
    """The latent ``[size]`` of a seed: the first draws of torch's CPU generator."""
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def between(first: Tensor, second: Tensor, share: float) -> Tensor:
    """A latent between two others on the arc between them (spherical interpolation), its length likewise between."""
    a, b = first.norm(), second.norm()
    if not (a > 0 and b > 0):
        return first.lerp(second, share)
    angle = torch.arccos(((first / a) @ (second / b)).clamp(-1, 1))
    if float(angle.sin()) < 1e-6:
        return first.lerp(second, share)
    one, other = torch.sin((1 - share) * angle), torch.sin(share * angle)
    direction = (one * first / a + other * second / b) / angle.sin()
    return direction * a.lerp(b, share)


def check_angles(cameras: SphereCameras, yaw: Tensor, pitch: Tensor, outside: str) -> None:
    """Refuse angles beyond those for which the planes are large enough.

    Raises:
        UsageError: If ``outside`` is ``"raise"`` and an angle lies beyond.
    """
    if outside != "raise":
        return
    for name, angles, (low, high) in (
        ("yaw", yaw, cameras.yaw_limits),
        ("pitch", pitch, cameras.pitch_limits),
    ):
        worst = angles[((angles - (low + high) / 2).abs()).argmax()]
        if not low - _ROUNDING <= float(worst) <= high + _ROUNDING:
            ends = torch.rad2deg(torch.tensor([low, high, float(worst)])).tolist()
            raise UsageError(
                f"a {name} of {ends[2]:.1f} degrees lies beyond {ends[0]:.1f} to {ends[1]:.1f}, for which the "
                "planes of this run are large enough: give a smaller one, or --outside clamp or zero."
            )


def done_before(path: Path, settings: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether a result was made before, with these settings; its JSON file is written last.

    Raises:
        UsageError: If it was made with others, and is not to be replaced.
    """
    if overwrite or not path.exists():
        return False
    before = read_settings(path)
    gone = {name: None for name in before or {} if name not in settings}
    why = "it does not say which" if before is None else first_difference(before, {**settings, **gone})
    if why:
        raise other_settings([(path, why)])
    return True


def write_facts(path: Path, verb: str, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> Path:
    """Write the JSON file of a result, which says how it was made."""
    value = {"meta": settings_meta(verb, settings), **facts}
    write_text(path, json.dumps(value, indent=1) + "\n")
    return path


def seed_name(seed: int) -> str:
    """How files of a seed begin: ``seed0007``."""
    return f"seed{seed:04d}"

"""Videos of a run: the camera moves around a face, in colour and depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lineament.data.video import video_writer
from lineament.eight_bit import to_array
from lineament.errors import UsageError, unknown_name
from lineament.files import replacing
from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
from lineament.pipeline.gmpi.drawing import depth_image
from lineament.pipeline.gmpi.options import (
    PATHS,
    PUBLISHED_PITCH,
    PUBLISHED_RATE,
    PUBLISHED_YAW,
    ViewOptions,
)
from lineament.pipeline.gmpi.source import (
    MultiplaneSource,
    between,
    check_angles,
    done_before,
    seed_name,
    write_facts,
)
from lineament.progress import Progress, silent

# Views that are rendered together from the same textures.
TOGETHER = 4
# Share of the light behind which rendering stops: far below a level of 8 bits.
STOP = 1e-4
# Share of the limits that a circle takes.
_CIRCLE = 0.8
NOTE = "Made by lineament gmpi: a generated face, not a photo."


@dataclass(frozen=True)
class VideoRequest:
    """What to film.

    Attributes:
        seeds: Faces.
        yaw: ``[T]`` radians of the frames.
        pitch: ``[T]`` radians.
        rate: Frames a second.
        kinds: ``colour``, ``depth`` or both: one file each.
        interpolate: One video that goes from each seed to the next, instead of one for each.
    """

    seeds: list[int]
    yaw: Tensor
    pitch: Tensor
    rate: float = PUBLISHED_RATE
    kinds: tuple[str, ...] = ("colour", "depth")
    interpolate: bool = False

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on an impossible rate, or where there is nothing to interpolate between."""
        if not 0 < self.rate <= 240:
            raise UsageError(f"--fps must lie above 0 and at most at 240, not {self.rate:g}.")
        if self.interpolate and (len(self.seeds) < 2 or len(self.yaw) < len(self.seeds)):
            raise UsageError(
                f"--interpolate goes from seed to seed: give two or more, and as many frames, not {len(self.seeds)} "
                f"seeds in {len(self.yaw)} frames."
            )


def camera_path(cameras: SphereCameras, kind: str, count: int) -> tuple[Tensor, Tensor]:
    """Yaw and pitch ``[count]`` of a path within the limits of the cameras, radians.

    Args:
        cameras: Their limits.
        kind: ``"yaw"``: from 0.5 to -0.5, as published, with the pitch in the middle; ``"pitch"``: from 0.3 to -0.3;
            both are cut to the limits. ``"circle"``: a closed ellipse.
        count: Frames.

    Raises:
        UsageError: If the kind is unknown.
    """
    if kind not in PATHS:
        raise unknown_name("path of the camera", kind, PATHS)
    yaw, pitch = (torch.full((count,), each, dtype=torch.float64) for each in cameras.middle)
    if kind == "circle":
        turn = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
        wide, tall = (_CIRCLE * (high - low) / 2 for low, high in (cameras.yaw_limits, cameras.pitch_limits))
        return yaw + wide * torch.sin(turn), pitch + tall * torch.cos(turn)
    if kind == "yaw":
        return _sweep(PUBLISHED_YAW, cameras.yaw_limits, count), pitch
    return yaw, _sweep(PUBLISHED_PITCH, cameras.pitch_limits, count)


def _sweep(end: float, limits: tuple[float, float], count: int) -> Tensor:
    first, last = min(end, limits[1]), max(-end, limits[0])
    return torch.linspace(first, last, count, dtype=torch.float64)


def draw_videos(
    source: MultiplaneSource,
    request: VideoRequest,
    view: ViewOptions,
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Iterator[tuple[Path, bool]]:
    """Film each seed, or the way from seed to seed.

    A seed is one network pass, whose textures all frames share; between seeds each frame is one. Files are complete
    or absent; those that are done are left, so that an interrupted command is simply repeated.

    Args:
        source: Draws.
        request: What is filmed.
        view: How it is seen.
        folder: Where videos go.
        overwrite: Replace videos that are there.
        progress: Shows how far it is.

    Yields:
        The JSON file of each video (the others have its name), and whether it was done before.

    Raises:
        UsageError: If angles lie beyond the planes, or videos of other settings are there.
        DataError: If a file cannot be written.
    """
    check_angles(source.generator.cameras, request.yaw, request.pitch, view.outside)
    degrees = torch.rad2deg(torch.stack([request.yaw, request.pitch], 1)).tolist()
    common = {**vars(view), "yaw_pitch": degrees, "rate": request.rate, "kinds": list(request.kinds)}
    groups = [request.seeds] if request.interpolate else [[seed] for seed in request.seeds]
    plans = []
    for seeds in groups:
        name = f"seeds{seeds[0]}-{seeds[-1]}" if request.interpolate else seed_name(seeds[0])
        settings = source.settings(**common, seeds=seeds)
        path = folder / f"{name}.json"
        plans.append((seeds, settings, path, done_before(path, settings, overwrite)))
    for seeds, settings, path, done in plans:
        if not done:
            files = _film(source, seeds, request, view, path, progress)
            write_facts(path, "gmpi video", settings, {"files": [file.name for file in files]})
        yield path, done


def _film(
    source: MultiplaneSource,
    seeds: list[int],
    request: VideoRequest,
    view: ViewOptions,
    path: Path,
    progress: Progress,
) -> list[Path]:
    files = [path.with_name(f"{path.stem}.{kind}.mp4") for kind in request.kinds]
    total = len(request.yaw)
    with ExitStack() as stack:
        writers: dict[str, Callable[[np.ndarray], None]] = {}
        for kind, file in zip(request.kinds, files, strict=True):
            temporary = stack.enter_context(replacing(file))
            writers[kind] = stack.enter_context(video_writer(temporary, request.rate, NOTE))
        advance = stack.enter_context(progress(path.stem, total, "frames"))
        for image, frames in _images(source, seeds, total):
            yaw, pitch = request.yaw[frames], request.pitch[frames]
            seen = image.render(yaw, pitch, view.size, outside=view.outside, stop=STOP)
            made = {"colour": seen.image}
            if "depth" in writers:
                made["depth"] = depth_image(image, seen.depth, view.depth_colours)
            for kind, write in writers.items():
                for each in made[kind]:
                    write(to_array(each))
            for _ in range(len(yaw)):
                advance()
    return files


def _images(
    source: MultiplaneSource, seeds: list[int], total: int
) -> Iterator[tuple[MultiplaneImage, slice]]:
    """Multiplane images, each with the frames in which it is seen."""
    if len(seeds) == 1:
        image = source.draw(source.latent(seeds[0]), seed=seeds[0])
        for first in range(0, total, TOGETHER):
            yield image, slice(first, min(first + TOGETHER, total))
        return
    latents = [source.latent(seed) for seed in seeds]
    for frame in range(total):
        place = frame * (len(seeds) - 1) / (total - 1)
        leg = min(int(place), len(seeds) - 2)
        yield source.draw(between(latents[leg], latents[leg + 1], place - leg)), slice(frame, frame + 1)

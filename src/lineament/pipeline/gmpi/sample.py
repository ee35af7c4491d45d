"""Samples of a run: grids of views and depths, planes, single images, and multiplane images as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lineament.data.images import write_image
from lineament.geometry.multiplane import MultiplaneImage
from lineament.methods.gmpi.figures import image_grid
from lineament.pipeline.gmpi.drawing import alpha_grid, depth_image, rgba_grid, write_rgba
from lineament.pipeline.gmpi.options import ViewOptions
from lineament.pipeline.gmpi.source import (
    MultiplaneSource,
    check_angles,
    done_before,
    seed_name,
    write_facts,
)
from lineament.progress import Progress, silent
from lineament.report.multiplane_files import write_atlas, write_npz

JSON_NAME = "samples.json"


@dataclass(frozen=True)
class SampleRequest:
    """What to draw.

    Attributes:
        seeds: One face each, a row of the grids.
        yaw: ``[V]`` radians of the views, the columns of the grids.
        pitch: ``[V]`` radians.
        kinds: Of :data:`lineament.pipeline.gmpi.options.KINDS`.
        single: Also write each view by itself.
        mpi: Of :data:`lineament.pipeline.gmpi.options.MPI_FORMATS`: files of the multiplane images.
    """

    seeds: list[int]
    yaw: Tensor
    pitch: Tensor
    kinds: tuple[str, ...]
    single: bool = False
    mpi: tuple[str, ...] = ()


def draw_samples(
    source: MultiplaneSource,
    request: SampleRequest,
    view: ViewOptions,
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> list[Path] | None:
    """Draw samples into a folder: one network pass for each seed.

    Args:
        source: Draws.
        request: What.
        view: How it is seen.
        folder: Where; made if it is missing.
        overwrite: Replace samples that are there.
        progress: Shows how far it is.

    Returns:
        The files, ``samples.json`` last; None where the same samples are there already.

    Raises:
        UsageError: If angles lie beyond the planes, or other samples are there.
        DataError: If a file cannot be written.
    """
    check_angles(source.generator.cameras, request.yaw, request.pitch, view.outside)
    degrees = torch.rad2deg(torch.stack([request.yaw, request.pitch], 1)).tolist()
    settings = source.settings(
        **vars(view),
        seeds=request.seeds,
        yaw_pitch=degrees,
        kinds=list(request.kinds),
        single=request.single,
        mpi=list(request.mpi),
    )
    if done_before(folder / JSON_NAME, settings, overwrite):
        return None
    rows: dict[str, list[Tensor]] = {"colour": [], "depth": []}
    files: list[Path] = []
    with progress("drawing", len(request.seeds), "faces") as advance:
        for seed in request.seeds:
            image = source.draw(source.latent(seed), seed=seed)
            seen = image.render(request.yaw, request.pitch, view.size, outside=view.outside)
            made = {"colour": seen.image.cpu(), "depth": depth_image(image, seen.depth, view.depth_colours)}
            for kind, row in rows.items():
                if kind in request.kinds:
                    row.append(made[kind])
                    if request.single:
                        files += _write_each(folder, seed, kind, made[kind], degrees)
            files += _write_planes(folder / seed_name(seed), image, request)
            advance()
    for kind, row in rows.items():
        if row:
            grid = image_grid(torch.cat(row), len(request.yaw))
            files.append(write_image(folder / f"{kind}.png", grid))
    facts = {"files": [file.relative_to(folder).as_posix() for file in files]}
    files.append(write_facts(folder / JSON_NAME, "gmpi sample", settings, facts))
    return files


def _write_each(folder: Path, seed: int, kind: str, views: Tensor, degrees: list[list[float]]) -> list[Path]:
    return [
        write_image(folder / f"{seed_name(seed)}.yaw{yaw:+.4g}.pitch{pitch:+.4g}.{kind}.png", each)
        for each, (yaw, pitch) in zip(views, degrees, strict=True)
    ]


def _write_planes(stem: Path, image: MultiplaneImage, request: SampleRequest) -> list[Path]:
    files = []
    if "alpha" in request.kinds:
        files.append(write_image(stem.with_name(f"{stem.name}.alpha.png"), alpha_grid(image)))
    if "rgba" in request.kinds:
        files.append(write_rgba(stem.with_name(f"{stem.name}.rgba.png"), rgba_grid(image)))
    if "npz" in request.mpi:
        files.append(write_npz(stem.with_name(f"{stem.name}.mpi.npz"), image))
    if "atlas" in request.mpi:
        files.append(write_atlas(stem.with_name(f"{stem.name}.mpi"), image))
    return files

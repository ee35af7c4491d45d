"""`lineament gmpi sample`: draws samples of a run of multiplane images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.cli.turn import join_angles
from lineament.pipeline.gmpi.options import (
    KINDS,
    MPI_FORMATS,
    DrawOptions,
    ViewOptions,
    check_words,
    parse_seeds,
)
from lineament.progress import progress


@dataclass
class Command:
    """Draw samples of a run of multiplane images (GMPI).

    Writes grids of views, colour.png and depth.png (a row for each seed, a column for each pose), the planes of each
    seed, seed0000.alpha.png and seed0000.rgba.png, and samples.json with how they were made. Angles are degrees: 20, a
    list -20,0,20 or a range -25..25; positive yaw moves the camera to the right, positive pitch up. Example:
    `lineament gmpi sample runs/gmpi --seeds 0..7 --yaw -25,0,25 --mpi atlas --out samples/`.
    """

    # Run directory of gmpi-folder, model folder, or name of a model.
    run: Positional[Path]
    # Seeds of the faces: numbers and ranges.
    seeds: tuple[str, ...] = ("0..7",)
    # Camera to the side, degrees.
    yaw: str = "0"
    # Camera up, degrees.
    pitch: str = "0"
    # Number of views: as many as a list has, 5 of a range.
    views: int | None = None
    # Images: colour, depth, alpha, rgba.
    kinds: tuple[str, ...] = KINDS
    # Also write each view as an image by itself.
    single: bool = False
    # Also write the multiplane images: npz (exact), atlas (a folder of 8-bit PNGs with mpi.json).
    mpi: tuple[str, ...] = ()
    # Folder for the results; samples in the run directory when not given.
    out: Path | None = None
    # What is drawn.
    drawing: DrawOptions = field(default_factory=DrawOptions)
    # How it is seen.
    view: ViewOptions = field(default_factory=ViewOptions)
    # Replace samples that are there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "gmpi sample", join_angles(arguments))
    from lineament.pipeline.gmpi.sample import SampleRequest, draw_samples
    from lineament.pipeline.gmpi.source import MultiplaneSource
    from lineament.pipeline.turn.angles import frame_count, parse_angles, poses

    command.view.check()
    check_words("kind of image", command.kinds, KINDS)
    if command.mpi:
        check_words("format of multiplane images", command.mpi, MPI_FORMATS)
    seeds = parse_seeds(command.seeds)
    yaw, pitch = parse_angles(command.yaw, "yaw"), parse_angles(command.pitch, "pitch")
    count = frame_count((yaw, pitch), command.views, 5)
    angles = poses(yaw, pitch, parse_angles("0", "roll"), count)
    source = MultiplaneSource(command.run, command.drawing)
    request = SampleRequest(
        seeds, angles[:, 0], angles[:, 1], command.kinds, single=command.single, mpi=command.mpi
    )
    folder = source.folder(command.out, "samples")
    files = draw_samples(
        source, request, command.view, folder, overwrite=command.overwrite, progress=progress
    )
    if files is None:
        print(f"done before: {folder / 'samples.json'}")
    else:
        print(
            f"{len(seeds)} faces, {count} view(s), {source.planes} planes: wrote {len(files)} files to {folder}"
        )
    return 0

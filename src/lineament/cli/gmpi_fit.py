"""`lineament gmpi fit`: fits a multiplane image to images of one scene with known camera poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import UsageError
from lineament.progress import progress


@dataclass
class Command:
    """Fit a multiplane image to images of one scene with known camera poses, without any trained network.

    Writes fitted.mpi.npz (exact), fitted.mpi (a folder of 8-bit PNGs), fitted.html (turn it by hand), held-back.png
    (views that were not fitted to: the view, what is shown, the difference times 4, the depth) and fit.json with the
    scores. An interrupted fit goes on when the command is repeated. Examples:
    `lineament gmpi fit lee_perry_smith_head/ --out fitted/`, `lineament gmpi fit posed/ --out fitted/`.
    """

    # Folder of square images of one scene with EG3D's dataset.json; or with the scan of a head (head.npz), of which
    # views are drawn.
    source: Positional[Path]
    # Folder for the results.
    out: Path
    # Poses that lie elsewhere: dataset.json, folder of .mat files, or table.
    pose: Path | None = None
    # Planes.
    planes: int = 64
    # Steps of gradient descent, from few texels to all.
    steps: int = 600
    # Views of a step.
    batch: int = 4
    # Texels of a side; that of the images when not given, 256 of a scan.
    resolution: int | None = None
    # Of a scan: views that are drawn, those held back included.
    views: int = 60
    # Views that are held back and scored; a third when not given.
    held_back: int | None = None
    # z of the first plane, for cameras at their distance from the origin of the poses; from the angle of view when not
    # given.
    near: float | None = None
    # z of the last plane, likewise.
    far: float | None = None
    # Seed of the order of the views, and of those that are drawn.
    seed: int = 0
    # Begin again, and replace results that are there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "gmpi fit", arguments)
    from lineament.methods.gmpi.fitting import FitSettings
    from lineament.pipeline.gmpi.fit import FIGURE_NAME, FitRequest, fit_multiplane

    if command.out.exists() and not command.out.is_dir():
        raise UsageError(f"--out {command.out} is a file: give a folder.")
    request = FitRequest(
        command.source,
        command.pose,
        FitSettings(command.planes, command.steps, command.batch, command.seed),
        command.views,
        command.held_back,
        command.resolution,
        command.near,
        command.far,
    )
    facts, done = fit_multiplane(request, command.out, overwrite=command.overwrite, progress=progress)
    print(f"{'done before' if done else 'wrote'}: {', '.join(facts['files'])} in {command.out}")
    if "psnr" in facts:
        inside = f", {facts['psnr_mask']:.1f} inside the head" if "psnr_mask" in facts else ""
        print(f"views held back: {facts['psnr']:.1f} dB{inside} (see {FIGURE_NAME})")
    if "depth_error" in facts:
        print(
            f"depth off by {100 * facts['depth_error_share']:.2f} % of the way from first to last plane (median)"
        )
    return 0

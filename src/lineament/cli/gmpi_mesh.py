"""`lineament gmpi mesh`: makes coloured meshes of samples of a run of multiplane images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import LineamentError, UsageError
from lineament.pipeline.gmpi.options import MESH_FORMATS, DrawOptions, check_words, parse_seeds
from lineament.progress import progress


@dataclass
class Command:
    """Make coloured meshes of samples of a run of multiplane images (GMPI).

    Writes seed0000.ply, seed0000.glb and seed0000.mesh.json. The surface is where the opacities of many evenly spaced
    planes, in a cube with a cell for each texel, smoothed over three cells, pass a half; its largest part is kept.
    Axes: x right, y up, z to the viewer; the point that cameras look at is the origin; the unit is that of the run's
    scene. Colours are those of the front image. Example:
    `lineament gmpi mesh runs/gmpi --seeds 0..3 --truncation 0.7 --out meshes/`.
    """

    # Run directory of gmpi-folder, model folder, or name of a model.
    run: Positional[Path]
    # Seeds of the faces: numbers and ranges such as 0..7.
    seeds: tuple[str, ...] = ("0",)
    # Files: ply, glb.
    format: tuple[str, ...] = MESH_FORMATS
    # Standard deviation of the smoothing in cells; 3 as published.
    smooth: float = 3.0
    # Keep all parts of the surface instead of the largest.
    whole: bool = False
    # Truncation psi: share of the way from the mean face to the one drawn.
    truncation: float = 1.0
    # Where the networks run: cpu or cuda.
    device: str = "cpu"
    # Folder for the results; meshes in the run directory when not given.
    out: Path | None = None
    # Replace meshes that are there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "gmpi mesh", arguments)
    from lineament.pipeline.gmpi.mesh import draw_mesh, volume_of, write_mesh
    from lineament.pipeline.gmpi.source import MultiplaneSource, done_before, seed_name, write_facts
    from lineament.pipeline.predict.results import tell_failures

    check_words("format of meshes", command.format, MESH_FORMATS)
    if not 0 <= command.smooth <= 10:
        raise UsageError(f"--smooth must lie between 0 and 10 cells, not {command.smooth:g}.")
    seeds = parse_seeds(command.seeds)
    source = MultiplaneSource(command.run, DrawOptions(None, command.truncation, command.device))
    generator = source.generator
    if not generator.any_planes:
        raise UsageError(
            f"{source.model.run.label} draws {len(generator.planes)} planes and no others; a mesh needs evenly spaced "
            "ones: train another --variant."
        )
    volume = volume_of(generator.planes, generator.resolution)
    folder = source.folder(command.out, "meshes")
    settings = source.settings(smooth=command.smooth, whole=command.whole, formats=list(command.format))
    settings["planes"] = volume.planes
    paths = {seed: folder / f"{seed_name(seed)}.mesh.json" for seed in seeds}
    done = {seed: done_before(path, settings, command.overwrite) for seed, path in paths.items()}
    failed = {}
    for seed, path in paths.items():
        if done[seed]:
            print(f"done before: {path}")
            continue
        try:
            mesh = draw_mesh(
                generator,
                source.latent(seed),
                psi=command.truncation,
                sigma=command.smooth,
                whole=command.whole,
                progress=progress,
            )
        except LineamentError as error:
            if len(seeds) == 1:
                raise
            failed[seed_name(seed)] = f"{seed_name(seed)}: {error}"
            continue
        files = [write_mesh(folder / f"{seed_name(seed)}.{kind}", mesh) for kind in command.format]
        facts = {
            "seed": seed,
            "files": [file.name for file in files],
            "vertices": len(mesh.vertices),
            "triangles": len(mesh.faces),
            "axes": "x right, y up, z to the viewer; the point that cameras look at is the origin",
        }
        write_facts(path, "gmpi mesh", settings, facts)
        print(f"{len(mesh.vertices)} vertices: wrote {', '.join(map(str, files))}")
    return tell_failures(failed)

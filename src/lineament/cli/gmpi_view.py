"""`lineament gmpi view`: makes pages on which multiplane images are turned by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import UsageError
from lineament.pipeline.gmpi.options import DrawOptions, parse_seeds
from lineament.progress import progress


@dataclass
class Command:
    """Make a page on which a multiplane image is turned by hand, in any browser with WebGL2.

    Each page is one HTML file that opens from disk and asks nothing of any other place: drag it with mouse or finger,
    or use the keys (? explains them); it shows depth and single planes, too. Of a run, seeds are drawn (seed0000.html);
    multiplane images from `lineament gmpi sample --mpi` or `lineament mpi` are shown as they are. Examples:
    `lineament gmpi view runs/gmpi --seeds 0..3 --out pages/`, `lineament gmpi view samples/seed0000.mpi.npz`.
    """

    # Run directory of gmpi-folder, model folder, name of a model; or a multiplane image: npz, or folder with mpi.json.
    run: Positional[Path]
    # Seeds of the faces of a run, numbers and ranges such as 0..7; 0 when not given.
    seeds: tuple[str, ...] | None = None
    # Folder for the pages; pages in the run directory, or beside the multiplane image, when not given.
    out: Path | None = None
    # What is drawn of a run.
    drawing: DrawOptions = field(default_factory=DrawOptions)
    # Replace pages that are there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "gmpi view", arguments)
    from lineament.pipeline.gmpi.source import MultiplaneSource
    from lineament.pipeline.gmpi.view import draw_pages, is_multiplane_file, page_of_file

    if is_multiplane_file(command.run):
        if command.seeds is not None or command.drawing != DrawOptions():
            raise UsageError(
                f"{command.run} is a multiplane image, which is shown as it is: --seeds and what is drawn are for runs."
            )
        if command.out is not None and command.out.exists() and not command.out.is_dir():
            raise UsageError(f"--out {command.out} is a file: give a folder.")
        _tell(*page_of_file(command.run, command.out, overwrite=command.overwrite))
        return 0
    seeds = parse_seeds(command.seeds or ("0",))
    source = MultiplaneSource(command.run, command.drawing)
    folder = source.folder(command.out, "pages")
    for page, done in draw_pages(source, seeds, folder, overwrite=command.overwrite, progress=progress):
        _tell(page, done)
    return 0


def _tell(page: Path, done: bool) -> None:
    print(f"done before: {page}" if done else f"wrote {page}: open it in a browser")

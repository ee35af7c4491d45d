"""`lineament mpi`: makes a multiplane image of a photo, which can be looked at from the side."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import UsageError
from lineament.pipeline.gmpi.options import check_words
from lineament.pipeline.mpi.options import RESULTS, MpiOptions
from lineament.pipeline.turn.options import FaceOptions
from lineament.progress import progress


@dataclass
class Command:
    """Make a multiplane image of a photo with a person, which can be looked at from the side.

    The whole photo is kept; person and background come apart, the face gets its depth, hair, neck and shoulders go on
    from it, and what lies behind is filled in from what is beside it. Writes NAME.mpi.html (a page that opens in any
    browser with WebGL2: drag it), NAME.mpi.mp4, NAME.mpi/ (PNGs with mpi.json) and NAME.mpi.json: beside a single
    photo, and for a folder in FOLDER-mpi beside it. It is seen from up to 20 degrees to the side and 12 up and down;
    straight on it is the photo. What is done is skipped. Example: `lineament mpi photo.jpg`.
    """

    # Photos and folders of photos.
    photos: Positional[tuple[Path, ...]]
    # Results: page, video, atlas, npz.
    results: tuple[str, ...] = ("page", "video", "atlas")
    # Folder for the results.
    out: Path | None = None
    # How it is made.
    make: MpiOptions = field(default_factory=MpiOptions)
    # Where keypoints and depth come from.
    face: FaceOptions = field(default_factory=FaceOptions)
    # Do again what is done, replacing its files.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "mpi", arguments)
    from lineament.pipeline.mpi.run import photo_multiplane, write_results
    from lineament.pipeline.predict.photos import Photo, plan
    from lineament.pipeline.predict.results import go_through, refuse_other_settings
    from lineament.pipeline.turn.run import FaceRequest

    command.make.check()
    check_words("result", command.results, RESULTS)
    if not command.photos:
        raise UsageError("give at least one photo or folder: lineament mpi PHOTO|FOLDER...")
    photos = plan(command.photos, command.out, ".mpi")
    single = len(photos) == 1 and not command.photos[0].is_dir()
    if command.face.keypoints and not single:
        raise UsageError("--keypoints are those of one photo: give one.")
    request = FaceRequest.open(command.face)
    settings = {**command.face.recorded(), **asdict(command.make), "results": sorted(command.results)}
    if not command.overwrite:
        refuse_other_settings(photos, settings)

    def work(photo: Photo) -> bool:
        if photo.json.exists() and not command.overwrite:
            print(f"done before: {photo.json}")
            return True
        made = photo_multiplane(photo.path, request, command.make)
        files = write_results(made, photo, command.results, command.make, settings, progress)
        print(f"keypoints: {made.found.origin}\ndepth: {made.depth.origin}")
        if made.note:
            print(f"note: {made.note}")
        print(f"{len(made.image.planes)} planes: wrote {', '.join(map(str, files))}")
        return False

    tally = go_through(photos, work, single)
    return 0 if single else tally.tell()

"""`lineament depth`: the depth of a face."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import UsageError
from lineament.pipeline.turn.options import FaceOptions


@dataclass
class Command:
    """Find the depth of the main face of photos.

    Writes NAME.depth.npz (numbers), .png (coloured map), .ply (mesh with colours) and .json: beside a single
    photo, and for a folder in FOLDER-depth beside it. Keypoints come from --keypoints, else from
    --landmarks-model, else from the model face-68. Depth comes from the run or model --model, else from face-depth.
    Where such a model is not there, or `head` stands in its place, a mean head is put on the detector's five points,
    and the depth is that of a head fitted to the keypoints. What was used is printed. What is done is skipped.
    Example: `lineament depth photo.jpg`.
    """

    # Photos and folders of photos.
    photos: Positional[tuple[Path, ...]]
    # Folder for the results.
    out: Path | None = None
    # Where keypoints and depth come from.
    face: FaceOptions = field(default_factory=FaceOptions)
    # Do again what is done, replacing its files.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "depth", arguments)
    from lineament.pipeline.predict.depth import measure_depth, write_depth
    from lineament.pipeline.predict.photos import Photo, plan
    from lineament.pipeline.predict.results import go_through, refuse_other_settings
    from lineament.pipeline.turn.run import FaceRequest

    if not command.photos:
        raise UsageError("give at least one photo or folder: lineament depth PHOTO|FOLDER...")
    photos = plan(command.photos, command.out, ".depth")
    single = len(photos) == 1 and not command.photos[0].is_dir()
    request = FaceRequest.open(command.face)
    settings = command.face.recorded()
    if not command.overwrite:
        refuse_other_settings(photos, settings)

    def work(photo: Photo) -> bool:
        if photo.json.exists() and not command.overwrite:
            print(f"done before: {photo.json}")
            return True
        face = measure_depth(photo.path, request)
        written = write_depth(face, photo, settings)
        print(f"keypoints: {face.found.origin}\ndepth: {face.keypoint_depth.origin}")
        print(f"wrote {', '.join(str(path) for path in written)}")
        return False

    tally = go_through(photos, work, single)
    return 0 if single else tally.tell()

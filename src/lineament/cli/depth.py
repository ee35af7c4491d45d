"""`lineament depth`: the depth of a face."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Find the depth of the main face of photographs.

    Writes NAME.depth.npz (numbers), .png (coloured map), .ply (mesh with colours) and .json: beside a single
    photograph, and for a folder in FOLDER-depth beside it. Keypoints come from --keypoints, else from
    --landmarks-model, else a mean head is put on the detector's five points. Depth comes from the depthnet run --model,
    else from a head fitted to the keypoints. What was used is printed. What is done is skipped.
    Example: `lineament depth photo.jpg`.
    """

    # Photographs and folders of photographs.
    photos: Positional[tuple[Path, ...]]
    # Folder for the results.
    out: Path | None = None
    # Label file (json, csv, pts) with 68 keypoints, or such as can be turned into them.
    keypoints: Path | None = None
    # Run directory of a landmark model.
    landmarks_model: Path | None = None
    # Run directory of a depthnet recipe.
    model: Path | None = None
    # Head that is fitted to the keypoints: builtin or ict.
    head: str = "builtin"
    # Folder of the data packs, for the ICT head.
    packs: Path | None = None
    # Where the landmark model runs: cpu or cuda.
    device: str = "cpu"
    # Do again what is done, replacing its files.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "depth", arguments)
    from lineament.errors import LineamentError, UsageError
    from lineament.pipeline.predict.depth import measure_depth, write_depth
    from lineament.pipeline.predict.photos import plan
    from lineament.pipeline.turn.run import make_request

    if not command.photos:
        raise UsageError("give at least one photograph or folder: lineament depth PHOTO|FOLDER...")
    photos = plan(command.photos, command.out, ".depth")
    single = len(photos) == 1 and not command.photos[0].is_dir()
    request = make_request(
        command.keypoints, command.landmarks_model, command.model, command.head, command.packs, command.device
    )
    done = failed = 0
    for photo in photos:
        if photo.json.exists() and not command.overwrite:
            print(f"done before: {photo.json}")
            done += 1
            continue
        try:
            face = measure_depth(photo.path, request)
            written = write_depth(face, photo)
        except LineamentError as error:
            if single:
                raise
            print(f"left out: {error}", file=sys.stderr)
            failed += 1
            continue
        if not (done or failed) or single:
            print(f"keypoints: {face.points_origin}\ndepth: {face.keypoint_depth.origin}")
        print(f"wrote {', '.join(str(path) for path in written)}")
        done += 1
    if failed:
        print(f"{done} done, {failed} left out.")
    return 0 if done else 1

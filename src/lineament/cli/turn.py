"""`lineament turn`: turns the face of a photograph."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from lineament.cli.parse import parse

if TYPE_CHECKING:
    from lineament.pipeline.predict.photos import Photo
    from lineament.pipeline.turn.run import FaceRequest, Written

ANGLES = ("--yaw", "--pitch", "--roll")


@dataclass
class Command:
    """Turn the face of a photograph: a strip of pictures (.png), a video (.mp4) or an animation (.gif).

    Keypoints come from --keypoints, else from --landmarks-model, else a mean head is put on the detector's five points.
    Depth comes from the depthnet run --model, else from a head fitted to the keypoints. What was used is printed and
    written beside the result as json. Angles are degrees: 20, a list -30,0,30 or a range -40..40; positive yaw turns to
    the image right, positive pitch down, positive roll clockwise. Example:
    `lineament turn photo.jpg --yaw -40..40 --keep-background --out turn.mp4`.
    """

    # Photograph, or folder of photographs.
    photo: Positional[Path]
    # Turn to the side, degrees.
    yaw: str = "-40..40"
    # Nod, degrees.
    pitch: str = "0"
    # Tilt, degrees.
    roll: str = "0"
    # Put the face on to the face of this photograph, instead of turning it.
    onto: Path | None = None
    # File (.png, .mp4, .gif) or folder for the result; beside the photograph when not given.
    out: Path | None = None
    # Kind of result where --out names none: png, mp4 or gif.
    format: str = "png"
    # Label file (json, csv, pts) with 68 keypoints, or such as can be turned into them.
    keypoints: Path | None = None
    # The same for --onto.
    onto_keypoints: Path | None = None
    # Run directory of a landmark model.
    landmarks_model: Path | None = None
    # Run directory of a depthnet recipe.
    model: Path | None = None
    # Head that is fitted to the keypoints: builtin or ict.
    head: str = "builtin"
    # Folder of the data packs, for the ICT head.
    packs: Path | None = None
    # Keep the rest of the photograph around the face.
    keep_background: bool = False
    # Colour around a face without its photograph: white, grey or black.
    background: str = "white"
    # dense: a surface with hidden parts and a forehead; triangles: the published mesh of 107 triangles.
    warp: str = "dense"
    # Angles are those of the result (0 looks straight ahead), instead of changes of the photograph's.
    absolute: bool = False
    # With --onto: leave the colours as they are.
    keep_colours: bool = False
    # Show the whole photograph instead of a square around the head.
    whole: bool = False
    # Number of pictures: 7 in a strip, 72 in a video.
    frames: int | None = None
    # Longer side of a picture in pixels: 320 in a strip, 512 in a video.
    size: int | None = None
    # Where the landmark model runs: cpu or cuda.
    device: str = "cpu"
    # Replace results that exist.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "turn", join_angles(arguments))
    from lineament.errors import LineamentError, UsageError
    from lineament.pipeline.predict.photos import plan
    from lineament.pipeline.turn.angles import frame_count, parse_angles
    from lineament.pipeline.turn.frames import TurnOptions
    from lineament.pipeline.turn.run import check_size, make_request, put_onto, turn_photo
    from lineament.pipeline.turn.write import kind_of

    angles = tuple(parse_angles(getattr(command, name[2:]), name[2:]) for name in ANGLES)
    frame_count(angles, command.frames, 1)
    file = (
        command.out if command.out is not None and command.out.suffix and not command.out.is_dir() else None
    )
    ending = file.suffix.lower() if file is not None else f".{command.format}"
    size = check_size(command.size, "strip" if command.onto else kind_of(file or Path(f"a{ending}")))
    options = TurnOptions(
        command.warp, command.keep_background, command.background, command.absolute, size, command.whole
    )
    photos = plan([command.photo], None if file else command.out, ".onto" if command.onto else ".turn")
    if command.photo.is_dir() and (file or command.keypoints):
        raise UsageError(
            f"{command.photo} is a folder: --out must be one, too, and --keypoints is for one photograph."
        )
    outs = [file or photo.stem.with_name(photo.stem.name + ending) for photo in photos]
    if not command.photo.is_dir() and outs[0].exists() and not command.overwrite:
        raise UsageError(f"{outs[0]} exists: give --overwrite, or another name with --out.")
    request = make_request(
        command.keypoints, command.landmarks_model, command.model, command.head, command.packs, command.device
    )

    def work(photo: Photo, out: Path) -> Written:
        if command.onto is not None:
            other = _for_target(command, request)
            return put_onto(
                photo.path, command.onto, request, other, options, out, keep_colours=command.keep_colours
            )
        return turn_photo(
            photo.path, request, (angles[0], angles[1], angles[2]), options, out, command.frames
        )

    failed = 0
    for photo, out in zip(photos, outs, strict=True):
        if out.exists() and not command.overwrite:
            print(f"done before: {out}")
            continue
        try:
            written = work(photo, out)
        except LineamentError as error:
            if not command.photo.is_dir():
                raise
            print(f"left out: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"keypoints: {written.points}\ndepth: {written.depth}")
        print(
            f"{written.count} picture(s): wrote {written.path} and {written.path.with_suffix('.json').name}"
        )
    return 0 if failed < len(photos) else 1


def join_angles(arguments: list[str]) -> list[str]:
    """Join ``--yaw -40..40`` to ``--yaw=-40..40``: a parser of options would take the range for an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] in ANGLES and word[:1] == "-" and word[1:2].isdigit():
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _for_target(command: Command, request: FaceRequest) -> FaceRequest:
    from dataclasses import replace

    return replace(request, keypoints=command.onto_keypoints)

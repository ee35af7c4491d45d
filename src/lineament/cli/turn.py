"""`lineament turn`: turns the face of a photo."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import UsageError
from lineament.pipeline.turn.options import FaceOptions, TurnOptions

ANGLES = ("--yaw", "--pitch", "--roll")


@dataclass
class Command:
    """Turn the face of a photo: a strip of images (.png), a video (.mp4) or an animation (.gif).

    Keypoints come from --keypoints, else from --landmarks-model, else from the model face-68. Depth comes from the run
    or model --model, else from face-depth. Where such a model is not there, or `head` stands in its place, a mean head
    is put on the detector's five points, and the depth is that of a head fitted to the keypoints. What was used is
    printed and written beside the result as json. Angles are degrees: 20, a list -30,0,30 or a range -40..40; positive
    yaw turns to the image right, positive pitch down, positive roll clockwise. Example:
    `lineament turn photo.jpg --yaw -40..40 --keep-background --out turn.mp4`.
    """

    # Photo, or folder of photos.
    photo: Positional[Path]
    # Turn to the side, degrees.
    yaw: str = "-40..40"
    # Nod, degrees.
    pitch: str = "0"
    # Tilt, degrees.
    roll: str = "0"
    # Put the face on to the face of this photo, instead of turning it.
    onto: Path | None = None
    # File (.png, .mp4, .gif) or folder for the result; beside the photo when not given.
    out: Path | None = None
    # Kind of result where --out names none: png, mp4 or gif.
    format: str = "png"
    # As --keypoints, for --onto.
    onto_keypoints: Path | None = None
    # Where keypoints and depth come from.
    face: FaceOptions = field(default_factory=FaceOptions)
    # How the face is drawn.
    look: TurnOptions = field(default_factory=TurnOptions)
    # With --onto: leave the colours as they are.
    keep_colours: bool = False
    # Number of images: 7 in a strip, 72 in a video.
    frames: int | None = None
    # Replace results that exist.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "turn", join_angles(arguments))
    from lineament.pipeline.predict.photos import Photo, plan
    from lineament.pipeline.predict.results import go_through, refuse_other_settings
    from lineament.pipeline.turn.angles import frame_count, parse_angles
    from lineament.pipeline.turn.run import FaceRequest, swap_face, turn_photo
    from lineament.pipeline.turn.write import kind_of

    angles = tuple(parse_angles(getattr(command, name[2:]), name[2:]) for name in ANGLES)
    frame_count(angles, command.frames, 1)
    file = (
        command.out if command.out is not None and command.out.suffix and not command.out.is_dir() else None
    )
    ending = file.suffix.lower() if file is not None else f".{command.format}"
    if command.onto is None:
        kind_of(file or Path(f"a{ending}"))
    photos = plan([command.photo], None if file else command.out, ".onto" if command.onto else ".turn")
    single = not command.photo.is_dir()
    if not single and (file or command.face.keypoints):
        raise UsageError(
            f"{command.photo} is a folder: --out must be one, too, and --keypoints is for one photo."
        )
    outs = {photo: file or photo.stem.with_name(photo.stem.name + ending) for photo in photos}
    if single and outs[photos[0]].exists() and not command.overwrite:
        raise UsageError(f"{outs[photos[0]]} exists: give --overwrite, or another name with --out.")
    request = FaceRequest.open(command.face)
    other = replace(request, keypoints=command.onto_keypoints)
    settings = _settings(command)
    if not command.overwrite:
        done = [photo for photo in photos if outs[photo].exists()]
        refuse_other_settings(done, settings, lambda photo: outs[photo].with_suffix(".json"))

    def work(photo: Photo) -> bool:
        out = outs[photo]
        if out.exists() and not command.overwrite:
            print(f"done before: {out}")
            return True
        if command.onto is not None:
            keep = command.keep_colours
            written = swap_face(
                photo, command.onto, request, other, command.look, out, keep_colours=keep, settings=settings
            )
        else:
            three = (angles[0], angles[1], angles[2])
            written = turn_photo(photo, request, three, command.look, out, command.frames, settings)
        print(f"keypoints: {written.points}\ndepth: {written.depth}")
        if written.note:
            print(f"note: {written.note}")
        print(f"{written.count} image(s): wrote {written.path} and {written.path.with_suffix('.json').name}")
        return False

    tally = go_through(photos, work, single)
    return 0 if single else tally.tell()


def _settings(command: Command) -> dict[str, Any]:
    """All that decides a turned image besides the photo."""
    from lineament.pipeline.predict.results import file_digest

    return {
        **command.face.recorded(),
        **asdict(command.look),
        **{name[2:]: getattr(command, name[2:]) for name in ANGLES},
        "frames": command.frames,
        "onto": file_digest(command.onto),
        "onto_keypoints": file_digest(command.onto_keypoints),
        "keep_colours": command.keep_colours,
    }


def join_angles(arguments: list[str]) -> list[str]:
    """Join ``--yaw -40..40`` to ``--yaw=-40..40``: a parser of options would take the range for an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] in ANGLES and word[:1] == "-" and word[1:2].isdigit():
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined

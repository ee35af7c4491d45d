"""`lineament gmpi video`: films samples of a run of multiplane images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.cli.turn import join_angles
from lineament.errors import UsageError
from lineament.pipeline.gmpi.options import (
    PUBLISHED_FRAMES,
    PUBLISHED_RATE,
    DrawOptions,
    ViewOptions,
    check_words,
    parse_seeds,
)
from lineament.progress import progress


@dataclass
class Command:
    """Film samples of a run of multiplane images (GMPI) while the camera moves around them.

    Writes seed0000.colour.mp4, seed0000.depth.mp4 and seed0000.json for each seed, or with --interpolate one video that
    goes from seed to seed (seeds0-7.colour.mp4). Defaults are those of the published program: 100 frames, 8 a second,
    yaw from 28.6 to -28.6 degrees, or with --path pitch from 17.2 to -17.2; what the planes of the run are too small
    for is cut off. Videos that are done are left: an interrupted command is simply repeated. Examples:
    `lineament gmpi video runs/gmpi --seeds 0..3 --fps 25 --loop --out videos/`,
    `lineament gmpi video runs/gmpi --seeds 0..7 --interpolate --path circle --frames 400`.
    """

    # Run directory of gmpi-folder, model folder, or name of a model.
    run: Positional[Path]
    # Seeds of the faces: numbers and ranges such as 0..7.
    seeds: tuple[str, ...] = ("0",)
    # Path of the camera, where no angles are given: yaw, pitch or circle.
    path: str = "yaw"
    # Camera to the side, degrees: 10, or a range 25..-25.
    yaw: str | None = None
    # Camera up, degrees, likewise.
    pitch: str | None = None
    # Frames of a video.
    frames: int = PUBLISHED_FRAMES
    # Frames a second.
    fps: float = PUBLISHED_RATE
    # Go along the path and back, slowly at both ends, so that the video can be repeated without a jump.
    loop: bool = False
    # Go from seed to seed in one video.
    interpolate: bool = False
    # Videos: colour, depth.
    kinds: tuple[str, ...] = ("colour", "depth")
    # Folder for the results; videos in the run directory when not given.
    out: Path | None = None
    # What is drawn.
    drawing: DrawOptions = field(default_factory=DrawOptions)
    # How it is seen.
    view: ViewOptions = field(default_factory=ViewOptions)
    # Replace videos that are there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "gmpi video", join_angles(arguments))
    import torch

    from lineament.pipeline.gmpi.source import MultiplaneSource
    from lineament.pipeline.gmpi.video import VideoRequest, camera_path, draw_videos
    from lineament.pipeline.turn.angles import parse_angles, ping_pong, poses

    command.view.check()
    check_words("kind of video", command.kinds, ("colour", "depth"))
    seeds = parse_seeds(command.seeds)
    if not 1 <= command.frames <= 100_000:
        raise UsageError(f"--frames must lie between 1 and 100000, not {command.frames}.")
    given = command.yaw is not None or command.pitch is not None
    if given and command.path != "yaw":
        raise UsageError(
            f"--path {command.path} is for a video without --yaw and --pitch: give one of the two."
        )
    yaw, pitch = (
        parse_angles(each or "0", name) for each, name in ((command.yaw, "yaw"), (command.pitch, "pitch"))
    )
    source = MultiplaneSource(command.run, command.drawing)
    if given:
        angles = poses(yaw, pitch, parse_angles("0", "roll"), command.frames)[:, :2]
    else:
        angles = torch.stack(camera_path(source.generator.cameras, command.path, command.frames), 1)
    if command.loop:
        angles = ping_pong(angles)
    request = VideoRequest(
        seeds,
        angles[:, 0],
        angles[:, 1],
        command.fps,
        command.kinds,
        interpolate=command.interpolate,
    )
    folder = source.folder(command.out, "videos")
    for path, done in draw_videos(
        source, request, command.view, folder, overwrite=command.overwrite, progress=progress
    ):
        names = ", ".join(f"{path.stem}.{kind}.mp4" for kind in command.kinds)
        print(f"done before: {path}" if done else f"{command.frames} frames: wrote {names} and {path}")
    return 0

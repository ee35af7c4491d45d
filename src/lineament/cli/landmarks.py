"""`lineament landmarks`: puts landmarks on photos and videos with a trained model."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import DataError, NoFaceError, UsageError
from lineament.pipeline.predict.options import LandmarkOptions
from lineament.pipeline.video.options import VIDEO_FORMATS, FollowOptions, VideoOptions
from lineament.progress import progress

if TYPE_CHECKING:
    from lineament.inference import Model
    from lineament.pipeline.predict.photos import Photo
    from lineament.pipeline.video.landmarks import VideoReport


@dataclass
class Command:
    """Put landmarks on photos and videos, in pixels of the photo or of the frame.

    Writes NAME.landmarks.json, .csv, .pts and an overlay .png (of a video .mp4): beside a single file, and for a folder
    in FOLDER-landmarks beside it, with landmarks.json and landmarks.csv over all its photos. What is done is
    skipped. Examples: `lineament landmarks photo.jpg`,
    `lineament landmarks clip.mp4 --model runs/marks --smooth 2`.
    """

    # Photos, videos, and folders of both.
    photos: Positional[tuple[Path, ...]]
    # Run directory of a landmark model, model folder, or name of a model (`lineament models`); face-68 when not given.
    model: Path | None = None
    # Folder for the results.
    out: Path | None = None
    # Take animated GIFs, PNGs and WebPs for videos; without it their first frame is a photo.
    video: bool = False
    # Landmark scheme of the results, a name or a yaml file, where the model's can become it (68: 66 or 5); its own when
    # not given.
    scheme: str | None = None
    # Where the model runs: cpu or cuda.
    device: str = "cpu"
    # Compute in bfloat16, where the model can (fabrec-landmarks): faster on hardware that has it, confidences to two
    # digits.
    bf16: bool = False
    # What is looked for and written.
    marking: LandmarkOptions = field(default_factory=LandmarkOptions)
    # How faces are followed through videos.
    following: FollowOptions = field(default_factory=FollowOptions)


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "landmarks", arguments)
    import torch

    from lineament.capabilities import FaceTiles, LandmarkPredictor
    from lineament.inference import default_model, load
    from lineament.pipeline.predict.photos import LANDMARKS, plan

    if not command.photos:
        raise UsageError(
            "give at least one photo, video or folder: lineament landmarks PHOTO|VIDEO|FOLDER..."
        )
    options = command.marking
    # Wrong words and numbers are said before anything is read.
    options.check()
    files = plan(command.photos, command.out, LANDMARKS, videos=True, animations=command.video)
    videos = [file for file in files if file.is_video]
    photos = [file for file in files if not file.is_video]
    if videos and options.boxes:
        raise UsageError(f"--boxes is for photos: the faces of {videos[0].path} are detected.")
    chosen = command.model or default_model(LandmarkPredictor)
    model = load(
        chosen, command.device, dtype=torch.bfloat16 if command.bf16 else torch.float32, scheme=command.scheme
    )
    for wanted in (LandmarkPredictor, *([FaceTiles] if options.tiles else [])):
        model.capability(wanted)
    video_options = VideoOptions(
        options.format or VIDEO_FORMATS, command.following, options.overwrite, options.all_faces
    )
    single = len(files) == 1 and not command.photos[0].is_dir()
    if single and photos:
        return _one(model, photos[0], options)
    codes = [_many(model, photos, options)] if photos else []
    codes += [_videos(model, videos, video_options, single)] if videos else []
    return max(codes)


def _one(model: Model, photo: Photo, options: LandmarkOptions) -> int:
    from lineament.pipeline.predict.landmarks import predict_landmarks

    report = predict_landmarks(model, [photo], options)
    for reason in report.unreadable.values():
        raise DataError(reason)
    if report.without_face:
        how = "listed for it in the file of boxes" if options.boxes is not None else "found in it"
        why = "".join(f" ({note})" for note in report.rejected.values())
        raise NoFaceError(
            f"{photo.path}: no face was {how}{why}: give its box with --boxes FILE, or another image."
        )
    for note in report.rejected.values():
        print(f"{note}.")
    done = "done before, see" if report.skipped else "wrote"
    print(f"{report.faces} face(s); {done} {', '.join(str(path) for path in report.written)}")
    return 0


def _many(model: Model, photos: list[Photo], options: LandmarkOptions) -> int:
    from lineament.pipeline.predict.landmarks import predict_landmarks, write_tables
    from lineament.pipeline.predict.results import tell_failures

    with progress("landmarks", len(photos), "images") as advance:
        report = predict_landmarks(model, photos, options, advance)
    for name in report.without_face:
        print(f"no face: {name}")
    for name, note in report.rejected.items():
        print(f"{name}: {note}.")
    print(report.summary())
    for folder in sorted({photo.folder for photo in photos}):
        written = write_tables(photos, report, model, folder, options)
        print(f"wrote {folder}: results per image{''.join(f', {path.name}' for path in written)}")
    return tell_failures(report.unreadable)


def _videos(model: Model, videos: list[Photo], options: VideoOptions, single: bool) -> int:
    from lineament.pipeline.predict.results import go_through
    from lineament.pipeline.video.landmarks import predict_video

    def work(video: Photo) -> bool:
        report = predict_video(model, video, options, progress)
        _tell(video, report)
        return report.skipped

    tally = go_through(videos, work, single)
    return 0 if single else tally.tell("videos")


def _tell(video: Photo, report: VideoReport) -> None:
    files = ", ".join(str(path) for path in report.written)
    if report.skipped:
        print(f"{video.path}: done before, see {files}")
        return
    if report.problem:
        print(f"{video.path}: {report.problem}; what could be read was used.", file=sys.stderr)
    rejected = f", {report.rejected} detections taken for no face" if report.rejected else ""
    people = "1 person" if report.people == 1 else f"{report.people} people"
    print(
        f"{video.path}: {report.faces} faces of {people} in {report.frames} frames{rejected}; wrote {files}"
    )

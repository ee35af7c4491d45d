"""`lineament landmarks`: puts landmarks on photographs and videos with a trained model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from lineament.cli.parse import parse

if TYPE_CHECKING:
    from lineament.inference import Model
    from lineament.pipeline.predict.landmarks import LandmarkOptions, LandmarkReport
    from lineament.pipeline.predict.photos import Photo
    from lineament.pipeline.video.landmarks import VideoOptions, VideoReport


@dataclass
class Command:
    """Put landmarks on photographs and videos, in pixels of the photograph or of the frame.

    Writes NAME.landmarks.json, .csv, .pts and an overlay .png (of a video .mp4): beside a single file, and for a folder
    in FOLDER-landmarks beside it, with landmarks.json and landmarks.csv over all its photographs. What is done is
    skipped. Examples: `lineament landmarks photo.jpg --model runs/marks`,
    `lineament landmarks clip.mp4 --model runs/marks --smooth 2`.
    """

    # Photographs, videos, and folders of both.
    photos: Positional[tuple[Path, ...]]
    # Run directory of a landmark model.
    model: Path
    # Folder for the results.
    out: Path | None = None
    # Files to write besides the overlay: json, csv, pts. By default all three for photographs (pts holds the best face
    # only), json and csv for videos, of which pts writes a folder with a file for every face in every frame.
    format: tuple[str, ...] | None = None
    # Label file (json or csv) with the face boxes of photographs, instead of detecting faces.
    boxes: Path | None = None
    # Also write NAME.tiles.png of photographs, where the model can show what it makes of a face (fabrec-landmarks):
    # input, reconstruction, heatmaps, landmarks in both.
    tiles: bool = False
    # Take animated GIFs for videos; without it their first frame is a photograph.
    video: bool = False
    # Amount of smoothing in videos: 0 none, 1 usual, more for calmer landmarks that follow later.
    smooth: float = 1.0
    # Search the frames of videos for faces every so many; in between faces are followed by their landmarks.
    detect_every: int = 5
    # Where the model runs: cpu or cuda.
    device: str = "cpu"
    # Compute in bfloat16, where the model can (fabrec-landmarks): faster on hardware that has it, confidences to two
    # digits.
    bf16: bool = False
    # Do again what is done, replacing its files.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "landmarks", arguments)
    import torch

    from lineament.capabilities import FaceTiles, LandmarkPredictor
    from lineament.errors import UsageError
    from lineament.inference import load
    from lineament.pipeline.predict.landmarks import FORMATS, LandmarkOptions, read_boxes
    from lineament.pipeline.predict.photos import LANDMARKS, plan
    from lineament.pipeline.video.landmarks import FORMATS as VIDEO_FORMATS
    from lineament.pipeline.video.landmarks import VideoOptions
    from lineament.pipeline.video.track_faces import FollowOptions

    if not command.photos:
        raise UsageError(
            "give at least one photograph, video or folder: lineament landmarks PHOTO|VIDEO|FOLDER... --model RUN"
        )
    formats = command.format
    # Wrong words and numbers are said before anything is read.
    LandmarkOptions(FORMATS if formats is None else formats)
    following = FollowOptions(command.smooth, command.detect_every)
    files = plan(command.photos, command.out, LANDMARKS, videos=True, animations=command.video)
    videos = [file for file in files if file.is_video]
    photos = [file for file in files if not file.is_video]
    if videos and command.boxes:
        raise UsageError(f"--boxes is for photographs: the faces of {videos[0].path} are detected.")
    model = load(command.model, command.device, dtype=torch.bfloat16 if command.bf16 else torch.float32)
    for wanted in (LandmarkPredictor, *([FaceTiles] if command.tiles else [])):
        model.capability(wanted)
    boxes = read_boxes(command.boxes) if command.boxes else None
    options = LandmarkOptions(formats or FORMATS, boxes, command.overwrite, command.tiles)
    video_options = VideoOptions(formats or VIDEO_FORMATS, following, command.overwrite)
    if len(files) == 1 and not command.photos[0].is_dir():
        return _one_video(model, videos[0], video_options) if videos else _one(model, photos[0], options)
    codes = [_many(model, photos, options)] if photos else []
    codes += [_many_videos(model, videos, video_options)] if videos else []
    return min(codes)


def _one(model: Model, photo: Photo, options: LandmarkOptions) -> int:
    from lineament.errors import DataError
    from lineament.pipeline.predict.landmarks import mark_photos

    report = mark_photos(model, [photo], options)
    for reason in report.unreadable.values():
        raise DataError(reason)
    if report.without_face:
        how = "listed for it in the file of boxes" if options.boxes is not None else "found in it"
        raise DataError(
            f"{photo.path}: no face was {how}: give its box with --boxes FILE, or another picture."
        )
    done = "done before, see" if report.skipped else "wrote"
    print(f"{report.faces} face(s); {done} {', '.join(str(path) for path in report.written)}")
    return 0


def _many(model: Model, photos: list[Photo], options: LandmarkOptions) -> int:
    from lineament.pipeline.predict.landmarks import mark_photos, write_tables
    from lineament.pipeline.progress import progress

    with progress("landmarks", len(photos), "pictures") as advance:
        report: LandmarkReport = mark_photos(model, photos, options, advance)
    for reason in report.unreadable.values():
        print(f"unreadable: {reason}")
    for name in report.without_face:
        print(f"no face: {name}")
    print(report.summary())
    for folder in sorted({photo.folder for photo in photos}):
        written = write_tables(photos, report, model, folder, options.formats)
        print(f"wrote {folder}: results per picture{''.join(f', {path.name}' for path in written)}")
    return 0 if report.faces else 1


def _one_video(model: Model, video: Photo, options: VideoOptions) -> int:
    from lineament.pipeline.progress import progress
    from lineament.pipeline.video.landmarks import mark_video

    _tell(video, mark_video(model, video, options, progress))
    return 0


def _many_videos(model: Model, videos: list[Photo], options: VideoOptions) -> int:
    from lineament.errors import DataError
    from lineament.pipeline.progress import progress
    from lineament.pipeline.video.landmarks import mark_video

    done = 0
    for video in videos:
        try:
            _tell(video, mark_video(model, video, options, progress))
            done += 1
        except DataError as error:
            print(f"left out: {error}", file=sys.stderr)
    print(f"{done} of {len(videos)} videos done.")
    return 0 if done else 1


def _tell(video: Photo, report: VideoReport) -> None:
    files = ", ".join(str(path) for path in report.written)
    if report.skipped:
        print(f"{video.path}: done before, see {files}")
        return
    if report.problem:
        print(f"{video.path}: {report.problem}; what could be read was used.", file=sys.stderr)
    people = "1 person" if report.people == 1 else f"{report.people} people"
    print(f"{video.path}: {report.faces} faces of {people} in {report.frames} frames; wrote {files}")

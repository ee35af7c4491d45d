"""Analyses a video: landmarks, pose and expression of everybody in every frame, and each one's best frame in full."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from torch import Tensor

from lineament.data.images import write_image
from lineament.data.video import Frame, VideoReader, video_writer
from lineament.eight_bit import to_float, to_uint8
from lineament.errors import NoFaceError
from lineament.faces.labels.own_json import FORMAT, scheme_item
from lineament.files import replacing
from lineament.inference import Face
from lineament.pipeline.analyze.analyzer import Analyzer
from lineament.pipeline.analyze.face import UNITS, FittedFace, face_numbers, fit_faces, merged
from lineament.pipeline.analyze.photos import face_stem, remove_face_files
from lineament.pipeline.analyze.shape import write_face_files
from lineament.pipeline.predict.landmarks import draw_landmarks
from lineament.pipeline.predict.photos import Photo
from lineament.pipeline.predict.results import result_meta
from lineament.pipeline.video.options import FollowOptions
from lineament.pipeline.video.track_faces import Followed, follow_faces
from lineament.progress import Progress, silent

# Of so many people the best frame is kept: each costs the memory of a frame.
MOST_PEOPLE = 16
# A frame takes the place of another when it is better by this share.
BETTER = 1.05


@dataclass
class Best:
    """The frame that shows a person best.

    Attributes:
        worth: Mean confidence of the landmarks times the cosine of the yaw.
        frame: Number of the frame.
        time: Its time in seconds.
        image: ``[3, H, W]`` uint8.
        found: The face there.
    """

    worth: float
    frame: int
    time: float
    image: Tensor
    found: FittedFace


@dataclass
class Tracks:
    """What is counted while a video is read.

    Attributes:
        frames: How many there were.
        faces: Faces in all of them.
        empty: Frames without a face.
        rejected: Detections that were taken for no face.
        seen: Frames in which a person was seen, by its number.
        best: Best frame of a person.
    """

    frames: int = 0
    faces: int = 0
    empty: int = 0
    rejected: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    best: dict[int, Best] = field(default_factory=dict)

    def count_rejected(self, _: Face) -> None:
        """Count a detection that was taken for no face."""
        self.rejected += 1


def video_settings(analyzer: Analyzer, follow: FollowOptions) -> dict[str, Any]:
    """All that decides the result of a video besides the video."""
    return {**analyzer.settings(), "smooth": follow.smooth, "detect_every": follow.detect_every}


def analyze_video(
    analyzer: Analyzer, video: Photo, follow: FollowOptions, progress: Progress = silent
) -> None:
    """Analyse one video; write ``.mp4``, the files of the people's best frames and last ``.json``.

    One frame is in memory at a time, and one more for each person.

    Args:
        analyzer: What looks at faces.
        video: The video; its settings were compared before.
        follow: How faces are followed.
        progress: Shows how far it is.

    Raises:
        DataError: If no frame can be read.
        NoFaceError: If no face is in any.
    """
    model = analyzer.model
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(video.path))
        advance = stack.enter_context(progress(video.name, reader.facts.frames, "frames"))
        # They take their places in the reverse order: the one whose presence means "done" comes last.
        temporary = stack.enter_context(replacing(video.json))
        table = stack.enter_context(temporary.open("w", encoding="utf-8"))
        overlay = stack.enter_context(replacing(video.stem.with_name(f"{video.stem.name}.mp4")))
        head = json.dumps({"format": FORMAT, "scheme": scheme_item(model.scheme)}, ensure_ascii=False)
        table.write(head[:-1] + ', "faces": [')
        with video_writer(overlay, reader.facts.rate) as draw:
            tracks = _follow(analyzer, video, reader, follow, table, draw, advance)
        if not tracks.faces:
            said = f" ({reader.problem})" if reader.problem else ""
            if tracks.rejected:
                said += f"; the model took {tracks.rejected} detections for no face: --all-faces keeps them"
            raise NoFaceError(f"{video.path}: no face was found in any of its {tracks.frames} frames{said}.")
        remove_face_files(video)
        meta = result_meta(
            video,
            "analyze",
            video_settings(analyzer, follow),
            width=reader.facts.width,
            height=reader.facts.height,
            frames=tracks.frames,
            frames_without_face=tracks.empty,
            rejected=tracks.rejected,
            frames_per_second=round(reader.rate or reader.facts.rate, 4),
            ended_early=reader.problem,
            units=UNITS,
        )
        people = [_person(analyzer, video, number, tracks) for number in sorted(tracks.best)]
        table.write("\n], " + json.dumps({"people": people, "meta": meta}, ensure_ascii=False)[1:] + "\n")


def _follow(
    analyzer: Analyzer,
    video: Photo,
    reader: VideoReader,
    follow: FollowOptions,
    table: IO[str],
    draw: Callable[[np.ndarray], None],
    advance: Callable[[], None],
) -> Tracks:
    tracks = Tracks()
    size = (reader.facts.width, reader.facts.height)
    for frame, people in follow_faces(
        analyzer.model, reader, follow, all_faces=analyzer.options.all_faces, reject=tracks.count_rejected
    ):
        fitted = fit_faces(analyzer.head, [each.face for each in people], size)
        for each, found in zip(people, fitted, strict=True):
            place = {"frame": frame.index, "time": round(frame.time, 6), "person": each.person}
            item = {**place, "detected": each.detected, **face_numbers(f"{video.name}#{frame.index}", found)}
            table.write((",\n" if tracks.faces else "\n") + json.dumps(item, ensure_ascii=False))
            _count(tracks, frame, each, found)
        draw(np.asarray(draw_landmarks(frame.image, [each.face for each in people], analyzer.model.scheme)))
        tracks.frames += 1
        tracks.empty += not people
        advance()
    return tracks


def _count(tracks: Tracks, frame: Frame, each: Followed, found: FittedFace) -> None:
    person = each.person
    tracks.faces += 1
    tracks.seen[person] = tracks.seen.get(person, 0) + 1
    worth = float(found.face.confidence.mean())
    if found.fit is not None:
        worth *= max(math.cos(float(found.fit.pose[0])), 0.05)
    best = tracks.best.get(person)
    if (best is None and len(tracks.best) < MOST_PEOPLE) or (best and worth > BETTER * best.worth):
        tracks.best[person] = Best(worth, frame.index, frame.time, to_uint8(frame.image), found)


def _person(analyzer: Analyzer, video: Photo, number: int, tracks: Tracks) -> dict[str, Any]:
    """A person as it stands in the file of a video: how often it was seen, and its best frame with all files."""
    best = tracks.best[number]
    stem = face_stem(video, "person", number)
    more = write_face_files(to_float(best.image), best.found, stem, analyzer.depth_run, analyzer.options)
    still = stem.with_name(f"{stem.name}.still.png")
    more["files"]["still"] = write_image(still, best.image).name
    place = {
        "person": number,
        "frames": tracks.seen[number],
        "frame": best.frame,
        "time": round(best.time, 6),
    }
    return place | merged(face_numbers(f"{video.name}#{best.frame}", best.found), more)

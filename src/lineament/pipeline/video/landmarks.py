"""Puts landmarks on a video and writes them as tables with time stamps and as an overlay video."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from lineament.data.video import Frame, VideoReader, video_writer
from lineament.errors import NoFaceError
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.labels.own_json import FORMAT, face_item, scheme_item
from lineament.faces.labels.table import table_header, table_row
from lineament.faces.schemes import LandmarkScheme
from lineament.files import replacing, replacing_folder
from lineament.inference import Face, Model
from lineament.pipeline.predict.landmarks import draw_landmarks, result_path
from lineament.pipeline.predict.photos import Photo
from lineament.pipeline.predict.results import model_settings, refuse_other_settings, result_meta
from lineament.pipeline.video.options import VideoOptions
from lineament.pipeline.video.track_faces import Followed, follow_faces
from lineament.progress import Progress, silent


@dataclass
class VideoReport:
    """What came of one video.

    Attributes:
        frames: Number of frames; 0 for one that was done before.
        faces: Number of faces in all frames together.
        people: Number of different people.
        rejected: Number of detections that were taken for no face.
        skipped: Whether it was done before.
        problem: Why it ended early, where it did.
        written: Its files.
    """

    frames: int = 0
    faces: int = 0
    people: int = 0
    rejected: int = 0
    skipped: bool = False
    problem: str | None = None
    written: list[Path] = field(default_factory=list)

    def count_rejected(self, _: Face) -> None:
        """Count a detection that was taken for no face."""
        self.rejected += 1


def predict_video(
    model: Model, video: Photo, options: VideoOptions, progress: Progress = silent
) -> VideoReport:
    """Find the landmarks of every face in every frame; write tables and overlay, all of them or none.

    One frame is in memory at a time.

    Args:
        model: Finds faces and landmarks.
        video: The file and where its results go.
        options: What to write and how to follow.
        progress: Shows how far it is.

    Raises:
        DataError: If no frame can be read; then nothing is written.
        NoFaceError: If no face is in any.
        UsageError: If it was done with other settings, or does not say with which (videos say it in their JSON file).
    """
    settings = _settings(model, options)
    first = result_path(video, "json" if "json" in options.formats else options.formats[0])
    if first.exists() and not options.overwrite:
        refuse_other_settings([video], settings, lambda _: first)
        done = [result_path(video, ending) for ending in options.formats]
        return VideoReport(skipped=True, written=[path for path in done if path.exists()])
    report = VideoReport()
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(video.path))
        advance = stack.enter_context(progress(video.name, reader.facts.frames, "frames"))
        _write_all(model, video, reader, options, settings, report, advance)
    return report


def _settings(model: Model, options: VideoOptions) -> dict[str, Any]:
    return {
        **model_settings(model),
        "smooth": options.follow.smooth,
        "detect_every": options.follow.detect_every,
        "all_faces": options.all_faces or None,
    }


def _write_all(
    model: Model,
    video: Photo,
    reader: VideoReader,
    options: VideoOptions,
    settings: dict[str, Any],
    report: VideoReport,
    advance: Callable[[], None],
) -> None:
    layout = model.scheme
    with ExitStack() as stack:
        # They take their places in the reverse order: the one whose presence means "done" comes last.
        tables = [stack.enter_context(_table(video, ending, layout)) for ending in options.formats]
        overlay = result_path(video, "mp4")
        temporary = stack.enter_context(replacing(overlay))
        report.written = [*(result_path(video, ending) for ending in options.formats), overlay]
        people: set[int] = set()
        empty = 0
        with video_writer(temporary, reader.facts.rate) as draw:
            for frame, found in follow_faces(
                model, reader, options.follow, all_faces=options.all_faces, reject=report.count_rejected
            ):
                for table in tables:
                    table.add(frame, found)
                draw(np.asarray(draw_landmarks(frame.image, [each.face for each in found], layout)))
                report.frames += 1
                report.faces += len(found)
                people |= {each.person for each in found}
                empty += not found
                advance()
        report.people, report.problem = len(people), reader.problem
        if not report.faces:
            said = f" ({reader.problem})" if reader.problem else ""
            if report.rejected:
                said += f"; the model took {report.rejected} detections for no face: --all-faces keeps them"
            raise NoFaceError(f"{video.path}: no face was found in any of its {report.frames} frames{said}.")
        meta = {
            "video": video.name,
            "width": reader.facts.width,
            "height": reader.facts.height,
            "frames": report.frames,
            "frames_without_face": empty,
            "people": report.people,
            "rejected": report.rejected,
            "frames_per_second": round(reader.rate or reader.facts.rate, 4),
            "variable_frame_rate": reader.variable,
            "ended_early": reader.problem,
            "smooth": options.follow.smooth,
            "detect_every": options.follow.detect_every,
            "model": model.run.label,
            **result_meta(video, "landmarks", settings),
        }
        for table in tables:
            table.finish(meta)


def _label(video: Photo, frame: Frame, followed: Followed) -> FaceLabel:
    face = followed.face
    name = f"{video.name}#{frame.index}"
    return FaceLabel(name, face.landmarks, face.box, face.score, face.confidence)


@contextmanager
def _table(video: Photo, ending: str, layout: LandmarkScheme) -> Iterator[_Table]:
    path = result_path(video, ending)
    if ending == "pts":
        with replacing_folder(path) as folder:
            yield _PointFiles(video, layout, folder)
        return
    kind: type[_JsonTable] | type[_CsvTable] = _JsonTable if ending == "json" else _CsvTable
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield kind(video, layout, file)


class _Table(ABC):
    """Takes the faces of one frame after another."""

    def __init__(self, video: Photo, layout: LandmarkScheme) -> None:
        self.video, self.layout = video, layout

    @abstractmethod
    def add(self, frame: Frame, found: list[Followed]) -> None:
        """Write the faces of a frame."""

    def finish(self, meta: dict[str, Any]) -> None:  # noqa: B027
        """Write what is known at the end; most formats have no place for it."""


class _JsonTable(_Table):
    """A label file with a line per face; ``meta`` comes last, when it is known."""

    def __init__(self, video: Photo, layout: LandmarkScheme, file: IO[str]) -> None:
        super().__init__(video, layout)
        self.file = file
        self.begun = False
        head = json.dumps({"format": FORMAT, "scheme": scheme_item(layout)}, ensure_ascii=False)
        file.write(head[:-1] + ', "faces": [')

    def add(self, frame: Frame, found: list[Followed]) -> None:
        for each in found:
            place = {"frame": frame.index, "time": round(frame.time, 6), "person": each.person}
            item = {**place, "detected": each.detected, **face_item(_label(self.video, frame, each))}
            self.file.write((",\n" if self.begun else "\n") + json.dumps(item, ensure_ascii=False))
            self.begun = True

    def finish(self, meta: dict[str, Any]) -> None:
        self.file.write('\n], "meta": ' + json.dumps(meta, indent=1, ensure_ascii=False) + "}\n")


class _CsvTable(_Table):
    """A row per frame and face."""

    def __init__(self, video: Photo, layout: LandmarkScheme, file: IO[str]) -> None:
        super().__init__(video, layout)
        self.writer = csv.writer(file, lineterminator="\n")
        self.writer.writerow(["frame", "time", "person", "detected", *table_header(layout.names, True)])

    def add(self, frame: Frame, found: list[Followed]) -> None:
        for each in found:
            row = table_row(_label(self.video, frame, each), len(self.layout), True)
            place = [frame.index, f"{frame.time:.6f}", each.person, int(each.detected)]
            self.writer.writerow([*place, *row])


class _PointFiles(_Table):
    """A folder of files FRAME-PERSON.pts."""

    def __init__(self, video: Photo, layout: LandmarkScheme, folder: Path) -> None:
        super().__init__(video, layout)
        self.folder = folder

    def add(self, frame: Frame, found: list[Followed]) -> None:
        for each in found:
            name = f"{frame.index:06}-{each.person}.pts"
            label = FaceLabel("", each.face.landmarks)
            write_keypoints(self.folder / name, LabelFile(self.layout, [label]), durable=False)

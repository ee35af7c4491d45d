"""`lineament detect`: finds faces; box, five points, score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from lineament.cli.parse import parse

if TYPE_CHECKING:
    from lineament.pipeline.predict.detect import DetectOptions, DetectReport
    from lineament.pipeline.predict.photos import Photo


@dataclass
class Command:
    """Find the faces of photographs: box, five points and score, in pixels of the photograph.

    Writes NAME.faces.json, NAME.faces.csv and an overlay NAME.faces.png: beside a single photograph, and for a folder
    in FOLDER-faces beside it, with faces.json and faces.csv over all its pictures. What is done is skipped. Example:
    `lineament detect photo.jpg holiday/ --out found`.
    """

    # Photographs and folders of photographs.
    photos: Positional[tuple[Path, ...]]
    # Folder for the results.
    out: Path | None = None
    # mtcnn (box, points, score) or lbp (frontal faces, box only).
    detector: str = "mtcnn"
    # Leave out faces with a lower score, 0..1.
    min_score: float = 0.7
    # Smallest face looked for, in pixels; when not given 20, or a twentieth of the picture's shorter side if larger.
    min_face: float | None = None
    # Do again what is done, replacing its files.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "detect", arguments)
    from lineament.errors import UsageError
    from lineament.faces.detection import make_detector
    from lineament.pipeline.predict.detect import DetectOptions
    from lineament.pipeline.predict.photos import plan

    if not command.photos:
        raise UsageError("give at least one photograph or folder: lineament detect PHOTO|FOLDER...")
    if not 0.0 <= command.min_score <= 1.0:
        raise UsageError(f"--min-score lies in 0..1, not at {command.min_score:g}.")
    if command.min_face is not None and not 1.0 <= command.min_face < float("inf"):
        raise UsageError(f"--min-face is a number of pixels, at least 1, not {command.min_face:g}.")
    make_detector(command.detector)  # an unknown name is said before any picture is read
    options = DetectOptions(command.detector, command.min_score, command.min_face, command.overwrite)
    photos = plan(command.photos, command.out)
    single = len(command.photos) == 1 and not command.photos[0].is_dir()
    return _one(photos[0], options) if single else _many(photos, options, command)


def _one(photo: Photo, options: DetectOptions) -> int:
    from lineament.errors import DataError
    from lineament.pipeline.predict.detect import detect_photos, no_face

    report = detect_photos([photo], options, keep_empty=False)
    for reason in report.unreadable.values():
        raise DataError(reason)
    faces = report.found[str(photo.path)]
    if not faces:
        raise no_face(photo.path, options)
    for face in faces:
        edges = "" if face.box is None else " ".join(f"{edge:.0f}" for edge in face.box.tolist())
        print(f"face in x0 y0 x1 y1 = {edges} px, score {face.score or 0.0:.3f}")
    _remarks(report)
    done = "done before, see" if report.skipped else "wrote"
    print(f"{done} {photo.json} (with .csv and .png beside it)")
    return 0


def _many(photos: list[Photo], options: DetectOptions, command: Command) -> int:
    from lineament.errors import DataError
    from lineament.pipeline.predict.detect import detect_photos, write_tables
    from lineament.pipeline.progress import progress

    with progress("detecting", len(photos), "pictures") as advance:
        report = detect_photos(photos, options, advance)
    for reason in report.unreadable.values():
        print(f"unreadable: {reason}")
    for name in report.without_face:
        print(f"no face: {name}")
    print(report.summary())
    _remarks(report)
    if not report.found:
        raise DataError(f"none of the {len(photos)} pictures could be read: nothing was written.")
    folders = sorted({photo.folder for photo in photos})
    for folder in folders:
        own = [photo for photo in photos if photo.folder == folder]
        written = write_tables(own, report, folder)
        print(
            f"wrote {folder}: one .json, .csv and .png per picture, {' and '.join(path.name for path in written)}"
        )
    return 0


def _remarks(report: DetectReport) -> None:
    if report.differing:
        print(
            f"{len(report.differing)} were done before with other settings and kept: --overwrite does them again."
        )

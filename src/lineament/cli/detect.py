"""`lineament detect`: finds faces; box, five points, score."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import DataError, UsageError
from lineament.pipeline.predict.options import DetectOptions
from lineament.progress import progress

if TYPE_CHECKING:
    from lineament.pipeline.predict.photos import Photo


@dataclass
class Command:
    """Find the faces of photos: box, five points and score, in pixels of the photo.

    Writes NAME.faces.json, NAME.faces.csv and an overlay NAME.faces.png: beside a single photo, and for a folder
    in FOLDER-faces beside it, with faces.json and faces.csv over all its images. What is done is skipped. Example:
    `lineament detect photo.jpg holiday/ --out found`.
    """

    # Photos and folders of photos.
    photos: Positional[tuple[Path, ...]]
    # Folder for the results.
    out: Path | None = None
    # How faces are looked for.
    detection: DetectOptions = field(default_factory=DetectOptions)


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "detect", arguments)
    from lineament.pipeline.predict.photos import plan

    if not command.photos:
        raise UsageError("give at least one photo or folder: lineament detect PHOTO|FOLDER...")
    command.detection.check()  # an unknown name is said before any image is read
    photos = plan(command.photos, command.out)
    single = len(command.photos) == 1 and not command.photos[0].is_dir()
    return _one(photos[0], command.detection) if single else _many(photos, command.detection)


def _one(photo: Photo, options: DetectOptions) -> int:
    from lineament.pipeline.predict.detect import detect_photos, no_face

    report = detect_photos([photo], options, keep_empty=False)
    for reason in report.unreadable.values():
        raise DataError(reason)
    faces = report.found[str(photo.path)]
    if not faces:
        raise no_face(photo.path, options)
    for face in faces:
        edges = "" if face.box is None else " ".join(f"{edge:.0f}" for edge in face.box.tolist())
        turn = f", upright when turned by {face.turn} degrees counter-clockwise" if face.turn else ""
        print(f"face in x0 y0 x1 y1 = {edges} px, score {face.score or 0.0:.3f}{turn}")
    done = "done before, see" if report.skipped else "wrote"
    beside = [
        ending for ending in (".csv", ".png") if photo.stem.with_name(photo.stem.name + ending).exists()
    ]
    print(
        f"{done} {photo.json} (with {' and '.join(beside)} beside it)" if beside else f"{done} {photo.json}"
    )
    return 0


def _many(photos: list[Photo], options: DetectOptions) -> int:
    from lineament.pipeline.predict.detect import detect_photos, write_tables
    from lineament.pipeline.predict.results import tell_failures

    with progress("detecting", len(photos), "images") as advance:
        report = detect_photos(photos, options, advance)
    for name in report.without_face:
        print(f"no face: {name}")
    print(report.summary())
    if not report.found:
        tell_failures(report.unreadable)
        raise DataError(f"none of the {len(photos)} images could be read: nothing was written.")
    for folder in sorted({photo.folder for photo in photos}):
        own = [photo for photo in photos if photo.folder == folder]
        written = write_tables(own, report, folder, options)
        drawn = any(report.found.get(str(photo.path)) for photo in own)
        print(
            f"wrote {folder}: a .json and a .csv per image{', a .png where a face is' if drawn else ''}, "
            f"{' and '.join(path.name for path in written)}"
        )
    return tell_failures(report.unreadable)

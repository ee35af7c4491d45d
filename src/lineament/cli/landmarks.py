"""`lineament landmarks`: puts landmarks on photographs with a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from lineament.cli.parse import parse

if TYPE_CHECKING:
    from lineament.pipeline.landmarks import LandmarkOptions, LandmarkReport
    from lineament.pipeline.load import LandmarkModel
    from lineament.pipeline.photos import Photo


@dataclass
class Command:
    """Put landmarks on photographs, in pixels of the photograph.

    Writes NAME.landmarks.json, .csv, .pts and an overlay .png: beside a single photograph, and for a folder in
    FOLDER-landmarks beside it, with landmarks.json and landmarks.csv over all its pictures. What is done is skipped.
    Example: `lineament landmarks photo.jpg --model runs/dve-landmarks`.
    """

    # Photographs and folders of photographs.
    photos: Positional[tuple[Path, ...]]
    # Run directory of a landmark model.
    model: Path
    # Folder for the results.
    out: Path | None = None
    # Files to write besides the overlay: json, csv, pts (pts holds the best face only).
    format: tuple[str, ...] = ("json", "csv", "pts")
    # Label file (json or csv) with the face boxes, instead of detecting faces.
    boxes: Path | None = None
    # Also write NAME.tiles.png (fabrec-landmarks): input, reconstruction, heatmaps, landmarks in both.
    tiles: bool = False
    # Where the model runs: cpu or cuda.
    device: str = "cpu"
    # Do again what is done, replacing its files.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "landmarks", arguments)
    from lineament.errors import UsageError
    from lineament.pipeline.landmarks import LandmarkOptions, read_boxes
    from lineament.pipeline.load import load_landmarks
    from lineament.pipeline.photos import LANDMARKS, plan

    if not command.photos:
        raise UsageError(
            "give at least one photograph or folder: lineament landmarks PHOTO|FOLDER... --model RUN"
        )
    LandmarkOptions(command.format)  # an unknown format is said before anything is read
    photos = plan(command.photos, command.out, LANDMARKS)
    model = load_landmarks(command.model, command.device)
    boxes = read_boxes(command.boxes) if command.boxes else None
    options = LandmarkOptions(command.format, boxes, command.overwrite, command.tiles)
    single = len(photos) == 1 and not command.photos[0].is_dir()
    if single:
        return _one(model, photos[0], options)
    return _many(model, photos, options)


def _one(model: LandmarkModel, photo: Photo, options: LandmarkOptions) -> int:
    from lineament.errors import DataError
    from lineament.pipeline.landmarks import mark_photos

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


def _many(model: LandmarkModel, photos: list[Photo], options: LandmarkOptions) -> int:
    from lineament.pipeline.landmarks import mark_photos, write_tables
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

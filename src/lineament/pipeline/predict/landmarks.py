"""Puts landmarks on photographs and folders, and writes them with overlays in the photographs' own pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lineament.data.images import read_image, write_image
from lineament.eight_bit import to_pil
from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces.detection import Detection
from lineament.faces.labels import FaceLabel, LabelFile, read_keypoints, write_keypoints
from lineament.faces.schemes import LandmarkScheme
from lineament.files import replacing
from lineament.inference import Face, Model
from lineament.pipeline.predict.photos import Photo

FORMATS = ("json", "csv", "pts")
# Longest side of an overlay in pixels; the numbers always refer to the photograph itself.
OVERLAY_SIDE = 2000


@dataclass(frozen=True)
class LandmarkOptions:
    """How to put landmarks on photographs.

    Attributes:
        formats: Which of json, csv and pts to write; the overlay is always written.
        boxes: Face boxes ``[N, 4]`` by photograph name instead of detection; None detects.
        overwrite: Do again what is done.
        tiles: Also write what the model makes of the best face, where it can show that.
    """

    formats: tuple[str, ...] = FORMATS
    boxes: Mapping[str, Tensor] | None = None
    overwrite: bool = False
    tiles: bool = False

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on an unknown format or none."""
        if not self.formats:
            raise UsageError(f"give at least one of the formats {', '.join(FORMATS)}.")
        for name in self.formats:
            if name not in FORMATS:
                raise unknown_name("format", name, FORMATS)


@dataclass
class LandmarkReport:
    """What came of it; pictures are not kept.

    Attributes:
        found: Faces by path of the photograph, in order.
        photos: Number of photographs looked at.
        skipped: Photographs that were done before.
        without_face: Photographs in which no face was found.
        unreadable: Reason by photograph.
        written: Files of the photograph done last, for a single one.
    """

    found: dict[str, list[FaceLabel]] = field(default_factory=dict)
    photos: int = 0
    skipped: list[str] = field(default_factory=list)
    without_face: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)

    @property
    def faces(self) -> int:
        """Number of faces."""
        return sum(map(len, self.found.values()))

    def summary(self) -> str:
        """Return one line with all counts."""
        parts = [f"{self.faces} faces in {self.photos} pictures"]
        if self.without_face:
            parts.append(f"{len(self.without_face)} without a face")
        if self.skipped:
            parts.append(f"{len(self.skipped)} done before")
        if self.unreadable:
            parts.append(f"{len(self.unreadable)} unreadable")
        return ", ".join(parts) + "."


def read_boxes(path: Path) -> dict[str, Tensor]:
    """Read face boxes from a JSON or CSV label file: ``[N, 4]`` by the name of the picture.

    Raises:
        DataError: If the file cannot be read or a face in it has no box.
    """
    boxes: dict[str, list[Tensor]] = {}
    for index, face in enumerate(read_keypoints(path, allow_missing=True).faces):
        if face.box is None:
            raise DataError(f"{path}: face {index} ({face.image}) has no box.")
        boxes.setdefault(face.image, []).append(face.box)
    if not boxes:
        raise DataError(f"{path} holds no face box.")
    return {name: torch.stack(each) for name, each in boxes.items()}


def mark_photos(
    model: Model,
    photos: Sequence[Photo],
    options: LandmarkOptions,
    advance: Callable[[], None] = lambda: None,
) -> LandmarkReport:
    """Find the landmarks of every photograph and write each one's files as soon as they are known.

    One photograph is in memory at a time. Unreadable ones and those without a face are noted and left out.
    """
    report = LandmarkReport(photos=len(photos))
    for photo in photos:
        try:
            report.found[str(photo.path)] = _mark_one(model, photo, options, report)
        except DataError as error:
            report.unreadable[str(photo.path)] = str(error)
        advance()
    return report


def _mark_one(
    model: Model, photo: Photo, options: LandmarkOptions, report: LandmarkReport
) -> list[FaceLabel]:
    first = result_path(photo, options.formats[0])
    report.written = [first]
    if first.exists() and not options.overwrite:
        report.skipped.append(str(photo.path))
        # A PTS file holds one face and no box; the richer tables are preferred when they are there.
        tables = [result_path(photo, each) for each in options.formats]
        return read_keypoints(next(table for table in tables if table.exists()), allow_missing=True).faces
    image = read_image(photo.path)
    faces = model.faces(image, _detections(model, photo, image, options))
    if not faces:
        report.without_face.append(str(photo.path))
        return []
    labels = [FaceLabel(photo.name, face.landmarks, face.box, face.score, face.confidence) for face in faces]
    report.written = write_results(photo, image, faces, labels, model, options)
    return labels


def _detections(model: Model, photo: Photo, image: Tensor, options: LandmarkOptions) -> list[Detection]:
    if options.boxes is None:
        return model.detect(image)
    for name in (photo.name, photo.path.name, str(photo.path)):
        if name in options.boxes:
            return [Detection.given(box=box) for box in options.boxes[name]]
    return []


def result_path(photo: Photo, ending: str) -> Path:
    """Path of one result of a photograph."""
    return photo.stem.with_name(f"{photo.stem.name}.{ending}")


def write_results(
    photo: Photo,
    image: Tensor,
    faces: Sequence[Face],
    labels: list[FaceLabel],
    model: Model,
    options: LandmarkOptions,
) -> list[Path]:
    """Write overlay and label files of one photograph; the file whose presence means "done" comes last."""
    layout = model.scheme
    meta: dict[str, Any] = {
        "width": image.shape[2],
        "height": image.shape[1],
        "model": str(model.run.folder),
    }
    overlay = result_path(photo, "png")
    with replacing(overlay) as temporary:
        draw_landmarks(image, faces, layout).save(temporary, "PNG")
    written = [overlay]
    if options.tiles:
        best = Detection.given(box=faces[0].box)
        written.append(write_image(result_path(photo, "tiles.png"), model.tiles(image, best)))
    for ending in reversed(options.formats):
        path = result_path(photo, ending)
        # The PTS format holds one face: the best one.
        kept = labels[:1] if ending == "pts" else labels
        written.append(write_keypoints(path, LabelFile(layout, kept, meta)))
    return written[::-1]


def write_tables(
    photos: Sequence[Photo],
    report: LandmarkReport,
    model: Model,
    folder: Path,
    formats: Sequence[str],
) -> list[Path]:
    """Write ``landmarks.json`` and ``.csv`` with the faces of photographs whose results lie in ``folder``."""
    paths = [str(photo.path) for photo in photos if photo.folder == folder]
    meta = {
        "model": str(model.run.folder),
        "unreadable": {path: report.unreadable[path] for path in paths if path in report.unreadable},
        "without_face": [path for path in paths if path in report.without_face],
    }
    faces = [face for path in paths for face in report.found.get(path, [])]
    labels = LabelFile(model.scheme, faces, meta)
    endings = [ending for ending in formats if ending != "pts"]
    return [write_keypoints(folder / f"landmarks.{ending}", labels) for ending in endings]


def draw_landmarks(image: Tensor, faces: Sequence[Face], layout: LandmarkScheme) -> Image.Image:
    """Draw boxes, contours and points over a picture ``[3, H, W]`` in 0..1, scaled to at most 2000 px."""
    picture = to_pil(image)
    scale = min(1.0, OVERLAY_SIDE / max(picture.size))
    if scale < 1.0:
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.BOX)
    pen = ImageDraw.Draw(picture)
    for face in faces:
        side = float((face.box[2:] - face.box[:2]).max()) * scale
        width = max(1, round(side / 150))
        points = ((face.landmarks + 0.5) * scale - 0.5).tolist()
        pen.rectangle(
            [(edge + 0.5) * scale - 0.5 for edge in face.box.tolist()], outline=(255, 64, 64), width=width
        )
        for contour in layout.contours:
            line = [tuple(points[index]) for index in contour.indices]
            pen.line(line + line[:1] if contour.closed else line, fill=(64, 200, 255), width=width)
        radius = max(1.0, side / 110)
        for x, y in points:
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(64, 255, 64))
    return picture

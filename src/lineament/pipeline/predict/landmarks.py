"""Puts landmarks on images and folders, and writes them with overlays in the images' own pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from lineament.data.images import read_image, write_image
from lineament.eight_bit import to_pil
from lineament.errors import DataError
from lineament.faces.detection import Detection
from lineament.faces.labels import FaceLabel, LabelFile, read_keypoints, write_keypoints
from lineament.faces.schemes import LandmarkScheme
from lineament.files import replacing
from lineament.inference import Face, FoundFaces, Model
from lineament.pipeline.predict.options import FORMATS, LandmarkOptions
from lineament.pipeline.predict.photos import Photo
from lineament.pipeline.predict.results import (
    NOTE,
    file_digest,
    model_settings,
    refuse_other_settings,
    result_meta,
    table_meta,
)

# Longest side of an overlay in pixels; the numbers always refer to the photo itself.
OVERLAY_SIDE = 2000
# Of zlib: a tenth larger than its usual 6, three times as fast, which is most of what a photo costs.
PNG_EFFORT = 3


@dataclass
class LandmarkReport:
    """What came of it; images are not kept.

    Attributes:
        found: Faces by path of the photo, in order.
        photos: Number of photos looked at.
        skipped: Photos that were done before.
        without_face: Photos in which no face was found.
        unreadable: Reason by photo.
        rejected: What was taken for no face in which photo, as :attr:`FoundFaces.note` says it.
        rejections: How many detections that were.
        written: Files of the photo done last, for a single one.
    """

    found: dict[str, list[FaceLabel]] = field(default_factory=dict)
    photos: int = 0
    skipped: list[str] = field(default_factory=list)
    without_face: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    rejections: int = 0
    written: list[Path] = field(default_factory=list)

    @property
    def faces(self) -> int:
        """Number of faces."""
        return sum(map(len, self.found.values()))

    def summary(self) -> str:
        """Return one line with all counts."""
        parts = [f"{self.faces} faces in {self.photos} images"]
        if self.without_face:
            parts.append(f"{len(self.without_face)} without a face")
        if self.rejections:
            parts.append(f"{self.rejections} taken for no face")
        if self.skipped:
            parts.append(f"{len(self.skipped)} done before")
        if self.unreadable:
            parts.append(f"{len(self.unreadable)} unreadable")
        return ", ".join(parts) + "."


def read_boxes(path: Path) -> dict[str, Tensor]:
    """Read face boxes from a JSON or CSV label file: ``[N, 4]`` by the name of the image.

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


def predict_landmarks(
    model: Model,
    photos: Sequence[Photo],
    options: LandmarkOptions,
    advance: Callable[[], None] = lambda: None,
) -> LandmarkReport:
    """Find the landmarks of every image and write each one's files as soon as they are known.

    One image is in memory at a time. Unreadable ones and those without a face are noted and left out.

    Raises:
        DataError: If the file of boxes cannot be read.
        UsageError: If an image was done with other settings, and ``overwrite`` is not set; nothing is written.
    """
    options.check()
    settings = settings_of(model, options)
    if not options.overwrite:
        refuse_other_settings(photos, settings, _earlier_file)
    boxes = None if options.boxes is None else read_boxes(options.boxes)
    report = LandmarkReport(photos=len(photos))
    for photo in photos:
        try:
            report.found[str(photo.path)] = _mark_one(model, photo, options, boxes, settings, report)
        except DataError as error:
            report.unreadable[str(photo.path)] = str(error)
        advance()
    return report


def settings_of(model: Model, options: LandmarkOptions) -> dict[str, Any]:
    """All that decides the landmarks of an image, as its results say it."""
    return {
        **model_settings(model, options.boxes is None),
        "boxes": file_digest(options.boxes),
        "upright": options.upright if options.boxes is None else None,
        "all_faces": options.all_faces or None,
        "tiles": options.tiles,
    }


def _earlier_file(photo: Photo) -> Path:
    """A file that an earlier call wrote of a photo; of several the one that tells its settings."""
    paths = [result_path(photo, ending) for ending in FORMATS]
    return next((path for path in paths if path.exists()), paths[0])


def _last_file(photo: Photo, options: LandmarkOptions) -> Path:
    """The file that is written last: the one that tells its settings, where it is written."""
    return result_path(photo, "json" if "json" in options.formats else options.formats[0])


def _mark_one(
    model: Model,
    photo: Photo,
    options: LandmarkOptions,
    boxes: Mapping[str, Tensor] | None,
    settings: Mapping[str, Any],
    report: LandmarkReport,
) -> list[FaceLabel]:
    report.written = [_last_file(photo, options)]
    if not options.overwrite and all(result_path(photo, each).exists() for each in options.formats):
        report.skipped.append(str(photo.path))
        # A PTS file holds one face and no box.
        richest = min(options.formats, key=FORMATS.index)
        return read_keypoints(result_path(photo, richest), allow_missing=True).faces
    image = read_image(photo.path)
    if boxes is None:
        found = model.find(image, upright=options.upright, all_faces=options.all_faces)
    else:
        found = FoundFaces(model.faces(image, _given(photo, boxes)), [])
    faces = found.faces
    if found.rejected:
        report.rejected[str(photo.path)] = found.note
        report.rejections += len(found.rejected)
    if not faces:
        report.without_face.append(str(photo.path))
        return []
    labels = [
        FaceLabel(photo.name, face.landmarks, face.box, face.score, face.confidence, turn=face.turn)
        for face in faces
    ]
    report.written = write_results(photo, image, found, labels, model, options, settings)
    return labels


def _given(photo: Photo, boxes: Mapping[str, Tensor]) -> list[Detection]:
    for name in (photo.name, photo.path.name, str(photo.path)):
        if name in boxes:
            return [Detection.given(box=box) for box in boxes[name]]
    return []


def result_path(photo: Photo, ending: str) -> Path:
    """Path of one result of an image."""
    return photo.stem.with_name(f"{photo.stem.name}.{ending}")


def write_results(
    photo: Photo,
    image: Tensor,
    found: FoundFaces,
    labels: list[FaceLabel],
    model: Model,
    options: LandmarkOptions,
    settings: Mapping[str, Any],
) -> list[Path]:
    """Write overlay and label files of one image; the file whose presence means "done" comes last."""
    layout, faces = model.scheme, found.faces
    meta: dict[str, Any] = {
        "width": image.shape[2],
        "height": image.shape[1],
        "model": model.run.label,
        "rejected": found.rejected_numbers,
        **result_meta(photo, "landmarks", settings),
    }
    overlay = result_path(photo, "png")
    # Tables other than JSON have no place for the settings.
    note = PngInfo()
    note.add_text(NOTE, json.dumps(settings))
    with replacing(overlay) as temporary:
        draw_landmarks(image, faces, layout).save(temporary, "PNG", pnginfo=note, compress_level=PNG_EFFORT)
    written = [overlay]
    if options.tiles:
        best = Detection(faces[0].box.float(), turn=faces[0].turn)
        written.append(write_image(result_path(photo, "tiles.png"), model.tiles(image, best)))
    for ending in sorted(options.formats, key=lambda ending: ending == _last_file(photo, options).suffix[1:]):
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
    options: LandmarkOptions,
) -> list[Path]:
    """Write ``landmarks.json`` and ``.csv`` with the faces of images whose results lie in ``folder``."""
    own = [photo for photo in photos if photo.folder == folder]
    paths = [str(photo.path) for photo in own]
    meta = {
        "model": model.run.label,
        **table_meta(own, folder, "landmarks", settings_of(model, options)),
        "unreadable": {path: report.unreadable[path] for path in paths if path in report.unreadable},
        "without_face": [path for path in paths if path in report.without_face],
    }
    faces = [face for path in paths for face in report.found.get(path, [])]
    labels = LabelFile(model.scheme, faces, meta)
    endings = [ending for ending in options.formats if ending != "pts"]
    return [write_keypoints(folder / f"landmarks.{ending}", labels) for ending in endings]


def draw_landmarks(image: Tensor, faces: Sequence[Face], layout: LandmarkScheme) -> Image.Image:
    """Draw boxes, contours and points over an image ``[3, H, W]`` in 0..1, scaled to at most 2000 px."""
    pil_image = to_pil(image)
    scale = min(1.0, OVERLAY_SIDE / max(pil_image.size))
    if scale < 1.0:
        size = (round(pil_image.width * scale), round(pil_image.height * scale))
        pil_image = pil_image.resize(size, Image.Resampling.BOX)
    pen = ImageDraw.Draw(pil_image)
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
    return pil_image

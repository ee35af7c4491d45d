"""Finds the faces of images and folders, and writes boxes, points and overlays in the images' own pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from lineament.data.images import image_size, read_image
from lineament.eight_bit import to_pil
from lineament.errors import DataError, NoFaceError
from lineament.faces.detection import Detection, detect_faces, make_detector
from lineament.faces.labels import FaceLabel, LabelFile, read_keypoints, write_keypoints
from lineament.faces.schemes import scheme
from lineament.files import replacing
from lineament.pipeline.predict.options import DetectOptions
from lineament.pipeline.predict.photos import Photo
from lineament.pipeline.predict.results import refuse_other_settings, result_meta, table_meta

# What one batch may hold: so many images, so many pixels together (a large photo goes alone).
_BATCH_IMAGES, _BATCH_PIXELS = 16, 8_000_000
_OVERLAY_SIDE = 2000  # longest side of an overlay in pixels; the numbers always refer to the image itself


@dataclass
class DetectReport:
    """What came of it.

    Attributes:
        found: Faces by image, in order, as written; those of earlier runs included.
        skipped: Images that were done before.
        unreadable: Reason by image.
    """

    found: dict[str, list[FaceLabel]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def without_face(self) -> list[str]:
        """Images in which no face was found."""
        return [name for name, faces in self.found.items() if not faces]

    def summary(self) -> str:
        """Return one line with all counts."""
        faces = sum(map(len, self.found.values()))
        parts = [f"{faces} faces in {len(self.found) - len(self.without_face)} of {len(self.found)} images"]
        if self.without_face:
            parts.append(f"{len(self.without_face)} without a face")
        if self.skipped:
            parts.append(f"{len(self.skipped)} done before")
        if self.unreadable:
            parts.append(f"{len(self.unreadable)} unreadable")
        return ", ".join(parts) + "."


def detect_photos(
    photos: Sequence[Photo],
    options: DetectOptions,
    advance: Callable[[], None] = lambda: None,
    keep_empty: bool = True,
) -> DetectReport:
    """Detect, write each image's JSON, CSV and overlay, and skip what is done.

    Unreadable images are noted in the report and left out.

    Args:
        photos: From :func:`lineament.pipeline.predict.photos.plan`.
        options: How to look.
        advance: Called after each image.
        keep_empty: Write the JSON and CSV of an image without a face, so that it is not looked at again.

    Raises:
        UsageError: If an image was done with other settings, and ``overwrite`` is not set; nothing is written.
    """
    options.check()
    if not options.overwrite:
        refuse_other_settings(photos, options.recorded())
    detector = make_detector(options.detector)
    report = DetectReport()
    results: dict[str, list[FaceLabel]] = {}
    for batch, images in _batches(photos, options, report, results, advance):
        found = detect_faces(
            images,
            detector,
            min_face=options.min_face,
            min_score=options.min_score,
            batch_size=_BATCH_IMAGES,
            upright=options.upright,
        )
        for photo, image, detections in zip(batch, images, found, strict=True):
            labels = [
                FaceLabel(photo.name, face.points, face.box, face.score, turn=face.turn)
                for face in detections
            ]
            if detections or keep_empty:
                _write(photo, image, detections, labels, options)
            results[str(photo.path)] = labels
            advance()
    report.found = {
        str(photo.path): results[str(photo.path)] for photo in photos if str(photo.path) in results
    }
    return report


def no_face(path: Path, options: DetectOptions) -> NoFaceError:
    """Build the error for an image without a face."""
    return NoFaceError(
        f"no face was found in {path} by {options.detector} with a score of at least {options.least_score:g}: "
        "try a lower --min-score, a smaller --min-face, or another image."
    )


def write_tables(
    photos: Sequence[Photo], report: DetectReport, folder: Path, options: DetectOptions
) -> list[Path]:
    """Write ``faces.json`` and ``faces.csv`` with the faces of all images into ``folder``."""
    faces = [label for photo in photos for label in report.found.get(str(photo.path), [])]
    paths = [str(photo.path) for photo in photos]
    meta = {
        **table_meta(photos, folder, "detect", options.recorded()),
        "unreadable": {path: report.unreadable[path] for path in paths if path in report.unreadable},
        "without_face": [path for path in paths if report.found.get(path) == []],
    }
    labels = LabelFile(scheme("5"), faces, meta)
    return [write_keypoints(folder / f"faces.{ending}", labels) for ending in ("json", "csv")]


def draw_overlay(image: Tensor, faces: Sequence[Detection]) -> Image.Image:
    """Draw boxes, scores and points over an image ``[3, H, W]`` in 0..1, scaled to at most 2000 px."""
    pil_image = to_pil(image)
    scale = min(1.0, _OVERLAY_SIDE / max(pil_image.size))
    if scale < 1.0:
        pil_image = pil_image.resize(
            (round(pil_image.width * scale), round(pil_image.height * scale)), Image.Resampling.BOX
        )
    pen = ImageDraw.Draw(pil_image)
    width = max(1, round(max(pil_image.size) / 300))
    for face in faces:
        box = [(edge + 0.5) * scale - 0.5 for edge in face.box.tolist()]
        pen.rectangle(box, outline=(255, 64, 64), width=width)
        pen.text((box[0], max(box[1] - 12, 0)), f"{face.score:.2f}", fill=(255, 64, 64))
        for x, y in [] if face.points is None else ((face.points + 0.5) * scale - 0.5).tolist():
            radius = 1.5 * width
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(64, 255, 64))
    return pil_image


def _batches(
    photos: Sequence[Photo],
    options: DetectOptions,
    report: DetectReport,
    results: dict[str, list[FaceLabel]],
    advance: Callable[[], None],
) -> Iterator[tuple[list[Photo], list[Tensor]]]:
    """Read what is not done yet, a bounded number of pixels at a time."""
    batch: list[Photo] = []
    images: list[Tensor] = []
    pixels = 0
    for photo in photos:
        if not options.overwrite and photo.json.exists():
            earlier = read_keypoints(photo.json)
            results[str(photo.path)] = earlier.faces
            report.skipped.append(str(photo.path))
            advance()
            continue
        try:
            width, height = image_size(photo.path)
            if images and (len(images) == _BATCH_IMAGES or pixels + width * height > _BATCH_PIXELS):
                yield batch, images
                batch, images, pixels = [], [], 0
            image = read_image(photo.path)
        except DataError as error:
            report.unreadable[str(photo.path)] = str(error)
            advance()
            continue
        batch.append(photo)
        images.append(image)
        pixels += image.shape[1] * image.shape[2]
    if images:
        yield batch, images


def _write(
    photo: Photo, image: Tensor, faces: list[Detection], labels: list[FaceLabel], options: DetectOptions
) -> None:
    settings = options.recorded()
    size = {"width": image.shape[2], "height": image.shape[1]}
    meta = {**size, **settings, **result_meta(photo, "detect", settings)}
    content = LabelFile(scheme("5"), labels, meta)
    if faces:
        with replacing(photo.stem.with_name(photo.stem.name + ".png")) as temporary:
            draw_overlay(image, faces).save(temporary, "PNG")
    else:
        # An overlay of an earlier run would contradict the tables.
        photo.stem.with_name(photo.stem.name + ".png").unlink(missing_ok=True)
    write_keypoints(photo.stem.with_name(photo.stem.name + ".csv"), content)
    write_keypoints(photo.json, content)

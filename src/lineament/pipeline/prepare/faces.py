"""Finds the faces of images and cuts them out: the part of the preparation that worker processes do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from lineament.data.images import MAX_PIXELS, encode_image
from lineament.data.sample import FaceSample, FaceSource
from lineament.eight_bit import to_uint8
from lineament.errors import DataError, UsageError
from lineament.faces.boxes import box_from_landmarks
from lineament.faces.crop_rules import crop_entry
from lineament.faces.crops import crop_image, crop_size, landmarks_serve, named_crop, region_side
from lineament.faces.detection import (
    Detection,
    Detector,
    Upright,
    detect_faces,
    main_face,
    make_detector,
    turned_upright,
)
from lineament.faces.schemes import as_scheme
from lineament.geometry.affine2d import Affine2D


@dataclass(frozen=True)
class PrepareOptions:
    """How faces are found and cut out.

    Attributes:
        crop: Rule by which faces are cut out: box, dve-celeba, dve-hourglass, fabrec, ffhq, ...
        size: Side of the crops in pixels; the published one of the rule when not given.
        around: What is kept around the crop on every side, as a share of its side, for random moves and other views of
            the face; box keeps 0.15 when not given, fabrec the region that it moves, sqrt(2) times the crop.
        margins: What fabrec grows a face box by above and below, as shares of its height; 0.05 0.10 when not given.
        by: auto: the rule may use landmarks, known or detected; box: by the face box alone.
        faces: main: the one face a portrait is of; all: every face found.
        detector: Detector for images without a known face: mtcnn or lbp.
        detect: Detect faces even where the data set knows them.
        min_face: Smallest face, longer side of its box in pixels of the image.
        min_score: Least confidence of a detected face, 0..1.
        upright: search: find faces that lie on their side, stand on their head or are cut by the border, too, and turn
            them upright; off: look once.
        format: File format of the crops: webp and png lose nothing (webp is smaller and faster), jpg is a fourth of
            their size.
        quality: Quality of jpg, 1 to 100.
    """

    crop: str = "box"
    size: int | None = None
    around: float | None = None
    margins: tuple[float, float] | None = None
    by: Literal["auto", "box"] = "auto"
    faces: Literal["main", "all"] = "main"
    detector: str = "mtcnn"
    detect: bool = False
    min_face: float = 20.0
    min_score: float = 0.7
    upright: Upright = "search"
    format: Literal["webp", "png", "jpg"] = "webp"
    quality: int = 95

    def check(self) -> None:
        """Raise ``UsageError`` on unknown names and impossible numbers."""
        entry = crop_entry(self.crop)
        make_detector(self.detector)
        if self.margins is not None and "margins" not in entry.options:
            raise UsageError(f"the crop {self.crop!r} has no margins above and below: leave them out.")
        if not all(-0.5 < margin <= 4 for margin in self.margins or ()):
            raise UsageError(f"margins are shares of the box's height up to 4, not {self.margins}.")
        if (self.size is not None and self.size < 1) or not 0 < self.min_face < float("inf"):
            raise UsageError(
                f"--size and --min-face must be positive, not {self.size} and {self.min_face:g}."
            )
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"--min-score lies in 0..1, not at {self.min_score:g}.")
        if not 0 <= (self.around or 0) <= 4 or not 1 <= self.quality <= 100:
            raise UsageError(
                f"what is kept around a crop is 0 to 4 of its sides and the quality 1 to 100, not {self.around} and "
                f"{self.quality}."
            )
        region, around = self.frame
        if (region + 2 * around) ** 2 > MAX_PIXELS:
            raise UsageError(
                f"crops of {region + 2 * around} x {region + 2 * around} pixels would be refused when they are read: "
                "lower the size or what is kept around them."
            )

    @property
    def crop_side(self) -> int:
        """Side of the crop in pixels."""
        return self.size or crop_size(self.crop)

    @property
    def frame(self) -> tuple[int, int]:
        """Side in pixels of the region that the rule gives, and of what is kept around it on each side."""
        region = region_side(self.crop, self.crop_side)
        around = crop_entry(self.crop).around if self.around is None else self.around
        return region, round(region * around)


@dataclass
class Cut:
    """What became of one photo.

    Attributes:
        reason: Why nothing was cut; "" where something was.
        crops: Row of the index without place and name, and bytes of the image, for each face.
    """

    reason: str = ""
    crops: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class _Face:
    """One face to cut out, in pixels of the image."""

    box: Tensor
    landmarks: Tensor | None = None
    scheme: str | None = None
    score: float | None = None
    points: Tensor | None = None
    turn: int = 0


class Cutter:
    """Reads images, finds their faces, cuts and encodes them."""

    def __init__(self, source: FaceSource, options: PrepareOptions) -> None:
        self.source = source
        self.options = options
        self._detector: Detector | None = None

    def __call__(self, indices: Sequence[int]) -> list[Cut]:
        """Cut the faces of the images ``indices``."""
        read = [self._read(index) for index in indices]
        return [self._cut(sample, faces) for sample, faces in zip(read, self._find(read), strict=True)]

    def _read(self, index: int) -> FaceSample | str:
        """Read an image, or say why not."""
        try:
            return self.source[index]
        except DataError as error:
            return str(error)

    def _find(self, read: Sequence[FaceSample | str]) -> list[list[_Face]]:
        """List the faces of every image: the labelled one, else those the detector finds."""
        options = self.options
        faces: list[list[_Face]] = [[] for _ in read]
        search = []
        for place, sample in enumerate(read):
            if isinstance(sample, str):
                continue
            known = None if options.detect else _known(sample)
            if known:
                faces[place] = [known]
            else:
                search.append((place, sample.image))
        if not search:
            return faces
        if self._detector is None:
            self._detector = make_detector(options.detector)
        found = detect_faces(
            [image for _, image in search],
            self._detector,
            min_face=options.min_face,
            min_score=options.min_score,
            upright=options.upright,
        )
        for (place, _), detections in zip(search, found, strict=True):
            chosen = detections
            if options.faces == "main":
                best = main_face(detections)
                chosen = [] if best is None else [best]
            faces[place] = [
                _Face(one.box, score=one.score, points=one.points, turn=one.turn) for one in chosen
            ]
        return faces

    def _cut(self, sample: FaceSample | str, faces: list[_Face]) -> Cut:
        if isinstance(sample, str):
            return Cut(f"unreadable: {sample}")
        if not faces:
            return Cut("no face found")
        cut = Cut()
        for face in faces:
            longest = float(max(face.box[2] - face.box[0], face.box[3] - face.box[1]))
            if longest < self.options.min_face:
                cut.reason = f"face too small: {longest:.0f} px, the least is {self.options.min_face:g} px"
                continue
            try:
                image, upright, turn = turned_upright(
                    sample.image, Detection(face.box, points=face.points, turn=face.turn)
                )
                in_turn = replace(face, box=upright.box, points=upright.points)
                cut_out, cut_by = self._transform(image, in_turn)
                data = self._encoded(sample.id, image, cut_out)
                transform = turn.then(cut_out)
            except DataError as error:
                cut.reason = f"cannot be cut: {error}"
                continue
            cut.crops.append((_row(sample, face, transform, cut_by), data))
        if cut.crops:
            cut.reason = ""
        return cut

    def _transform(self, image: Tensor, face: _Face) -> tuple[Affine2D, str]:
        """Upright image to what is stored, and whether box or landmarks set it."""
        options = self.options
        landmarks, scheme = face.landmarks, face.scheme
        if landmarks is None and face.points is not None:
            landmarks, scheme = face.points, "5"
        height, width = image.shape[-2:]
        # Landmarks of which some are missing, or of a scheme that the rule does not know, leave it to the box.
        incomplete = landmarks is not None and not bool(torch.isfinite(landmarks).all())
        if (
            options.by == "box"
            or incomplete
            or not landmarks_serve(options.crop, landmarks, scheme, (height, width))
        ):
            landmarks = scheme = None
        further: dict[str, Any] = {} if options.margins is None else {"margins": options.margins}
        region, around = options.frame
        if region != options.crop_side:
            further["trim"] = False
        crop = named_crop(
            options.crop,
            box=face.box,
            landmarks=landmarks,
            scheme=scheme,
            image_size=(height, width),
            size=options.crop_side,
            **further,
        )
        moved = crop.then(Affine2D.from_similarity(translation=(float(around), float(around))))
        return moved, "box" if landmarks is None else f"landmarks {as_scheme(scheme or '5').name}"

    def _encoded(self, name: str, image: Tensor, transform: Affine2D) -> bytes:
        region, around = self.options.frame
        border = crop_entry(self.options.crop).border
        crop = crop_image(image, transform, region + 2 * around, border)
        eight = to_uint8(crop)
        # Grey images have three equal channels: one is enough, and reads back as three.
        if torch.equal(eight[0], eight[1]) and torch.equal(eight[0], eight[2]):
            eight = eight[:1]
        return encode_image(eight, self.options.format, name, quality=self.options.quality)


def _known(sample: FaceSample) -> _Face | None:
    """Return the face that the labels of an image tell of."""
    if sample.box is None and sample.landmarks is None:
        return None
    if sample.box is not None:
        box = sample.box
    elif sample.scheme == "5":
        box = Detection.given(points=sample.landmarks).box
    else:
        assert sample.landmarks is not None
        box = box_from_landmarks(sample.landmarks)
    return _Face(box, sample.landmarks, sample.scheme)


def _row(sample: FaceSample, face: _Face, transform: Affine2D, cut_by: str) -> dict[str, Any]:
    """Describe one crop; everything but the transform is in pixels of the image."""
    height, width = sample.image.shape[-2:]
    labelled = face.landmarks is not None and sample.visibility is not None
    return {
        "photo": str(sample.path) if sample.path is not None else None,
        "photo_width": width,
        "photo_height": height,
        "identity": sample.identity,
        "subsets": list(sample.meta["subsets"]) if "subsets" in sample.meta else None,
        "meta": _plain(sample.meta),
        "box": face.box.double().tolist(),
        "score": face.score,
        "scheme": face.scheme,
        "landmarks": None if face.landmarks is None else face.landmarks.double().flatten().tolist(),
        "visibility": sample.visibility.tolist() if labelled and sample.visibility is not None else None,
        "detected_points": None if face.points is None else face.points.double().flatten().tolist(),
        "turn": face.turn,
        "cut_by": cut_by,
        "crop_to_photo": transform.inverse().matrix.flatten().tolist(),
    }


def _plain(meta: dict[str, Any]) -> str:
    """Texts, numbers and truth values of ``meta``: whatever else there is lies in pixels of the image."""
    kept = {
        name: value for name, value in meta.items() if value is None or isinstance(value, str | int | float)
    }
    return json.dumps(kept, ensure_ascii=False, sort_keys=True)

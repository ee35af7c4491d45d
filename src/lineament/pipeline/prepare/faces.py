"""Finds the faces of images and cuts them out: the part of the preparation that worker processes do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lineament.data.images import encode_image
from lineament.data.sample import FaceSample, FaceSource
from lineament.eight_bit import to_uint8
from lineament.errors import DataError
from lineament.faces.boxes import box_from_landmarks
from lineament.faces.crop_rules import crop_entry
from lineament.faces.crops import crop_image, landmarks_serve, named_crop
from lineament.faces.detection import (
    Detection,
    Detector,
    detect_faces,
    main_face,
    make_detector,
    turned_upright,
)
from lineament.faces.schemes import as_scheme
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.prepare.options import PrepareOptions


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

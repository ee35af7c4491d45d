"""Finds the largest face of an image, cuts it out by the crop ``ffhq`` and finds the camera that sees it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.data.images import encode_image
from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import sample_kind
from lineament.eight_bit import to_uint8
from lineament.errors import DataError
from lineament.faces import boxes
from lineament.faces.crop_rules import crop_entry
from lineament.faces.crops import crop_image, named_crop
from lineament.faces.detection import Detection, Detector, detect_faces, make_detector
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel
from lineament.inference import Face, Model, default_model, load
from lineament.pipeline.analyze.face import FittedFace, fit_faces
from lineament.pipeline.prepare.options import PosedOptions, PrepareOptions

CROP = "ffhq"


@dataclass
class PosedFace:
    """What became of one photo.

    Attributes:
        reason: Why it was left out; "" where it was not.
        facts: ``rotation`` (9 numbers, head to camera of the crop), ``head_error``, ``scale`` (pixels of the crop per
            pixel of the photo), ``faces`` (found in the photo), ``grey``, ``transparent``, ``landmarks`` (136 numbers,
            scheme 68, pixels of the crop).
        images: PNG files: the crop, and its mirror image where that is wanted.
    """

    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    images: list[bytes] = field(default_factory=list)


def fit_pose(head: HeadModel, face: Face, image: Tensor, most: float) -> FittedFace | str:
    """Fit a head to the landmarks of a face of ``[3, H, W]``, or say why it has no pose.

    Args:
        head: The head.
        face: With landmarks in pixels of the image.
        image: Where it is.
        most: Largest mean distance of landmarks from the head, in shares of that between the outer eye corners.
    """
    height, width = image.shape[-2:]
    fitted = fit_faces(head, [face], (width, height))[0]
    if fitted.fit is None:
        return f"no pose: {fitted.lacking}"
    if fitted.fit.error > most:
        return (
            f"pose not sure: the landmarks are {fitted.fit.error:.3f} off any head, at most {most:g} is taken"
        )
    return fitted


class PosedCutter:
    """Reads images, finds their faces, cuts them out and finds their poses; what worker processes do."""

    def __init__(self, source: FaceSource, cutting: PrepareOptions, posed: PosedOptions) -> None:
        self.source = source
        self.cutting = cutting
        self.posed = posed
        self._tools: tuple[Detector, Model, HeadModel] | None = None

    def open(self) -> Model:
        """Open the models, before anything is written.

        Raises:
            LineamentError: If the landmark model is not there, or gives no landmarks.
        """
        model = load(self.posed.landmark_model or default_model(LandmarkPredictor))
        model.capability(LandmarkPredictor)
        self._tools = make_detector(self.cutting.detector), model, load_head("builtin")
        return model

    def __getstate__(self) -> dict[str, Any]:
        """Without the models, which other processes open for themselves."""
        return {**self.__dict__, "_tools": None}

    def __call__(self, indices: Sequence[int]) -> list[PosedFace]:
        """Do the images ``indices``."""
        if self._tools is None:
            self.open()
        assert self._tools is not None
        read = [self._read(index) for index in indices]
        images = [sample.image for sample in read if isinstance(sample, FaceSample)]
        options = self.cutting
        found = iter(
            detect_faces(
                images,
                self._tools[0],
                min_face=options.min_face,
                min_score=options.min_score,
                upright=options.upright,
            )
        )
        return [
            PosedFace(f"unreadable: {sample}")
            if isinstance(sample, str)
            else self._face(index, sample, next(found))
            for index, sample in zip(indices, read, strict=True)
        ]

    def _read(self, index: int) -> FaceSample | str:
        try:
            return self.source[index]
        except DataError as error:
            return str(error)

    def _face(self, index: int, sample: FaceSample, found: Sequence[Detection]) -> PosedFace:
        assert self._tools is not None
        if not found:
            return PosedFace("no face found")
        largest, believed = self._largest(sample.image, found)
        if largest is None:
            return PosedFace(
                f"no face found: the landmark model is not sure enough of {len(found)} detections"
            )
        side = float(boxes.size(largest.box).max())
        if side < self.cutting.min_face:
            return PosedFace(f"face too small: {side:.0f} px, the least is {self.cutting.min_face:g} px")
        fitted = fit_pose(self._tools[2], largest, sample.image, self.posed.max_head_error)
        if isinstance(fitted, str):
            return PosedFace(fitted)
        try:
            facts, image = self._cut(sample, fitted)
        except DataError as error:
            return PosedFace(f"cannot be cut: {error}")
        kind = sample_kind(self.source, index)
        facts |= {"grey": bool(kind and kind.grey), "transparent": bool(kind and kind.transparent)}
        facts["faces"] = believed
        views = [image, image.flip(2)] if self.posed.mirrored else [image]
        return PosedFace("", facts, [encode_image(view, "png", sample.id) for view in views])

    def _largest(self, image: Tensor, found: Sequence[Detection]) -> tuple[Face | None, int]:
        """The largest of the detections that the landmark model takes for faces, and how many it does."""
        assert self._tools is not None
        model = self._tools[1]
        faces = [face for face in model.faces(image, found) if model.is_face(face)]
        return max(faces, key=lambda face: float(boxes.size(face.box).prod()), default=None), len(faces)

    def _cut(self, sample: FaceSample, fitted: FittedFace) -> tuple[dict[str, Any], Tensor]:
        assert fitted.fit is not None and fitted.points is not None
        side = self.posed.resolution or 0
        crop = named_crop(CROP, landmarks=fitted.points, scheme="68", size=side)
        image = to_uint8(crop_image(sample.image, crop, side, crop_entry(CROP).border))
        # The crop turns the image, and with it the camera about its axis.
        turn = matrix_from_pose(torch.tensor([0.0, 0.0, crop.rotation], dtype=torch.float64))
        facts = {
            "rotation": (turn @ fitted.fit.rotation).flatten().tolist(),
            "head_error": fitted.fit.error,
            "scale": crop.scale,
            "landmarks": [round(value, 3) for value in crop.apply(fitted.points).flatten().tolist()],
        }
        return facts, image

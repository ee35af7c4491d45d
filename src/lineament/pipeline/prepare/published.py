"""Finds the five landmarks of images that are cut out already, and the coefficients of their poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError
from lineament.faces import boxes
from lineament.faces.crops import named_crop
from lineament.faces.deep3d_alignment import align_image, find_window
from lineament.faces.detection import Detection, Detector, detect_faces, make_detector
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel
from lineament.inference import Model, default_model, load
from lineament.methods.gmpi.datasets import deep3d_coefficients
from lineament.methods.gmpi.deep3d import Deep3DNetwork, load_deep3d, predict_coefficients
from lineament.methods.gmpi.published_layout import rounded
from lineament.pipeline.prepare.options import PosedOptions, PrepareOptions
from lineament.pipeline.prepare.posed import fit_pose
from lineament.pipeline.prepare.published_options import PublishedOptions


@dataclass
class FoundPose:
    """What became of one image.

    Attributes:
        reason: Why it has no pose; "" where it has, or none was asked for.
        points: ``[5, 2]`` landmarks in pixels of the image, as their file has them; None where no face was found.
        coefficients: Name -> ``[size]``, of Deep3DFaceRecon.
        landmarks: ``[68, 2]`` in pixels of the window of 224 px, where they are known.
        head_error: Mean distance of the landmarks from the head that was fitted, in shares of that between the outer
            eye corners.
    """

    reason: str = ""
    points: Tensor | None = None
    coefficients: Mapping[str, Tensor] | None = None
    landmarks: Tensor | None = None
    head_error: float | None = None


class PoseFinder:
    """Reads images, finds their faces and poses; what worker processes do.

    Args:
        source: The images.
        cutting: How faces are found.
        options: Which face counts, and what poses come from.
        posed: The landmark model, and how well a head must fit, where poses come from it.
        known: Landmarks ``[5, 2]`` that are not to be detected, by index of the image.
    """

    def __init__(
        self,
        source: FaceSource,
        cutting: PrepareOptions,
        options: PublishedOptions,
        posed: PosedOptions,
        known: Mapping[int, Tensor],
    ) -> None:
        self.source = source
        self.cutting = cutting
        self.options = options
        self.posed = posed
        self.known = known
        self._detector: Detector | None = None
        self._network: Deep3DNetwork | None = None
        self._model: tuple[Model, HeadModel] | None = None

    def open(self) -> Model | None:
        """Open what is needed, before anything is written; the landmark model where poses come from it.

        Raises:
            LineamentError: If weights are missing or do not fit.
        """
        self._detector = make_detector(self.cutting.detector)
        if self.options.deep3d is not None:
            self._network = load_deep3d(self.options.deep3d)
        if self.options.poses == "head":
            model = load(self.posed.landmark_model or default_model(LandmarkPredictor))
            model.capability(LandmarkPredictor)
            self._model = model, load_head("builtin")
        return None if self._model is None else self._model[0]

    def __getstate__(self) -> dict[str, Any]:
        """Without what other processes open for themselves."""
        return {**self.__dict__, "_detector": None, "_network": None, "_model": None}

    def __call__(self, indices: Sequence[int]) -> list[FoundPose]:
        """Do the images ``indices``."""
        if self._detector is None:
            self.open()
        read = [self._read(index) for index in indices]
        found = [
            FoundPose(f"unreadable: {sample}") if isinstance(sample, str) else FoundPose() for sample in read
        ]
        images = [None if isinstance(sample, str) else sample.image for sample in read]
        for index, image, one in zip(indices, images, found, strict=True):
            if image is not None and index in self.known:
                one.points = self.known[index]
        self._detect(images, found)
        if self._network is not None:
            self._predict(images, found)
        elif self._model is not None:
            for image, one in zip(images, found, strict=True):
                if image is not None and one.points is not None:
                    self._fit(image, one)
        return found

    def _read(self, index: int) -> FaceSample | str:
        try:
            return self.source[index]
        except DataError as error:
            return str(error)

    def _detect(self, images: Sequence[Tensor | None], found: Sequence[FoundPose]) -> None:
        todo = [
            (image, one)
            for image, one in zip(images, found, strict=True)
            if image is not None and one.points is None
        ]
        if not todo:
            return
        assert self._detector is not None
        options = self.cutting
        faces = detect_faces(
            [image for image, _ in todo],
            self._detector,
            min_face=options.min_face,
            min_score=options.min_score,
            upright=options.upright,
        )
        for (_, one), detections in zip(todo, faces, strict=True):
            chosen = self._choose(detections)
            if chosen is None or chosen.points is None:
                one.reason = "no face found"
            else:
                one.points = rounded(chosen.points)

    def _choose(self, detections: Sequence[Detection]) -> Detection | None:
        if self.options.preset == "paper":
            # The published detector gives its best score first, as ours does.
            return next(iter(detections), None)
        return max(detections, key=lambda face: float(boxes.size(face.box).prod()), default=None)

    def _predict(self, images: Sequence[Tensor | None], found: Sequence[FoundPose]) -> None:
        """Coefficients of all aligned faces at once."""
        assert self._network is not None
        aligned, of = [], []
        for image, one in zip(images, found, strict=True):
            if image is None or one.points is None:
                continue
            try:
                aligned.append(
                    align_image(image, find_window(one.points, (image.shape[-2], image.shape[-1])))
                )
                of.append(one)
            except DataError as error:
                one.reason = f"cannot be aligned: {error}"
        if not of:
            return
        coefficients = predict_coefficients(self._network, torch.stack(aligned))
        for number, one in enumerate(of):
            one.coefficients = {name: values[number] for name, values in coefficients.items()}
            if not all(bool(values.isfinite().all()) for values in one.coefficients.values()):
                one.coefficients, one.reason = None, "no pose: the network's numbers are not finite"

    def _fit(self, image: Tensor, one: FoundPose) -> None:
        """The pose of the head that fits the landmark model's points."""
        assert self._model is not None and one.points is not None
        model, head = self._model
        height, width = image.shape[-2:]
        # Always from what the file says, so that an interrupted run ends as one that was not.
        face = model.face(image, Detection.given(points=one.points))
        if not model.is_face(face):
            one.reason = "pose not sure: the landmark model does not take it for a face"
            return
        fitted = fit_pose(head, face, image, self.posed.max_head_error)
        if isinstance(fitted, str):
            one.reason = fitted
            return
        assert fitted.fit is not None and fitted.points is not None
        camera = torch.eye(4, dtype=torch.float64)
        camera[:3, :3] = fitted.fit.rotation
        # Images of these data sets have the middle of the face in their middle: there the camera looks.
        camera[2, 3] = 1.0
        angle, translation = deep3d_coefficients(camera, centre_z=0.0)
        one.coefficients = {"angle": angle, "trans": translation}
        crop = named_crop("gmpi", landmarks=fitted.points, scheme="68", image_size=(height, width))
        one.landmarks = crop.apply(fitted.points)
        one.head_error = fitted.fit.error

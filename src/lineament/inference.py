"""Loads trained runs as something that can be called: with a photograph, or by another of its capabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from lineament.capabilities import DenseDescriptor, FaceTiles, LandmarkPredictor, capability
from lineament.data.image_inputs import ImageLike, as_image
from lineament.data.images import list_images
from lineament.errors import CheckpointError, UsageError, unknown_name
from lineament.faces import boxes as box_tools
from lineament.faces.detection import (
    DEFAULT_DETECTOR,
    Detection,
    Detector,
    Upright,
    detect_faces,
    detectors,
    make_detector,
    turned_upright,
)
from lineament.faces.schemes import LandmarkScheme
from lineament.training.run import CONFIG, Run, open_run

Photo = ImageLike
T = TypeVar("T")


@dataclass(frozen=True)
class Face:
    """One face of a photograph, in the photograph's own pixels.

    Attributes:
        landmarks: ``[K, 2]`` xy.
        confidence: ``[K]`` in 0..1, larger where the model believes itself more. What it measures is the method's: how
            well predictions from several crops around the face agree (dve), the height of a heatmap's peak (fabrec).
        box: ``[4]`` x0, y0, x1, y1.
        score: The detector's score in 0..1; 1 for a given box.
        scheme: What the landmarks mean.
        turn: Degrees by which the photograph must be turned counter-clockwise for the face to be upright.
    """

    landmarks: Tensor
    confidence: Tensor
    box: Tensor
    score: float
    scheme: LandmarkScheme
    turn: int = 0


class Model:
    """A trained run with its detector; made by :func:`load`.

    What it can do depends on the run: :meth:`has` tells. Calling it finds faces and their landmarks.

    Attributes:
        run: The run it was loaded from.
        predictor: What the run's recipe makes of its networks; it answers the protocols of
            :mod:`lineament.capabilities`.
        detector_name: Of what finds faces in photos.
        dtype: What the networks compute in.
    """

    def __init__(
        self, run: Run, predictor: Any, detector: str = DEFAULT_DETECTOR, dtype: torch.dtype = torch.float32
    ) -> None:
        if detector not in detectors():
            raise unknown_name("detector", detector, detectors())
        self.run = run
        self.predictor = predictor
        self.detector_name = detector
        self.dtype = dtype

    def __repr__(self) -> str:
        """Recipe, step, landmark scheme and folder."""
        scheme = f", scheme {self.scheme.name}" if self.has(LandmarkPredictor) else ""
        return f"Model({self.run.recipe}, step {self.step}{scheme}, {self.run.folder})"

    @cached_property
    def step(self) -> int:
        """Optimiser steps after which the weights were saved."""
        return self.run.read_checkpoint("best").step

    @cached_property
    def detector(self) -> Detector:
        """Finds faces in photographs; made when it is first needed."""
        return make_detector(self.detector_name)

    def has(self, wanted: type) -> bool:
        """Whether the run has a capability, one of the protocols of :mod:`lineament.capabilities`."""
        return isinstance(self.predictor, wanted)

    def capability(self, wanted: type[T], hint: str = "") -> T:
        """The predictor as something that has a capability.

        Raises:
            UsageError: If the run lacks it; the message says what it holds and what to do instead.
        """
        what = f"the run {self.run.folder} ({self.run.recipe})"
        return capability(self.predictor, wanted, what, str(self.run.folder), hint)

    @property
    def scheme(self) -> LandmarkScheme:
        """What the landmarks mean; raises ``UsageError`` where the run gives none."""
        return self.capability(LandmarkPredictor).scheme

    def __call__(
        self,
        photo: Photo,
        boxes: Tensor | Sequence[Sequence[float]] | None = None,
        *,
        min_score: float | None = None,
    ) -> list[Face]:
        """Find the faces of one photograph and their landmarks.

        Args:
            photo: One image of any kind that :func:`lineament.data.image_inputs.as_image` takes.
            boxes: Face boxes ``[N, 4]`` in pixels; found by the detector when None.
            min_score: Detections with a lower score are left out; None: the detector's own least score.

        Returns:
            The faces, best score first; empty when there is none.

        Raises:
            UsageError: If the run gives no landmarks.
            DataError: If the photograph or a box cannot be used.
        """
        self.capability(LandmarkPredictor)
        image = as_image(photo)
        if boxes is None:
            return self.faces(image, self.detect(image, min_score))
        given = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        return self.faces(image, [Detection.given(box=box_tools.check_box(box)) for box in given])

    def detect(
        self, image: Tensor, min_score: float | None = None, upright: Upright = "search"
    ) -> list[Detection]:
        """Faces that the detector finds in ``[3, H, W]``, best score first; see :func:`detect_faces`."""
        return detect_faces(image, self.detector, min_score=min_score, upright=upright)[0]

    def faces(self, image: Tensor, places: Sequence[Detection]) -> list[Face]:
        """Landmarks of the detected faces of ``[3, H, W]``, found together; the predictor sees each face upright."""
        predictor = self.capability(LandmarkPredictor)
        faces: dict[int, Face] = {}
        for turn in sorted({place.turn for place in places}):
            own = [index for index, place in enumerate(places) if place.turn == turn]
            views = [turned_upright(image, places[index]) for index in own]
            turned, _, to_turned = views[0]
            found = predictor.landmarks(turned, torch.stack([upright.box for _, upright, _ in views]))
            rows = zip(own, to_turned.inverse().apply(found.points), found.confidence, strict=True)
            for index, points, sure in rows:
                place = places[index]
                faces[index] = Face(points, sure, place.box, float(place.score), predictor.scheme, turn)
        return [faces[index] for index in range(len(places))]

    def face(self, image: Tensor, place: Detection) -> Face:
        """Landmarks of one detected face of ``[3, H, W]``."""
        return self.faces(image, [place])[0]

    def describe(self, photo: Photo, box: Tensor) -> Tensor:
        """Dense descriptors ``[C, h, w]`` of the face in ``box`` ``[4]``.

        :class:`~lineament.capabilities.Descriptors` of the predictor tell where in the photograph they lie.

        Raises:
            UsageError: If the run gives none.
        """
        return self.capability(DenseDescriptor).describe(as_image(photo), box[None]).features[0]

    def tiles(self, image: Tensor, place: Detection) -> Tensor:
        """What the model makes of one face of ``[3, H, W]``, side by side: ``[3, h, w]``.

        Raises:
            UsageError: If the run cannot show that.
        """
        turned, upright, _ = turned_upright(image, place)
        return self.capability(FaceTiles).tiles(turned, upright.box)

    def each(self, folder: str | Path) -> Iterator[tuple[Path, list[Face]]]:
        """Go through a folder one photograph at a time, so that memory does not grow with it."""
        for path in list_images(folder):
            yield path, self(path)


def load(
    run: str | Path,
    device: str = "cpu",
    *,
    detector: str = DEFAULT_DETECTOR,
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Load a trained run.

    Args:
        run: Run directory of ``lineament train`` or ``lineament import``.
        device: Where the networks run, ``cpu`` or ``cuda``.
        detector: Finds faces in photographs, ``yunet``, ``mtcnn`` or ``lbp``.
        dtype: What the networks compute in; ``torch.bfloat16`` where a method can.

    Returns:
        The model. ``model("photo.jpg")[0].landmarks`` are in the photograph's pixels where the run gives landmarks;
        runs of other capabilities say what reads them.

    Raises:
        LineamentError: If there is no such run.
        CheckpointError: If its checkpoint is damaged, or of another method than its recipe.
        UsageError: If the device is not there, or the method cannot compute in the number type.
    """
    opened = open_run(run)
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"the device {device!r} is not there: use cpu, or cuda on a machine that has it.")
    recipe = opened.build_recipe()
    if recipe.method != opened.method:
        raise CheckpointError(
            f"the run {opened.folder} says that it is of the method {opened.method!r}, but its recipe {opened.recipe} "
            f"is of {recipe.method!r}: {CONFIG} was changed."
        )
    predictor = recipe.predictor(opened.load_networks(), torch.device(device), dtype)
    return Model(opened, predictor, detector, dtype)

"""What :func:`lineament.load` gives: trained networks that can be called with a photograph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.data.images import list_images, read_image
from lineament.errors import DataError, UsageError
from lineament.faces import boxes as box_tools
from lineament.faces.detection import Detection, detect_faces, make_detector
from lineament.faces.schemes import LandmarkScheme
from lineament.methods.dve.frame import Frame, cut
from lineament.methods.dve.landmarks import LandmarkPredictor
from lineament.methods.dve.model import describe
from lineament.training.run import Run

# Share of the box side over which the views' predictions may differ for a confidence of one half.
HALF_CONFIDENCE = 0.02

Photo = str | Path | Tensor | np.ndarray


@dataclass(frozen=True)
class Face:
    """One face of a photograph, in the photograph's own pixels.

    Attributes:
        landmarks: ``[K, 2]`` xy.
        confidence: ``[K]`` in 0..1: how well the predictions from several crops around the face agree, one half where
            they differ by 2 % of the box side. It is a measure of stability, not a probability.
        box: ``[4]`` x0, y0, x1, y1.
        score: The detector's score in 0..1; 1 for a given box.
        scheme: What the landmarks mean.
    """

    landmarks: Tensor
    confidence: Tensor
    box: Tensor
    score: float
    scheme: LandmarkScheme


def as_picture(photo: Photo) -> Tensor:
    """Read or convert a photograph to ``[3, H, W]`` RGB in 0..1.

    Args:
        photo: A path; a tensor ``[3, H, W]``; or an array ``[H, W]``, ``[H, W, 3]``; integers are 0..255, floats 0..1.

    Raises:
        DataError: If it cannot be read or has another shape.
    """
    if isinstance(photo, str | Path):
        return read_image(photo)
    pixels = torch.as_tensor(np.array(photo) if isinstance(photo, np.ndarray) else photo)
    if isinstance(photo, np.ndarray):
        pixels = pixels[..., None].expand(*pixels.shape, 3) if pixels.ndim == 2 else pixels
        pixels = pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        raise DataError(
            f"a picture is [3, H, W] as a tensor or [H, W, 3] as an array, not {list(photo.shape)}."
        )
    scaled = pixels.float() if pixels.is_floating_point() else pixels.float() / 255
    if not bool(torch.isfinite(scaled).all()):
        raise DataError("the picture holds values that are not finite.")
    return scaled.clamp(0, 1)


class DescriptorModel:
    """Dense descriptors of faces; made by :func:`load` from a run of ``dve-smallnet-16d`` and its siblings.

    Attributes:
        run: The run it was loaded from.
        frame: The view of its network.
        networks: All networks of the run by name.
        network: The descriptor network among them.
        detector: Finds faces in photographs.
    """

    def __init__(self, run: Run, device: str = "cpu", detector: str = "mtcnn") -> None:
        self.run = run
        self.device = torch.device(device)
        recipe: Any = run.build_recipe()
        self.frame: Frame = recipe.config.frame
        self.networks = {name: network.to(self.device) for name, network in run.load_networks().items()}
        self.network = self.networks["descriptor"].eval()
        self.detector = make_detector(detector)

    def detect(self, image: Tensor, min_score: float = 0.7) -> list[Detection]:
        """Faces that the detector finds in ``[3, H, W]``, best score first."""
        return detect_faces(image, self.detector, min_score=min_score)[0]

    def view(self, image: Tensor, box: Tensor) -> Tensor:
        """What the network sees of the face in ``box`` ``[4]`` of a photograph: ``[3, s, s]``."""
        return cut(image, self.frame.view_of(box_tools.check_box(box.double())), self.frame.seen)

    @torch.no_grad()
    def describe(self, image: Tensor, box: Tensor) -> Tensor:
        """Descriptors ``[C, h, w]`` over :meth:`view`; lattice point (i, j) lies at its pixel x = 2 j, y = 2 i."""
        return describe(self.network, self.view(image, box)[None].to(self.device))[0].cpu()

    def __call__(
        self, photo: Photo, boxes: Tensor | Sequence[Sequence[float]] | None = None, *, min_score: float = 0.7
    ) -> list[Face]:
        """Raise the ``UsageError`` of a model that has no landmarks."""
        raise UsageError(
            f"the run {self.run.folder} holds descriptors without landmarks ({self.run.recipe}): fit them with "
            f"`lineament train dve-landmarks --base {self.run.folder} --data LABELLED`."
        )


class LandmarkModel(DescriptorModel):
    """Landmarks on photographs; made by :func:`load` from a run of ``dve-landmarks``.

    Attributes:
        predictor: Landmarks of one face box in one picture.
        scheme: What the landmarks mean.
    """

    def __init__(self, run: Run, device: str = "cpu", detector: str = "mtcnn") -> None:
        super().__init__(run, device, detector)
        recipe: Any = run.build_recipe()
        self.predictor = LandmarkPredictor(recipe.config, self.networks)
        self.scheme = self.predictor.scheme

    def __call__(
        self, photo: Photo, boxes: Tensor | Sequence[Sequence[float]] | None = None, *, min_score: float = 0.7
    ) -> list[Face]:
        """Find the faces of one photograph and their landmarks.

        Args:
            photo: Path, tensor ``[3, H, W]`` in 0..1, or array ``[H, W, 3]``.
            boxes: Face boxes ``[N, 4]`` in pixels; found by the detector when None.
            min_score: Detections with a lower score are left out.

        Returns:
            The faces, best score first; empty when there is none.

        Raises:
            DataError: If the photograph or a box cannot be used.
        """
        image = as_picture(photo)
        if boxes is None:
            places = self.detect(image, min_score)
        else:
            given = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
            places = [Detection.given(box=box_tools.check_box(box)) for box in given]
        return [self.face(image, place) for place in places]

    def face(self, image: Tensor, place: Detection) -> Face:
        """Landmarks of one detected face of ``[3, H, W]``."""
        found = self.predictor(image, place.box)
        confidence = 1 / (1 + (found.spread / HALF_CONFIDENCE) ** 2)
        return Face(found.points, confidence, place.box, float(place.score), self.scheme)

    def tiles(self, image: Tensor, place: Detection) -> Tensor:
        """Raise the ``UsageError`` of a model that makes no pictures of its own."""
        raise UsageError(
            f"the run {self.run.folder} ({self.run.recipe}) reconstructs no faces: tiles need fabrec-landmarks."
        )

    def each(self, folder: str | Path) -> Iterator[tuple[Path, list[Face]]]:
        """Go through a folder one photograph at a time, so that memory does not grow with it."""
        for path in list_images(folder):
            yield path, self(path)

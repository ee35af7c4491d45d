"""A trained `fabrec-landmarks` run as something that can be called with a photograph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lineament.errors import UsageError
from lineament.faces.detection import Detection, make_detector
from lineament.methods.fabrec.figures import five_tiles_of, tile_pictures
from lineament.methods.fabrec.landmarks import LandmarkPredictor
from lineament.pipeline.predict.models import Face, LandmarkModel
from lineament.training.run import Run


class FabrecModel(LandmarkModel):
    """Landmarks on photographs by the autoencoder's heatmaps.

    Its confidences are the heights of the heatmaps' peaks, 1 where a heatmap looks as in training.
    """

    def __init__(self, run: Run, device: str = "cpu", detector: str = "mtcnn", bf16: bool = False) -> None:
        # Not the parent's: that builds a network of descriptors.
        if run.recipe == "fabrec-ae":
            raise UsageError(
                f"the run {run.folder} holds an autoencoder without landmarks ({run.recipe}): teach it with "
                f"`lineament train fabrec-landmarks --base {run.folder} --data LABELLED`."
            )
        self.run = run
        self.device = torch.device(device)
        recipe: Any = run.build_recipe()
        networks = {name: network.to(self.device) for name, network in run.load_networks().items()}
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.predictor = LandmarkPredictor(recipe.config, networks, dtype)  # type: ignore[assignment]
        self.scheme = self.predictor.scheme
        self.detector = make_detector(detector)

    def view(self, image: Tensor, box: Tensor) -> Tensor:
        """What the networks see of the face in ``box`` ``[4]`` of a photograph: ``[3, s, s]``."""
        predictor: Any = self.predictor
        return predictor.view.picture(image, predictor.crop(image, box))

    def describe(self, image: Tensor, box: Tensor) -> Tensor:
        """Raise the ``UsageError`` of a model without dense descriptors."""
        raise UsageError(
            f"the run {self.run.folder} holds landmarks without dense descriptors: give a run of dve-smallnet-16d."
        )

    def face(self, image: Tensor, place: Detection) -> Face:
        """Landmarks of one detected face of ``[3, H, W]``."""
        found: Any = self.predictor(image, place.box)
        return Face(found.points, found.confidence, place.box, float(place.score), self.scheme)

    def tiles(self, image: Tensor, place: Detection) -> Tensor:
        """Input, reconstruction, heatmaps, landmarks in both, side by side: ``[3, h, 5 w]``."""
        predictor: Any = self.predictor
        return tile_pictures([five_tiles_of(predictor, image, place.box)])

"""Pictures of descriptors and landmarks: descriptors as colours, one face in the geometry of another."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.data.face_box import sample_box
from lineament.data.images import write_image
from lineament.data.sample import FaceSample
from lineament.evaluation.matching import PreparedFace
from lineament.faces.frame import Frame
from lineament.faces.schemes import as_scheme
from lineament.files import write_text
from lineament.methods.dve.predictor import LandmarkPredictor
from lineament.report.descriptors import descriptor_colours, picture_grid, warp_onto
from lineament.report.figures import draw_grid


@torch.no_grad()
def descriptor_sheet(
    describe: Callable[[Tensor], Tensor], faces: Sequence[PreparedFace], frame: Frame
) -> Tensor:
    """A row of faces, their descriptors as colours, and the first face in the geometry of each: ``[3, H, W]``."""
    images = torch.stack([face.image for face in faces])
    if frame.crop:
        images = images[..., frame.crop : -frame.crop, frame.crop : -frame.crop]
    features = describe(images)
    colours = descriptor_colours(features)
    side = max(96, frame.seen)
    directions = F.normalize(features, dim=1)
    warped = [warp_onto(images[0], directions[0], target, side) for target in directions]
    return picture_grid([list(images), list(colours), warped], side)


def descriptor_figure(
    describe: Callable[[Tensor], Tensor], faces: Sequence[PreparedFace], frame: Frame, path: Path
) -> Path:
    """Write :func:`descriptor_sheet` as a PNG with the names of its faces beside it as JSON."""
    write_image(path, descriptor_sheet(describe, faces, frame))
    rows = [
        "picture",
        "descriptors as colours (three principal components)",
        "first face in the geometry of each",
    ]
    write_text(
        path.with_suffix(".json"), json.dumps({"columns": [f.id for f in faces], "rows": rows}, indent=1)
    )
    return path


def landmark_figure(predictor: LandmarkPredictor, samples: Sequence[FaceSample], path: Path) -> Path:
    """Faces with predicted (dots) and, where they are of the same scheme, true (rings) landmarks."""
    boxes = [sample_box(sample) for sample in samples]
    predicted = [
        predictor.landmarks(sample.image, box[None]).points[0]
        for sample, box in zip(samples, boxes, strict=True)
    ]
    true = [sample.landmarks if sample.scheme == predictor.scheme.name else None for sample in samples]
    images = [sample.image for sample in samples]
    return draw_grid(path, images, columns=4, predicted=predicted, true=true, titles=[s.id for s in samples])


def _same_points(sample: FaceSample, predictor: LandmarkPredictor) -> Tensor | None:
    if sample.landmarks is None or sample.scheme is None:
        return None
    return sample.landmarks if as_scheme(sample.scheme).names == predictor.scheme.names else None

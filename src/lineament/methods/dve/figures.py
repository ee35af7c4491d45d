"""Images of faces with their landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lineament.data.face_box import sample_box
from lineament.data.sample import FaceSample
from lineament.faces.schemes import as_scheme
from lineament.methods.dve.predictor import LandmarkPredictor
from lineament.report.figures import draw_grid


def landmark_figure(predictor: LandmarkPredictor, samples: Sequence[FaceSample], path: Path) -> Path:
    """Faces with predicted (dots) and, where they are of the same scheme, true (rings) landmarks."""
    boxes = [sample_box(sample) for sample in samples]
    predicted = [
        predictor.landmarks(sample.image, box[None]).points[0]
        for sample, box in zip(samples, boxes, strict=True)
    ]
    true = [_same_points(sample, predictor) for sample in samples]
    images = [sample.image for sample in samples]
    return draw_grid(path, images, columns=4, predicted=predicted, true=true, titles=[s.id for s in samples])


def _same_points(sample: FaceSample, predictor: LandmarkPredictor) -> Tensor | None:
    if sample.landmarks is None or sample.scheme is None:
        return None
    return sample.landmarks if as_scheme(sample.scheme).names == predictor.scheme.names else None

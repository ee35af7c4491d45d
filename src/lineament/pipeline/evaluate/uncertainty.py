"""Measures on held-out faces up to which uncertainty of its points a model believes that something is a face."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError, UsageError
from lineament.faces.boxes import box_from_landmarks, iou
from lineament.faces.detection import Detection, main_face
from lineament.inference import Model
from lineament.progress import Progress, silent

# The limit lies above the uncertainty of nearly all faces, by a margin for faces that look like none of these. A higher
# quantile would be that of a few faces, hidden for the most part.
QUANTILE, MARGIN = 0.98, 1.5
# Least overlap (intersection over union) of a detection with the face of a sample.
SAME = 0.2
# Fewer faces say nothing about a quantile this close to all of them.
FEWEST = 200


@dataclass(frozen=True)
class UncertaintyLimit:
    """Up to which uncertainty a model believes that something is a face, and how that was found.

    Attributes:
        value: The limit, a share of the box: ``margin * typical``.
        margin: Factor on the quantile.
        quantile: Which quantile of the faces.
        typical: That quantile of their uncertainty, a share of the box.
        largest: The largest of them.
        faces: How many faces were measured.
        detector: What gave their boxes.
        data: The faces, by the words that name them.
    """

    value: float
    margin: float
    quantile: float
    typical: float
    largest: float
    faces: int
    detector: str
    data: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``model.json``, without more digits than mean anything."""
        values = asdict(self) | {"data": list(self.data)}
        return {key: round(each, 6) if isinstance(each, float) else each for key, each in values.items()}


def measure_limit(
    model: Model, source: FaceSource, data: tuple[str, ...], count: int = 2000, progress: Progress = silent
) -> UncertaintyLimit:
    """Measure the limit on faces that the detector finds.

    Args:
        model: Gives landmarks with their standard deviations.
        source: Held-out faces, one in each image; labels, where there are any, tell which detection is the face.
        data: How the faces are named.
        count: So many images at most, spread evenly over the source.
        progress: Shows how far it is.

    Raises:
        UsageError: If the model gives no landmarks, or none with a standard deviation.
        DataError: If the detector finds fewer than 200 of the faces.
    """
    model.capability(LandmarkPredictor)
    number = min(count, len(source))
    measured: list[float] = []
    with progress("uncertainty", number, "faces") as advance:
        for index in range(number):
            found = _uncertainty(model, source[index * len(source) // number])
            measured += [] if found is None else [found]
            advance()
    if len(measured) < FEWEST:
        raise DataError(
            f"the detector {model.detector_name} found {len(measured)} of {number} faces in {source.name}: a limit of "
            f"the uncertainty needs {FEWEST} or more."
        )
    values = torch.tensor(measured, dtype=torch.float64)
    typical = float(values.quantile(QUANTILE))
    largest = float(values.max())
    return UncertaintyLimit(
        MARGIN * typical, MARGIN, QUANTILE, typical, largest, len(measured), model.detector_name, data
    )


def _uncertainty(model: Model, sample: FaceSample) -> float | None:
    place = _found(model.detect(sample.image, upright="off"), sample)
    if place is None:
        return None
    uncertainty = model.face(sample.image, place).uncertainty
    if uncertainty is None:
        raise UsageError(
            f"{model.run.label} does not tell how unsure it is of its points: it can have no limit of that."
        )
    return uncertainty


def _found(places: list[Detection], sample: FaceSample) -> Detection | None:
    """The detection of a sample's face; None where the detector missed it."""
    around: Tensor | None = sample.box
    if sample.landmarks is not None:
        around = box_from_landmarks(sample.landmarks.double())
    if around is None:
        return main_face(places)
    shares = [float(iou(place.box[None].double(), around[None].double())) for place in places]
    best = max(range(len(places)), key=shares.__getitem__, default=None)
    return None if best is None or shares[best] < SAME else places[best]

"""Landmark error in the published protocol: labelled images cut as published, the error in eye distances."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError
from lineament.evaluation.landmarks import FaceErrors, LandmarkScores, gathered
from lineament.evaluation.published import get_protocol, plain_view, published_face
from lineament.faces.frame import Frame
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points, scheme
from lineament.methods.dve.regressor import to_unit
from lineament.metrics.landmark import inter_ocular, point_distances

# Images described at a time.
BATCH = 32


class ViewRegressor(Protocol):
    """What the published protocol needs of a model: its view, and landmarks in images that are cut already."""

    @property
    def frame(self) -> Frame:
        """The view of the network."""
        ...

    @property
    def scheme(self) -> LandmarkScheme:
        """What the landmarks mean."""
        ...

    def regress(self, views: Tensor) -> Tensor:
        """Landmarks ``[B, K, 2]`` in -1..1 of views ``[B, 3, s, s]``."""
        ...


def published_scores(
    predictor: ViewRegressor,
    source: FaceSource,
    crops: str,
    indices: Iterable[int] | None = None,
    which: str | None = None,
) -> LandmarkScores:
    """Errors of every image in distances between its labelled eye points.

    Both predictions and labels are in -1..1 of the cropped image, as published; for square images the quotient is
    that of pixels. The network's own view decides the size and what is cut off; mirrored and moved looks are left out.

    Args:
        predictor: The model.
        source: Whole images with as many landmarks as the preprocessing has.
        crops: Published preprocessing.
        indices: Which samples; all when None.
        which: Scheme to compare in; that of the labels when None. Predictions and labels are converted.

    Raises:
        UsageError: If there is no such preprocessing, or the predictions cannot be converted.
        DataError: If an image or its labels are not what the preprocessing needs.
    """
    if not crops:
        raise UsageError(
            "the published landmark error needs the preprocessing of the data: celeba, aflw-m, aflw-r or 300w."
        )
    frame, eyes = predictor.frame, get_protocol(crops).eyes
    chosen = list(range(len(source)) if indices is None else indices)
    faces: list[FaceErrors] = []
    left_out = 0
    layout = scheme(which) if which else None
    for start in range(0, len(chosen), BATCH):
        samples = [source[index] for index in chosen[start : start + BATCH]]
        cut = [plain_view(published_face(sample, crops, frame.size), frame.crop) for sample in samples]
        predicted = predictor.regress(torch.stack([image for image, _ in cut]))
        truth = to_unit(torch.stack([points for _, points in cut]), frame.seen, frame.seen)
        for sample, found, true in zip(samples, predicted, truth, strict=True):
            labelled = as_scheme(sample.scheme or predictor.scheme)
            layout = layout or labelled
            expected = convert_points(true, labelled, layout)
            distances = point_distances(convert_points(found, predictor.scheme, layout), expected)
            length = inter_ocular(true, eyes)
            if not bool(torch.isfinite(length)):
                left_out += 1
                continue
            faces.append(FaceErrors(sample, distances / length, expected.double(), length))
    left, right = eyes
    if not faces or layout is None:
        raise DataError(f"{source.name} has no face whose eye points are labelled, as {crops} needs.")
    return gathered(
        faces,
        layout,
        "inter-ocular",
        cut=f"published preprocessing {crops}, {frame.size} px, {frame.crop} px cut off each side",
        measured_by=f"distance of the true points {left} and {right}",
        left_out=left_out,
    )

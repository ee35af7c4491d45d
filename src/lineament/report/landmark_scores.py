"""Scores landmarks against labels, for models of any method and for predictions of other tools alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from lineament.data.face_box import jittered_box, sample_box
from lineament.data.order import sample_generator
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError, UsageError
from lineament.faces.normalisers import normaliser
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points, scheme
from lineament.metrics.landmark import area_under_curve, failure_rate, point_distances

# Part of a scheme that inner errors leave out.
OUTLINE = "outline"


class Found(Protocol):
    """An answer of a predictor."""

    @property
    def points(self) -> Tensor:
        """Landmarks ``[K, 2]`` in pixels of the photograph."""
        ...


class Predictor(Protocol):
    """Anything that puts landmarks on the face in a box."""

    @property
    def scheme(self) -> LandmarkScheme:
        """What the landmarks mean."""
        ...

    def __call__(self, image: Tensor, box: Tensor) -> Found:
        """Find the landmarks of the face in ``box`` ``[4]`` of a photograph ``[3, H, W]``."""
        ...


@dataclass(frozen=True)
class LandmarkScores:
    """Errors of every landmark of every face.

    Attributes:
        errors: ``[N, K]`` distances divided by the face's normaliser; NaN where the truth is unknown.
        layout: Scheme they are compared in.
        ids: Names of the N samples.
        subsets: For each sample the subsets of its data set that it belongs to (``meta["subsets"]``).
        normalise_by: Name of the normaliser.
    """

    errors: Tensor
    layout: LandmarkScheme
    ids: tuple[str, ...]
    subsets: tuple[frozenset[str], ...]
    normalise_by: str

    @cached_property
    def per_face(self) -> Tensor:
        """Mean error ``[N]`` of each face over its known landmarks."""
        return self.errors.nanmean(1)

    @property
    def mean(self) -> float:
        """Mean over faces of their mean errors; faces without a known landmark are left out."""
        return float(self.per_face.nanmean())

    def part(self, name: str) -> float:
        """Mean error of the landmarks ``"inner"``, ``"outline"`` or ``"all"``; NaN where the scheme has none."""
        outline = sorted(self.layout.parts.get(OUTLINE, ()))
        chosen = {
            "all": list(range(len(self.layout))),
            "outline": outline,
            "inner": [k for k in range(len(self.layout)) if k not in outline],
        }[name]
        return float(self.errors[:, chosen].nanmean(1).nanmean()) if chosen else float("nan")

    def failures(self, threshold: float = 0.1) -> float:
        """Share of faces whose mean error is above the threshold."""
        return failure_rate(self.per_face, threshold)

    def area(self, limit: float = 0.1) -> float:
        """Exact area under the cumulative error curve up to ``limit``, 1 is perfect."""
        return area_under_curve(self.per_face, limit)

    def only(self, subset: str) -> LandmarkScores:
        """The faces of one subset.

        Raises:
            UsageError: If no face belongs to it.
        """
        rows = [i for i, names in enumerate(self.subsets) if subset in names]
        if not rows:
            raise UsageError(f"no sample belongs to the subset {subset!r}: there are {self.subset_names()}.")
        return LandmarkScores(
            self.errors[rows],
            self.layout,
            tuple(self.ids[i] for i in rows),
            tuple(self.subsets[i] for i in rows),
            self.normalise_by,
        )

    def subset_names(self) -> list[str]:
        """All subsets that any face belongs to."""
        return sorted(set().union(*self.subsets))

    def summary(self) -> dict[str, Any]:
        """All numbers of a table row; errors in % of the normaliser."""
        return {
            "faces": len(self.ids),
            **{name: 100 * self.part(name) for name in ("inner", "outline", "all")},
            "failures_percent": 100 * self.failures(),
            "area": self.area(),
        }


def common_scheme(predicted: LandmarkScheme, labelled: LandmarkScheme) -> LandmarkScheme:
    """The richest scheme both can be expressed in: the labels' own, else the prediction's.

    Raises:
        UsageError: If neither can be turned into the other.
    """
    try:
        convert_points(torch.zeros(len(predicted), 2), predicted, labelled)
        return labelled
    except UsageError:
        convert_points(torch.zeros(len(labelled), 2), labelled, predicted)
        return predicted


@dataclass(frozen=True)
class TablePredictions:
    """Predictions of any tool, by the name of the picture, in place of a model.

    Attributes:
        scheme: Scheme of the predictions.
        points: ``[K, 2]`` pixels by sample id, path, or file name of the picture.
        origin: Where they come from, for messages.
    """

    scheme: LandmarkScheme
    points: Mapping[str, Tensor]
    origin: str

    def of(self, sample: FaceSample) -> Tensor:
        """Points of a sample.

        Raises:
            DataError: If there are none.
        """
        path = sample.path
        for name in (sample.id, *([str(path), path.name] if path else [])):
            if name in self.points:
                return self.points[name]
        raise DataError(f"{self.origin} has no prediction for {sample.id}.")


def score_landmarks(
    predictor: Predictor | TablePredictions,
    source: FaceSource,
    indices: Iterable[int] | None = None,
    *,
    which: str | None = None,
    normalise_by: str = "inter-ocular",
    box_jitter: float = 0.0,
    seed: int = 0,
) -> LandmarkScores | None:
    """Score a model on a labelled source, faces cropped by their box alone.

    Args:
        predictor: The model, or predictions from a file.
        source: Labelled faces; samples without landmarks are left out.
        indices: Which samples; all when None.
        which: Scheme to compare in; when None the labels' own, where predictions can be turned into it.
        normalise_by: Name of the normaliser of the truth.
        box_jitter: Boxes are moved and scaled by up to this share of their side.
        seed: Seed of the jitter.

    Returns:
        The scores; None where no sample has landmarks.

    Raises:
        UsageError: If the schemes cannot be converted.
    """
    layout = scheme(which) if which else None
    errors, ids, subsets = [], [], []
    for index in range(len(source)) if indices is None else indices:
        sample = source[index]
        if sample.landmarks is None or sample.scheme is None:
            continue
        layout = layout or common_scheme(predictor.scheme, as_scheme(sample.scheme))
        truth = convert_points(sample.landmarks.float(), sample.scheme, layout)
        if isinstance(predictor, TablePredictions):
            given = predictor.of(sample)
        else:
            box = jittered_box(sample, sample_generator(seed, 0, index), box_jitter)
            given = predictor(sample.image, box).points
        found = convert_points(given, predictor.scheme, layout)
        length = normaliser(normalise_by)(truth, layout, sample_box(sample).float())
        errors.append(point_distances(found.float(), truth) / length)
        ids.append(sample.id)
        subsets.append(frozenset(sample.meta.get("subsets", ())))
    if not errors or layout is None:
        return None
    return LandmarkScores(torch.stack(errors), layout, tuple(ids), tuple(subsets), normalise_by)

"""Scores landmarks against labels, for models of any method and for predictions of other tools alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lineament.data.face_box import jittered_box, sample_box
from lineament.data.order import sample_generator
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError, UsageError
from lineament.faces import boxes
from lineament.faces.labels import read_keypoints
from lineament.faces.normalisers import normaliser
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points, scheme
from lineament.metrics.landmark import AreaRule, area_under_curve, failure_rate, point_distances

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
        errors: ``[N, K]`` distances divided by the face's normaliser; NaN where the truth is unknown. Every face has a
            landmark that is known.
        layout: Scheme they are compared in.
        ids: Names of the N samples.
        subsets: For each sample the subsets of its data set that it belongs to (``meta["subsets"]``).
        normalise_by: Name of the normaliser.
        left_out: Faces left out because the points that the normaliser measures are missing.
    """

    errors: Tensor
    layout: LandmarkScheme
    ids: tuple[str, ...]
    subsets: tuple[frozenset[str], ...]
    normalise_by: str
    left_out: int = 0

    @property
    def missing(self) -> int:
        """Number of landmarks without a label, which count nowhere."""
        return int(self.errors.isnan().sum())

    @cached_property
    def per_face(self) -> Tensor:
        """Mean error ``[N]`` of each face over its known landmarks."""
        return self.errors.nanmean(1)

    @property
    def mean(self) -> float:
        """Mean over faces of their mean errors."""
        return float(self.per_face.mean())

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

    def area(self, limit: float = 0.1, rule: AreaRule = "exact") -> float:
        """Area under the cumulative error curve up to ``limit``, 1 is perfect."""
        return area_under_curve(self.per_face, limit, rule)

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

    def summary(self, area: AreaRule = "exact") -> dict[str, Any]:
        """All numbers of a table row; errors in % of the normaliser."""
        return {
            "faces": len(self.ids),
            **{name: 100 * self.part(name) for name in ("inner", "outline", "all")},
            "failures_percent": 100 * self.failures(),
            "area": self.area(rule=area),
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
        points: ``[K, 2]`` pixels by sample id, or by path or end of the path of the picture (``ibug/image_1.jpg``,
            ``image_1.jpg``); ``[F, K, 2]`` where it shows F faces.
        origin: Where they come from, for messages.
    """

    scheme: LandmarkScheme
    points: Mapping[str, Tensor]
    origin: str

    def of(self, sample: FaceSample) -> Tensor:
        """Points of a sample; of several faces in its picture those whose middle is nearest to that of its box.

        Raises:
            DataError: If there are none.
        """
        parts = sample.path.parts if sample.path else ()
        # The whole path first, the bare file name last: folders of a set may hold files of the same name.
        for name in (sample.id, *("/".join(parts[i:]) for i in range(1, len(parts))), str(sample.path)):
            if name in self.points:
                return _nearest(self.points[name], sample)
        raise DataError(f"{self.origin} has no prediction for {sample.id}.")


def _nearest(points: Tensor, sample: FaceSample) -> Tensor:
    if points.ndim == 2:
        return points
    middle = boxes.centre(sample_box(sample))
    return points[(points.double().nanmean(1) - middle).norm(dim=-1).nan_to_num(torch.inf).argmin()]


def read_predictions(path: Path) -> TablePredictions:
    """Read predicted landmarks by picture from a label file.

    Raises:
        DataError: If the file cannot be read or holds no landmarks.
    """
    labels = read_keypoints(path)
    if labels.scheme is None:
        raise DataError(f"{path} holds no landmarks.")
    points: dict[str, list[Tensor]] = {}
    for face in labels.faces:
        if face.landmarks is not None:
            points.setdefault(face.image, []).append(face.landmarks)
    return TablePredictions(
        labels.scheme, {name: torch.stack(each) for name, each in points.items()}, str(path)
    )


def score_landmarks(
    predictor: Predictor | TablePredictions,
    source: FaceSource,
    indices: Iterable[int] | None = None,
    *,
    which: str | None = None,
    normalise_by: str | None = None,
    box_jitter: float = 0.0,
    seed: int = 0,
) -> LandmarkScores | None:
    """Score a model on a labelled source, faces cropped by their box alone.

    Args:
        predictor: The model, or predictions from a file.
        source: Labelled faces; samples without a known landmark are left out.
        indices: Which samples; all when None.
        which: Scheme to compare in; when None the labels' own, where predictions can be turned into it.
        normalise_by: Name of the normaliser of the truth; None takes inter-ocular, and box for a scheme without eyes.
        box_jitter: Boxes are moved and scaled by up to this share of their side.
        seed: Seed of the jitter.

    Returns:
        The scores; None where no sample has landmarks. A landmark whose label is missing counts nowhere; a face whose
        normaliser needs one that is missing is left out and counted.

    Raises:
        UsageError: If the schemes cannot be converted.
        DataError: If a file has no prediction for a face, or none for a landmark that is known.
    """
    layout = scheme(which) if which else None
    errors, ids, subsets = [], [], []
    left_out = 0
    for index in range(len(source)) if indices is None else indices:
        sample = source[index]
        if sample.landmarks is None or sample.scheme is None:
            continue
        layout = layout or common_scheme(predictor.scheme, as_scheme(sample.scheme))
        truth = convert_points(sample.landmarks.float(), sample.scheme, layout)
        known = torch.isfinite(truth).all(-1)
        if not bool(known.any()):
            continue
        if isinstance(predictor, TablePredictions):
            given = predictor.of(sample)
        else:
            box = jittered_box(sample, sample_generator(seed, 0, index), box_jitter)
            given = predictor(sample.image, box).points
        found = convert_points(given, predictor.scheme, layout).float()
        placed = torch.isfinite(found).all(-1)
        if isinstance(predictor, TablePredictions) and not bool(placed[known].all()):
            missing = layout.names[int((known & ~placed).nonzero()[0])]
            raise DataError(f"{predictor.origin} has no place for the landmark {missing} of {sample.id}.")
        if normalise_by is None:
            normalise_by = "box" if layout.inter_ocular is None else "inter-ocular"
        length = normaliser(normalise_by)(truth, layout, sample_box(sample).float())
        if not bool(torch.isfinite(length)):
            left_out += 1
            continue
        # A model that answers with no number is wrong there, not excused.
        distances = torch.where(placed, point_distances(found, truth), torch.inf)
        errors.append(torch.where(known, distances / length, torch.nan))
        ids.append(sample.id)
        subsets.append(frozenset(sample.meta.get("subsets", ())))
    if left_out and not errors:
        raise DataError(
            f"the points that {normalise_by} measures are missing in all {left_out} labelled faces: choose another "
            "normaliser with --normaliser, for example box."
        )
    if not errors or layout is None or normalise_by is None:
        return None
    return LandmarkScores(torch.stack(errors), layout, tuple(ids), tuple(subsets), normalise_by, left_out)

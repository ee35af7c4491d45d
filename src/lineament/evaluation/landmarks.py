"""Scores landmarks against labels, for models of any method and for predictions of other tools alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.data.face_box import jittered_box, sample_box
from lineament.data.order import sample_generator
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError, UsageError
from lineament.evaluation.mean_shape import in_square, others_mean
from lineament.faces import boxes
from lineament.faces.labels import read_keypoints
from lineament.faces.normalisers import normaliser, usual_normaliser
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points, scheme
from lineament.metrics.landmark import AreaRule, area_under_curve, failure_rate, point_distances

# Part of a scheme that inner errors leave out.
OUTLINE = "outline"
BOX_CUT = "faces cropped by their box alone"


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
        mean_shape: ``[N, K]`` errors of the mean shape of the other faces, placed where each face was cut: what
            knowing the box alone gives; None where it was not measured.
        cut: How the faces were cut, in words.
        measured_by: What exactly lengths are divided by, in words; "" says it by the normaliser's name.
    """

    errors: Tensor
    layout: LandmarkScheme
    ids: tuple[str, ...]
    subsets: tuple[frozenset[str], ...]
    normalise_by: str
    left_out: int = 0
    mean_shape: Tensor | None = None
    cut: str = BOX_CUT
    measured_by: str = ""

    @property
    def missing(self) -> int:
        """Number of landmarks without a label, which count nowhere."""
        return int(self.errors.isnan().sum())

    @property
    def mean_shape_error(self) -> float | None:
        """Mean over faces of the mean shape's errors; None for a single face, or where it was not measured."""
        if self.mean_shape is None:
            return None
        mean = float(self.mean_shape.nanmean(1).nanmean())
        return None if math.isnan(mean) else mean

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
        return replace(
            self,
            errors=self.errors[rows],
            ids=tuple(self.ids[i] for i in rows),
            subsets=tuple(self.subsets[i] for i in rows),
            mean_shape=None if self.mean_shape is None else self.mean_shape[rows],
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


@dataclass(frozen=True)
class FaceErrors:
    """The errors of one face.

    Attributes:
        sample: The face.
        errors: ``[K]`` distances divided by the normaliser; NaN where the truth is unknown.
        shape: ``[K, 2]`` the truth in coordinates in which faces that are cut alike lie alike.
        length: Length of the normaliser in these coordinates.
    """

    sample: FaceSample
    errors: Tensor
    shape: Tensor
    length: Tensor


def gathered(
    faces: Sequence[FaceErrors],
    layout: LandmarkScheme,
    normalise_by: str,
    *,
    cut: str = BOX_CUT,
    measured_by: str = "",
    left_out: int = 0,
) -> LandmarkScores:
    """Put the errors of single faces together, and measure the mean shape of the other faces beside them."""
    shapes = torch.stack([face.shape for face in faces]).double()
    lengths = torch.stack([face.length for face in faces]).double()
    apart = point_distances(others_mean(shapes), shapes) / lengths[:, None]
    return LandmarkScores(
        torch.stack([face.errors for face in faces]),
        layout,
        tuple(face.sample.id for face in faces),
        tuple(frozenset(face.sample.meta.get("subsets", ())) for face in faces),
        normalise_by,
        left_out,
        apart,
        cut,
        measured_by,
    )


@runtime_checkable
class PublishedLandmarks(Protocol):
    """A landmark predictor whose method was measured on crops of data sets that were published with it."""

    def published_crops(self, data: str) -> str:
        """Name of the published crops of a data set (``mafl/test``), "" for none."""
        ...

    def published_scores(
        self, source: FaceSource, crops: str, indices: Iterable[int] | None = None, which: str | None = None
    ) -> LandmarkScores:
        """Score on published crops.

        Args:
            source: Whole images with landmarks.
            crops: Name of the crops.
            indices: Which samples; all when None.
            which: Scheme to compare in; the labels' own when None.

        Raises:
            DataError: If an image or its labels are not what the crops need.
        """
        ...


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
    """Predictions of any tool, by the name of the image, in place of a model.

    Attributes:
        scheme: Scheme of the predictions.
        points: ``[K, 2]`` pixels by sample id, or by path or end of the path of the image (``ibug/image_1.jpg``,
            ``image_1.jpg``); ``[F, K, 2]`` where it shows F faces.
        origin: Where they come from, for messages.
    """

    scheme: LandmarkScheme
    points: Mapping[str, Tensor]
    origin: str

    def of(self, sample: FaceSample) -> Tensor:
        """Points of a sample; of several faces in its image those whose middle is nearest to that of its box.

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
    """Read predicted landmarks by image from a label file.

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
    predictor: LandmarkPredictor | TablePredictions,
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
    faces: list[FaceErrors] = []
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
        box = jittered_box(sample, sample_generator(seed, 0, index), box_jitter)
        if isinstance(predictor, TablePredictions):
            given = predictor.of(sample)
        else:
            given = predictor.landmarks(sample.image, box[None]).points[0]
        found = convert_points(given, predictor.scheme, layout).float()
        placed = torch.isfinite(found).all(-1)
        if isinstance(predictor, TablePredictions) and not bool(placed[known].all()):
            missing = layout.names[int((known & ~placed).nonzero()[0])]
            raise DataError(f"{predictor.origin} has no place for the landmark {missing} of {sample.id}.")
        if normalise_by is None:
            normalise_by = usual_normaliser(layout)
        length = normaliser(normalise_by)(truth, layout, sample_box(sample).float())
        if not bool(torch.isfinite(length)):
            left_out += 1
            continue
        # A model that answers with no number is wrong there, not excused.
        distances = torch.where(placed, point_distances(found, truth), torch.inf)
        errors = torch.where(known, distances / length, torch.nan)
        square = boxes.square(box.double())
        faces.append(FaceErrors(sample, errors, in_square(truth, square), length / boxes.size(square).max()))
    if left_out and not faces:
        raise DataError(
            f"the points that {normalise_by} measures are missing in all {left_out} labelled faces: choose another "
            "normaliser with --normaliser, for example box."
        )
    if not faces or layout is None or normalise_by is None:
        return None
    moved = f"{BOX_CUT}, moved and scaled by up to {100 * box_jitter:g} % of its side"
    if isinstance(predictor, TablePredictions):
        moved = "predictions from a file, in pixels of the images"
    return gathered(faces, layout, normalise_by, cut=moved, left_out=left_out)

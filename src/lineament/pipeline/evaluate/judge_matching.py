"""How far points that a model carries from one person to another lie from where an independent tool has them.

The tool's points are measured with and never learnt from; what comes of it is a disagreement, not an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from lineament.capabilities import DenseDescriptor, LandmarkPredictor
from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError
from lineament.faces.detection import Detection, main_face
from lineament.faces.schemes import scheme
from lineament.inference import Model
from lineament.metrics.card import MetricCard
from lineament.pipeline.evaluate.judge import JudgedPoints
from lineament.pipeline.predict.describe import can_match
from lineament.pipeline.predict.face_view import FaceView, view_face
from lineament.pipeline.predict.match import match_faces

# Each face is matched with the one so many faces on, and so many pairs are made.
APART, PAIRS = 7, 60
# Shift in pixels of points that a model puts on one place, which no spline goes through.
NUDGE = 1e-4


@dataclass(frozen=True)
class _Face:
    """A face that was found, with what the judge says of it and what the model does.

    Attributes:
        mesh: ``[M, 2]`` the judge's points.
        length: Distance of the outer corners of its eyes, pixels.
        view: What it is matched by; None where the model matches none.
        landmarks: ``[K, 2]`` the model's own; None without landmarks.
    """

    mesh: Tensor
    length: float
    view: FaceView | None
    landmarks: Tensor | None


def matching_disagreement_cards(model: Model, source: FaceSource, judge: JudgedPoints) -> list[MetricCard]:
    """Carry the judge's points from each face to another person's and compare with its points there.

    The i-th found face is matched with the (i + 7)-th, wrapping round, for 60 pairs or as many as there are faces.

    Args:
        model: Gives descriptors or landmarks; finds the faces itself.
        source: Images; those that the judge does not know are left out.
        judge: Its points.

    Returns:
        One card for each thing that the model can do: points matched by its descriptors or by a fitted head; points
        moved by the thin-plate spline through its own landmarks. Values are means over points and pairs; medians are
        in the details.

    Raises:
        UsageError: If the model has neither descriptors nor landmarks.
        DataError: If fewer than eight faces that the judge knows are found.
    """
    describes, marks = can_match(model), model.has(LandmarkPredictor)
    if not describes and not marks:
        raise UsageError("matching with a judge's points needs a run with dense descriptors or landmarks.")
    by_head = not model.has(DenseDescriptor)
    faces, unseen = _found(model, source, judge, describes, marks)
    if len(faces) <= APART:
        raise DataError(
            f"{len(faces)} faces of {source.name} are found and known to {judge.path}: matching needs {APART + 1} or "
            "more."
        )
    pairs = [(faces[i], faces[(i + APART) % len(faces)]) for i in range(min(PAIRS, len(faces)))]
    ways: list[tuple[str, Callable[[_Face, _Face], Tensor]]] = []
    if describes:
        how = "a head fitted to the model's landmarks" if by_head else "dense descriptors"
        ways.append((f"points matched by {how}", _matched))
    if marks:
        ways.append(("points moved by the thin-plate spline through the model's own landmarks", _by_spline))
    cards = []
    for how, carry in ways:
        errors = torch.stack(
            [100.0 * (carry(one, other) - other.mesh).norm(dim=-1) / other.length for one, other in pairs]
        )
        per_pair = errors.mean(1)
        cards.append(
            MetricCard(
                name="disagreement with an independent tool across people",
                value=float(errors.mean()),
                unit="% of inter-ocular distance",
                definition=f"{how}: mean Euclidean distance from the tool's points on the second face, divided by the "
                "normaliser",
                protocol=(
                    f"own detection; the i-th found face with the (i + {APART})-th, {len(pairs)} pairs of "
                    f"{errors.shape[1]} points; {unseen} faces were not found"
                ),
                count=len(pairs),
                normaliser="distance of the outer eye corners of the tool's points on the second face",
                data=source.name,
                fingerprint=source.fingerprint,
                std=float(per_pair.std(correction=0)),
                std_over="samples",
                details={
                    "median": float(errors.median()),
                    "not_found": unseen,
                    "per_pair": per_pair.tolist(),
                },
            )
        )
    return cards


def _found(
    model: Model, source: FaceSource, judge: JudgedPoints, describes: bool, marks: bool
) -> tuple[list[_Face], int]:
    """The faces that are found and known, and how many known ones are not found."""
    layout = scheme("68")
    faces: list[_Face] = []
    unseen = 0
    for index in range(len(source)):
        if len(faces) >= PAIRS + APART:
            break
        sample = source[index]
        name = PurePosixPath(sample.id).stem
        if name not in judge.points:
            continue
        face = main_face(model.detect(sample.image, upright="off"))
        if face is None:
            unseen += 1
            continue
        left, right = judge.points[name][layout.ocular_points()]
        faces.append(
            _Face(
                judge.mesh[name],
                float((left - right).norm()),
                view_face(model, sample.image, face, sample.id) if describes else None,
                _landmarks(model, sample.image, face) if marks else None,
            )
        )
    return faces, unseen


def _landmarks(model: Model, image: Tensor, face: Detection) -> Tensor:
    found = model.capability(LandmarkPredictor).landmarks(image, face.box[None].float())
    return found.points[0].double()


def _matched(one: _Face, other: _Face) -> Tensor:
    assert one.view is not None and other.view is not None
    return match_faces(one.view, other.view, one.mesh).points_b.double()


def _by_spline(one: _Face, other: _Face) -> Tensor:
    assert one.landmarks is not None and other.landmarks is not None
    start = one.landmarks.numpy() + NUDGE * np.random.default_rng(0).standard_normal(one.landmarks.shape)
    spline = RBFInterpolator(start, other.landmarks.numpy(), kernel="thin_plate_spline")
    return torch.from_numpy(spline(one.mesh.numpy()))

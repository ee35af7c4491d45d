"""How far a network is off on held-out faces, and what its predicted scales are worth there.

One number, the temperature, turns predicted scales into standard deviations: half of the points of held-out faces,
moved, hidden and degraded as in training, lie within 1.177 standard deviations of their places, as a round normal
distribution has it. It is fitted on every other face and kept with the weights; the others tell what the confidence is
worth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lineament.data.order import sample_generator
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError, UsageError
from lineament.faces.normalisers import normaliser
from lineament.methods.landmarks.crop import AROUND, cut, moved, prepared, square_of_box
from lineament.methods.landmarks.model import head_buffer
from lineament.methods.landmarks.predictor import BATCH, NEAR, confidence

if TYPE_CHECKING:
    from lineament.methods.landmarks.recipe import LandmarksRecipe

# A round normal distribution has half of its mass within so many standard deviations.
HALF = math.sqrt(2.0 * math.log(2.0))


def labelled_faces(recipe: LandmarksRecipe, source: FaceSource) -> list[FaceSample]:
    """Up to ``evaluate_count`` faces, spread evenly over a source, cut as for training; without unlabelled ones."""
    count = min(len(source), recipe.config.evaluate_count)
    faces = []
    for number in range(count):
        try:
            faces.append(
                prepared(source[number * len(source) // count], recipe.landmarks, recipe.config.size)
            )
        except (DataError, UsageError):
            # Unreadable, unlabelled, or of another scheme.
            continue
    return [
        face for face in faces if face.landmarks is not None and bool(torch.isfinite(face.landmarks).any())
    ]


def calibrate(
    recipe: LandmarksRecipe, networks: dict[str, nn.Module], source: FaceSource
) -> dict[str, float]:
    """Measure the error and set the temperature of the head.

    Args:
        recipe: Whose faces are moved and degraded.
        networks: ``backbone`` and ``head`` in eval mode; the head's buffer ``temperature`` is set.
        source: Held-out labelled faces.

    Returns:
        ``landmark_error_percent``: mean error of plain crops in % of the inter-ocular distance (of the box where the
        scheme has no eyes); ``harder_error_percent``: of moved, hidden and degraded ones; ``temperature``;
        ``near_percent`` and ``confidence_percent``: share of the points of the harder ones within a twentieth of the
        box's side, and what the confidence says it is, on the faces that the temperature was not fitted on (a single
        face is both). Empty without labelled faces.
    """
    faces = labelled_faces(recipe, source)
    if not faces:
        return {}
    predictor = recipe.predictor(networks)
    rule = normaliser("box" if recipe.landmarks.inter_ocular is None else "inter-ocular")
    size = recipe.config.size
    plain, harder, scaled, near, lengths, stds = [], [], [], [], [], []
    for start in range(0, len(faces), BATCH):
        part = faces[start : start + BATCH]
        matrices = torch.stack([square_of_box(_box(face), size).matrix for face in part])
        images = torch.stack([cut(face.image, each, size) for face, each in zip(part, matrices, strict=True)])
        places = torch.stack([moved(_points(face), each) for face, each in zip(part, matrices, strict=True)])
        length = torch.stack(
            [
                rule(each.float(), recipe.landmarks, _box(face).float())
                for each, face in zip(places, part, strict=True)
            ]
        )
        inter_ocular = (
            length if recipe.landmarks.inter_ocular is not None else torch.full_like(length, size / AROUND)
        )
        points, _, _ = predictor.read(images)
        plain.append((points * size - 0.5 - places).norm(dim=-1) / inter_ocular[:, None])
        items = [recipe.item(face, sample_generator(0, 0, start + k)) for k, face in enumerate(part)]
        batch = recipe.collate(items)
        points, std_of_batch, _ = predictor.read(batch["images"])
        error = (points - batch["points"]).norm(dim=-1).masked_fill(batch["known"] == 0, torch.nan)
        harder.append(error * size / inter_ocular[:, None])
        scaled.append(error / std_of_batch)
        near.append(torch.where(error.isfinite(), (error < NEAR / AROUND).float(), torch.nan))
        lengths.append(error)
        stds.append(std_of_batch)
    temperature = head_buffer(networks["head"], "temperature")
    factor = _fit(torch.cat(scaled)[::2])
    temperature.mul_(factor)
    others = slice(1 if len(faces) > 1 else 0, None, 2)
    std = factor * torch.cat(stds)[others]
    told = torch.where(torch.cat(lengths)[others].isfinite(), confidence(std), torch.nan)
    return {
        "landmark_error_percent": _percent(plain),
        "harder_error_percent": _percent(harder),
        "temperature": float(temperature),
        "near_percent": _percent([torch.cat(near)[others]]),
        "confidence_percent": _percent([told]),
    }


def _fit(scaled: Tensor) -> float:
    """Factor on the standard deviations that puts the median of errors over them where a normal distribution has it."""
    median = float(scaled.nanmedian())
    return median / HALF if math.isfinite(median) and median > 0 else 1.0


def _percent(values: list[Tensor]) -> float:
    return 100.0 * float(torch.cat([each.flatten() for each in values]).nanmean())


def _box(face: FaceSample) -> Tensor:
    assert face.box is not None
    return face.box


def _points(face: FaceSample) -> Tensor:
    assert face.landmarks is not None
    return face.landmarks.double()

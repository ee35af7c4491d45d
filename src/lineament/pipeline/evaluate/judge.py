"""How far a model's landmarks lie from those of an independent tool on photos that nobody has labelled.

The tool's points are measured with and never learnt from; what comes of it is a disagreement, not an error.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.data.order import sample_generator
from lineament.data.sample import FaceSource
from lineament.errors import DataError
from lineament.faces import boxes
from lineament.faces.detection import main_face
from lineament.faces.schemes import convert_points, scheme
from lineament.inference import Model
from lineament.metrics.card import MetricCard

# Standard deviations of the noise on the detector's box, as shares of its longer side.
NOISE = (0.0, 0.05, 0.10)
# The points of scheme 68 that both tools define alike: the eyes, and the middles of the lips, their corners, the base
# of the nose.
_MIDDLES = (
    "outer_lip_0",
    "outer_lip_3",
    "outer_lip_6",
    "outer_lip_9",
    "inner_lip_2",
    "inner_lip_6",
    "nose_base_2",
)


# Points of a judge's face mesh; what comes after them in a file are the eyes' irises, which turn.
MESH = 468


@dataclass(frozen=True)
class JudgedPoints:
    """What an independent tool says of images.

    Attributes:
        path: The file it comes from.
        points: ``[68, 2]`` scheme 68 in pixels of the image, by the image's name without its ending.
        mesh: ``[M, 2]`` all points of the tool's own face mesh, likewise.
    """

    path: Path
    points: dict[str, Tensor]
    mesh: dict[str, Tensor] = field(default_factory=dict)


def read_judge(path: Path) -> JudgedPoints:
    """Read a file with ``files`` [N], ``points`` [N, M, 2], and ``index68`` [68] of the points that count.

    Raises:
        DataError: If it cannot be read or lacks one of these.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            files, points, index = arrays["files"], arrays["points"], arrays["index68"]
            places = torch.from_numpy(points[:, index.astype(np.int64)].astype(np.float64))
            mesh = torch.from_numpy(points[:, :MESH].astype(np.float64))
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read as points of a judge (files, points, index68 in an .npz): {error}."
        ) from error
    names = [PurePosixPath(str(name)).stem for name in files]
    return JudgedPoints(path, dict(zip(names, places, strict=True)), dict(zip(names, mesh, strict=True)))


def noisy_box(box: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """A box ``[4]`` whose centre is moved, and size changed, by Gaussian shares of its longer side."""
    draws = torch.randn(3, generator=generator, dtype=torch.float64) * noise
    extent = boxes.size(box.double())
    middle = boxes.centre(box.double()) + draws[:2] * extent.max()
    return boxes.from_centre(middle, extent * (1.0 + draws[2]).clamp(min=0.2))


def disagreement_cards(
    model: Model, source: FaceSource, judge: JudgedPoints, noise: Sequence[float] = NOISE, seed: int = 0
) -> list[MetricCard]:
    """Measure the disagreement of a model's points with the judge's, once for each size of the noise on the box.

    Args:
        model: Gives landmarks of a scheme that turns into scheme 68; finds the faces itself.
        source: Images; those that the judge does not know are left out.
        judge: Its points.
        noise: Standard deviations of the noise, shares of the box's longer side.
        seed: Of the noise.

    Returns:
        One card for each noise: the mean over points and faces, with the median over faces and how many faces were not
        found in its details.

    Raises:
        DataError: If the judge knows none of the images, or no face is found.
    """
    predictor = model.capability(LandmarkPredictor)
    layout = scheme("68")
    names = [name for name in layout.names if name.split("_eye_")[0] in ("left", "right")] + list(_MIDDLES)
    chosen = layout.indices(*names)
    known = unseen = 0
    errors: list[list[float]] = [[] for _ in noise]
    for index in range(len(source)):
        sample = source[index]
        truth = judge.points.get(PurePosixPath(sample.id).stem)
        if truth is None:
            continue
        known += 1
        face = main_face(model.detect(sample.image, upright="off"))
        if face is None:
            unseen += 1
            continue
        length = (truth[layout.ocular_points()[0]] - truth[layout.ocular_points()[1]]).norm()
        moved = [
            noisy_box(face.box, each, sample_generator(seed, number, index))
            for number, each in enumerate(noise)
        ]
        found = predictor.landmarks(sample.image, torch.stack(moved).float()).points
        points = convert_points(found.double(), predictor.scheme, layout)
        distances = (points - truth)[:, chosen].norm(dim=-1).mean(1) / length
        for kept, value in zip(errors, distances.tolist(), strict=True):
            kept.append(100.0 * value)
    if not known:
        raise DataError(
            f"{judge.path} knows none of the images of {source.name}: give the judge of this pack."
        )
    if known == unseen:
        raise DataError(f"no face was found in {source.name}.")
    return [
        MetricCard(
            name=f"disagreement with an independent tool, box noise {100 * each:g} %",
            value=float(np.mean(kept)),
            unit="% of inter-ocular distance",
            definition="mean Euclidean distance of predicted points and the tool's, divided by the normaliser",
            protocol=(
                f"own detection, the box moved and scaled by Gaussian noise of {100 * each:g} % of its longer side; "
                f"{len(chosen)} points of scheme {layout.name} (eyes, corners and middles of the lips, base of the "
                f"nose), mean over points, then over faces; {unseen} of {known} faces were not found"
            ),
            count=len(kept),
            normaliser="distance of the outer eye corners of the tool's points",
            seed=seed,
            data=source.name,
            fingerprint=source.fingerprint,
            std=float(np.std(kept)),
            std_over="samples",
            details={"median": float(np.median(kept)), "noise": each, "not_found": unseen, "per_face": kept},
        )
        for each, kept in zip(noise, errors, strict=True)
    ]

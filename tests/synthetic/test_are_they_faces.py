"""A detector that only ever saw real photographs is the judge of the synthetic ones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lineament.faces.detection import detect_faces
from lineament.synthetic.scene import PHOTO
from lineament.synthetic.source import SyntheticFaces

FRONTAL = math.radians(30.0)


def judged(faces: SyntheticFaces) -> tuple[float, float]:
    """Share of faces found (overlap of the boxes above 0.3), and the mean error of the detector's five points.

    The error is a share of the distance between the eyes.
    """
    found, errors = 0, []
    for index in range(len(faces)):
        sample = faces[index]
        assert sample.box is not None
        best, overlap = None, 0.3
        for detection in detect_faces(sample.image, "mtcnn")[0]:
            shared = overlap_of(detection.box, sample.box)
            if shared > overlap:
                best, overlap = detection, shared
        if best is not None and best.points is not None:
            found += 1
            truth = sample.meta["landmarks5"]
            errors.append(float((best.points - truth).norm(dim=1).mean() / (truth[0] - truth[1]).norm()))
    return found / len(faces), sum(errors) / max(len(errors), 1)


def overlap_of(first: torch.Tensor, second: torch.Tensor) -> float:
    low, high = torch.maximum(first[:2], second[:2]), torch.minimum(first[2:], second[2:])
    shared = (high - low).clamp_min(0).prod()
    total = (first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - shared
    return float(shared / total)


def test_built_in_faces_are_found() -> None:
    rate, error = judged(SyntheticFaces(seed=101, count=25, size=128, max_yaw=FRONTAL))
    assert rate >= 0.8, f"{rate:.0%} of the built-in faces are found"
    assert error < 0.13


@pytest.mark.slow
@pytest.mark.parametrize(("head", "least"), [("builtin", 0.80), ("ict", 0.95)])
def test_detection_rates(packs: Path, head: str, least: float) -> None:
    rate, error = judged(
        SyntheticFaces(seed=102, count=400, size=160, head=head, packs=packs, max_yaw=FRONTAL)
    )
    assert rate >= least, f"{rate:.1%} of the {head} faces are found"
    assert error < 0.10


HIDDEN = {"mask", "hand", "object", "sunglasses"}
"""Accessories that hide so much of a face that a detector may miss it."""


@pytest.mark.slow
@pytest.mark.parametrize("head", ["builtin", "ict"])
def test_faces_of_the_photo_world_are_found(packs: Path, head: str) -> None:
    faces = SyntheticFaces(seed=102, count=400, size=192, head=head, packs=packs, options=PHOTO)
    found = []
    for index in range(len(faces)):
        scene = faces.scene(index)
        yaw, pitch, _ = scene.view.pose
        if HIDDEN & set(scene.worn.names) or abs(yaw) > math.radians(65) or abs(pitch) > math.radians(30):
            continue
        sample = faces[index]
        assert sample.box is not None
        boxes = [face.box for face in detect_faces(sample.image, upright="off")[0]]
        found.append(any(overlap_of(box, sample.box) > 0.35 for box in boxes))
    assert len(found) > 200
    assert sum(found) / len(found) >= 0.95

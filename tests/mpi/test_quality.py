"""How near views of a multiplane image of a photo come to what is really seen from there, beside `turn`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from lineament.geometry.camera import Camera
from lineament.geometry.rotation import pose_from_matrix
from lineament.pipeline.mpi.options import MpiOptions
from lineament.pipeline.mpi.run import photo_multiplane
from lineament.pipeline.turn.frames import prepare_face, turned_images
from lineament.pipeline.turn.options import FaceOptions, TurnOptions
from lineament.pipeline.turn.run import FaceRequest
from lineament.pipeline.turn.surface import NECK
from lineament.synthetic.source import SyntheticFaces

SIZE = 256
ANGLES = (5, 10, 15)
# The face in the head frame, millimetres: before the ears, from the middle of the forehead to the chin.
DEEPEST, TOP, BOTTOM = 55.0, -60.0, 112.0


@dataclass(frozen=True)
class Person:
    """A photo, what is seen from the side, and where the face is there."""

    photo: Tensor
    turns: list[Tensor]  # of the scene about the neck, in the camera's frame
    views: list[Tensor]
    masks: list[Tensor]


def people(count: int) -> SyntheticFaces:
    limits = {"max_yaw": math.radians(20), "max_pitch": math.radians(10), "max_roll": math.radians(8)}
    look = {"grey": 0.0, "sensor": 0.0, "framing": (0.4, 0.6), "distance": (600.0, 2000.0)}
    return SyntheticFaces(seed=77, count=count, size=SIZE, head="builtin", **limits, **look)


def person(faces: SyntheticFaces, index: int) -> Person:
    first = faces[index].camera
    turns = [torch.eye(3, dtype=torch.float64)]
    for degrees in ANGLES:
        angle = math.radians(degrees) * (1 if index % 2 else -1)
        cos, sin = math.cos(angle), math.sin(angle)
        turns.append(torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=torch.float64))
    seen = faces.renderer.render(faces.scene(index), [about_neck(first, turn) for turn in turns])
    images = [torch.as_tensor(each.image).permute(2, 0, 1).float() for each in seen]
    return Person(images[0], turns[1:], images[1:], [face_mask(each) for each in seen[1:]])


def about_neck(camera: Camera, turn: Tensor) -> Camera:
    matrix = camera.world_to_camera.double().clone()
    neck = matrix[:3, :3] @ torch.tensor(NECK, dtype=torch.float64) + matrix[:3, 3]
    matrix[:3, 3] = turn @ (matrix[:3, 3] - neck) + neck
    matrix[:3, :3] = turn @ matrix[:3, :3]
    return Camera(camera.intrinsics, matrix.float(), camera.width, camera.height)


def face_mask(seen) -> Tensor:
    """Pixels that show skin of the head before the ears, between forehead and chin."""
    matrix, inverse = seen.camera.world_to_camera.double(), torch.linalg.inv(seen.camera.intrinsics.double())
    rows, columns = torch.meshgrid(torch.arange(SIZE).double(), torch.arange(SIZE).double(), indexing="ij")
    depth = torch.as_tensor(seen.depth).double()
    points = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ inverse.T * depth[..., None]
    head = (points - matrix[:3, 3]) @ matrix[:3, :3]
    surface = torch.as_tensor(seen.uv).isfinite().all(-1) & (depth > 0)
    return surface & (head[..., 2] < DEEPEST) & (head[..., 1] > TOP) & (head[..., 1] < BOTTOM)


def decibels(image: Tensor, view: Tensor, mask: Tensor) -> float:
    """Peak signal to noise within the mask, after the best shift: no photo tells what it is turned about."""
    inside, shift = mask.numpy(), np.zeros(2)
    for sigma in (3.0, 1.0, 0.0):
        start, target = (ndimage.gaussian_filter(each.numpy(), (0, sigma, sigma)) for each in (image, view))
        for _ in range(6):
            now = np.stack([ndimage.shift(each, shift, order=1, mode="nearest") for each in start])
            slopes = np.stack([-each[:, inside].ravel() for each in np.gradient(now, axis=(1, 2))], 1)
            step = np.linalg.lstsq(slopes, (target - now)[:, inside].ravel(), rcond=None)[0]
            shift = shift + step.clip(-3, 3)
    moved = np.stack([ndimage.shift(each, shift, order=1, mode="nearest") for each in image.numpy()])
    return -10 * math.log10(float(((moved - view.numpy())[:, inside] ** 2).mean()))


@pytest.mark.slow
def test_faces_are_nearer_to_what_is_seen_than_turned_ones(tmp_path: Path):
    """PEOPLE=12 in the environment makes it faster."""
    count = int(os.environ.get("PEOPLE", "100"))
    faces = people(count)
    request = FaceRequest.open(FaceOptions(all_faces=True))
    options = TurnOptions(keep_background=True, whole=True, size=SIZE)
    scores, straight = [], []
    for index in range(count):
        one = person(faces, index)
        path = tmp_path / f"{index}.png"
        Image.fromarray((one.photo.permute(1, 2, 0) * 255).round().byte().numpy()).save(path)
        made = photo_multiplane(path, request, MpiOptions())
        straight.append(float(((view(made.image, 0.0) - made.photo) ** 2).mean()))
        face = prepare_face(
            made.photo, made.found.points, request.head, options, request.run, std=made.found.std
        )
        row = []
        for turn, true, mask in zip(one.turns, one.views, one.masks, strict=True):
            here = face.surface.rotation
            turned = next(turned_images(face, pose_from_matrix(here.T @ turn @ here)[None], options))
            own = view(made.image, math.atan2(float(turn[0, 2]), float(turn[0, 0])))
            row.append([decibels(each, true, mask) for each in (turned, own, one.photo)])
        scores.append(row)
        print(index, np.round(row, 2).tolist(), flush=True)
    table = np.array(scores)
    for each, degrees in enumerate(ANGLES):
        gain = table[:, each, 1] - table[:, each, 0]
        print(
            f"{degrees} degrees, {count} people, dB: turn {table[:, each, 0].mean():.2f}, "
            f"mpi {table[:, each, 1].mean():.2f}, photo {table[:, each, 2].mean():.2f}; "
            f"mpi over turn {gain.mean():.2f} (median {np.median(gain):.2f}), better for {(gain > 0).mean():.0%}"
        )
        assert gain.mean() >= 1.0
    worst = -10 * math.log10(max(straight))
    print(f"straight on, dB: worst {worst:.1f}, median {-10 * math.log10(np.median(straight)):.1f}")
    assert worst >= 38


def view(image, yaw: float) -> Tensor:
    return image.render(torch.tensor([yaw], dtype=torch.float64), torch.zeros(1), SIZE).image[0].float()

"""A model of landmarks that is right about one face: its shape of scheme 68, put into the face box."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from tests.depthnet.turning import keypoints
from tests.house.conftest import toy_methods as toy_methods

from lineament.data.sample import FaceSample
from lineament.data.video import video_writer
from lineament.faces.detection import detect_faces
from lineament.inference import Model, load
from lineament.training.loop import LoopOptions, train
from lineament.training.registry import get_recipe

# Of the head in the photo: x and y of the corner, and the side.
CORNER, SIDE = (100.0, 0.0), 240


class OneFace:
    """A source of one labelled face, again and again."""

    name = fingerprint = "one-face"

    def __init__(self, sample: FaceSample, count: int = 8) -> None:
        self.sample, self.count = sample, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        return self.sample


@pytest.fixture(scope="module")
def shape_run(toy_methods: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run of a method that learns a shape in the face box: that of the astronaut, marked by hand."""
    folder = tmp_path_factory.mktemp("shape") / "run"
    entry = get_recipe("boxshape")
    points = keypoints() - torch.tensor(CORNER)
    image = as_tensor(portrait())
    (face,) = detect_faces(image)[0]
    sample = FaceSample("astronaut", image, face.box, points, "68")
    config = entry.config(steps=100, batch_size=4, scheme="68", learning_rate=0.02)
    train(entry.build(config), OneFace(sample), folder, options=LoopOptions(progress=False))
    return folder


@pytest.fixture(scope="module")
def shape_model(shape_run: Path) -> Iterator[Model]:
    yield load(shape_run)


def portrait(mirrored: bool = False) -> np.ndarray:
    """The astronaut's head: ``[SIDE, SIDE, 3]`` uint8."""
    x, y = (int(value) for value in CORNER)
    pixels = data.astronaut()[y : y + SIDE, x : x + SIDE]
    return np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def save_clip(path: Path, frames: int = 3) -> Path:
    with video_writer(path, 10) as write:
        for index in range(frames):
            write(np.roll(portrait(), 2 * index, axis=1))
    return path


def two_faces() -> np.ndarray:
    """Two heads side by side: ``[240, 480, 3]``."""
    return np.concatenate([portrait(), portrait(mirrored=True)], axis=1)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255

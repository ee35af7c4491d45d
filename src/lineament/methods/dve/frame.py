"""Which square of a photograph a network of this method sees, and how points get there and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.faces import boxes
from lineament.faces.resample import crop_image
from lineament.geometry.similarity import Similarity


@dataclass(frozen=True)
class Frame:
    """The view of a network.

    Attributes:
        size: Side in pixels of the picture that is warped in training.
        crop: Pixels cut off each side after the warp; a network sees ``size - 2 * crop``.
        view: Side of what the network sees, in sides of the squared face box.
    """

    size: int
    crop: int
    view: float

    @property
    def seen(self) -> int:
        """Side in pixels of what the network sees."""
        return self.size - 2 * self.crop

    def whole(self, box: Tensor) -> Similarity:
        """Photo pixels -> pixels of the ``size`` picture around a face box ``[4]``."""
        return Similarity.window(
            boxes.expand(boxes.square(box), self.view * self.size / self.seen), (self.size, self.size)
        )

    def view_of(self, box: Tensor) -> Similarity:
        """Photo pixels -> pixels of the picture that the network sees."""
        return Similarity.window(boxes.expand(boxes.square(box), self.view), (self.seen, self.seen))


def sample_box(sample: FaceSample) -> Tensor:
    """Face box ``[4]`` of a sample: its own, else the one around its landmarks, else the whole picture."""
    if sample.box is not None:
        return boxes.check_box(sample.box)
    if sample.landmarks is not None:
        return boxes.box_from_landmarks(sample.landmarks.double())
    height, width = sample.image.shape[-2:]
    return torch.tensor([-0.5, -0.5, width - 0.5, height - 0.5], dtype=torch.float64)


def jittered_box(sample: FaceSample, generator: torch.Generator, amount: float) -> Tensor:
    """The sample's box moved and scaled by up to ``amount`` of its side."""
    box = sample_box(sample)
    return boxes.jitter(box, generator, shift=amount, scale=amount) if amount else box


def cut(image: Tensor, transform: Similarity, side: int) -> Tensor:
    """Resample a photo ``[3, H, W]`` into a square picture ``[3, side, side]``."""
    return crop_image(image, transform, side)

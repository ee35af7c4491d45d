"""Where the face of a sample is, as methods that crop by a box need it."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.faces import boxes


def sample_box(sample: FaceSample) -> Tensor:
    """Face box ``[4]`` of a sample: its own, else the one around its landmarks, else the whole image.

    Raises:
        DataError: If there is no box, and the landmarks that are known are fewer than two or span no area.
    """
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

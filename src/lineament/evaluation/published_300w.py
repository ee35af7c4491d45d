"""The published 300-W window: the labelled box becomes 52 pixels wide in a square of 100, two pixels above its centre.

The whole photo is resized first, its sides and the centre cut to whole pixels, and a window is taken out of it
with black outside. The resize used the default filter of the image library: "nearest" when the published numbers were
made, "bicubic" since.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor

from lineament.data.images import MAX_PIXELS
from lineament.data.sample import FaceSample
from lineament.eight_bit import to_pil
from lineament.errors import DataError, unknown_name

WINDOW = 100
BOX_WIDTH = 52
# Window columns and rows before the centre of the face.
LEFT, ABOVE = 50, 52

FILTERS = {"nearest": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}


def published_box(sample: FaceSample) -> tuple[float, float, float, float]:
    """The labelled box as the data set stores it: inclusive pixel numbers counted from 1.

    Raises:
        DataError: If the sample has no box, or an empty one.
    """
    if "published_box" in sample.meta:
        box = tuple(float(value) for value in sample.meta["published_box"])
    elif sample.box is not None:
        # Edges about pixel centres from 0; float32 edges would put a box of whole numbers beside them.
        edges = sample.box.double().tolist()
        box = tuple(round(edge + shift, 4) for edge, shift in zip(edges, (1.5, 1.5, 0.5, 0.5), strict=True))
    else:
        raise DataError(f"{sample.id} has no face box: the 300-W protocol cuts by the labelled box.")
    x0, y0, x1, y1 = box
    if not (all(math.isfinite(value) for value in box) and x1 - x0 + 1 > 1 and y1 - y0 + 1 > 1):
        raise DataError(f"{sample.id} has the face box {box}, which is empty.")
    return x0, y0, x1, y1


def face_window(sample: FaceSample, landmarks: Tensor, resize: str = "nearest") -> tuple[Image.Image, Tensor]:
    """Cut the window out of a photo.

    Args:
        sample: Photo and labelled box.
        landmarks: ``[K, 2]`` float64 xy in pixels of the photo, counted from 0.
        resize: Filter of the first resize, ``nearest`` or ``bicubic``.

    Returns:
        The 100x100 image and the labels ``[K, 2]`` in its pixels.

    Raises:
        UsageError: On another filter.
        DataError: If the box is missing, or so large or small that the photo could not be resized.
    """
    if resize not in FILTERS:
        raise unknown_name("resize filter", resize, FILTERS)
    x0, y0, x1, y1 = published_box(sample)
    height, width = sample.image.shape[1:]
    factor = BOX_WIDTH / (x1 - x0 + 1)
    target = (int(width * factor), int(height * factor))
    if min(target) < 1 or target[0] * target[1] > MAX_PIXELS:
        raise DataError(
            f"{sample.id} has a face box {x1 - x0 + 1:g} px wide: resized to 52 px the photo would be "
            f"{target[0]}x{target[1]}."
        )
    resized = to_pil(sample.image).resize(target, FILTERS[resize])
    across = math.floor(factor * (x0 + (x1 - x0 + 2) / 2))
    down = math.floor(factor * (y0 + (y1 - y0 + 2) / 2))
    left, top = across - LEFT, down - ABOVE
    # Cropping beyond the image fills with black.
    window = resized.crop((left, top, left + WINDOW, top + WINDOW))
    points = (landmarks + 1) * factor - torch.tensor([left, top], dtype=torch.float64) - 1
    return window, points

"""The published data order, views and place of the network of Descriptor Vector Exchange.

Warped images are truncated to 8 bits, not rounded. How whole data sets are cut:
:mod:`lineament.evaluation.published`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.evaluation import published_300w
from lineament.evaluation.published import get_protocol
from lineament.faces.crops import named_crop
from lineament.faces.frame import Frame, PreparedFace
from lineament.geometry.tps_warp import WarpedPair, warp_pair, warp_single


def pair_views(face: PreparedFace, crop: int, weights1: Tensor, weights2: Tensor) -> WarpedPair:
    """Both views of one face, truncated to 8 bits, with the points snapped to whole pixels (a batch of one).

    Args:
        face: The face.
        crop: Pixels cut off each side.
        weights1: ``[103, 2]`` first warp.
        weights2: ``[103, 2]`` second warp.
    """
    images, points = face.image[None] * 255, face.points[None]
    pair = warp_pair(images, weights1[None], weights2[None], crop, points)
    pair.first, pair.second = pair.first.floor() / 255, pair.second.floor() / 255
    return pair


def single_view(face: PreparedFace, crop: int, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The view of the limited-annotation runs: one warp ``[103, 2]``; image ``[3, h, w]`` and points ``[K, 2]``."""
    images, points = warp_single(face.image[None] * 255, weights[None], crop, face.points[None])
    assert points is not None
    return images[0].floor() / 255, points[0]


def annotation_picks(total: int, count: int, seed: int) -> np.ndarray:
    """Which samples a limited-annotation run may use: ``[count]`` indices, drawn once without replacement.

    The published runs drew them with numpy's global generator right after seeding it.

    Args:
        total: Samples of the training set (10,122 in the published runs).
        count: Annotated samples.
        seed: Seed of the run.

    Raises:
        DataError: If there are fewer samples than wanted.
    """
    if not 0 < count <= total:
        raise DataError(f"cannot pick {count} annotated samples out of {total}: ask for 1 to {total}.")
    return np.random.RandomState(seed).choice(total, count, replace=False)


def annotation_epoch(total: int, count: int, seed: int) -> np.ndarray:
    """The samples of one published epoch: the picks repeated until they are about as many as the whole set."""
    return np.tile(annotation_picks(total, count, seed), total // count)


def whole_view(protocol: str) -> tuple[float, float]:
    """The uncut square of a protocol around the face box of an image: its side and how far below, in box sides.

    AFLW's crops have no known relation to a box; they are taken to be like CelebA's.
    """
    get_protocol(protocol)
    if protocol.startswith("300w"):
        box_width = published_300w.BOX_WIDTH
        return published_300w.WINDOW / box_width, (published_300w.LEFT - published_300w.ABOVE) / box_width
    box = torch.tensor([-0.5, -0.5, 99.5, 99.5], dtype=torch.float64)
    crop = named_crop("dve-celeba", box=box, size=100, trim=False)
    _, y0, _, y1 = crop.inverse().apply_box(box).tolist()
    return (y1 - y0) / 100, ((y0 + y1) / 2 - 49.5) / 100


@lru_cache(maxsize=16)
def published_place(protocol: str, size: int, crop: int) -> tuple[float, float]:
    """Where a network trained under a protocol looks on images from elsewhere.

    Args:
        protocol: One of :data:`~lineament.evaluation.published.PROTOCOLS`.
        size: Side in pixels before the crop.
        crop: Pixels cut off each side.

    Returns:
        ``view`` and ``view_shift`` of a :class:`~lineament.faces.frame.Frame`.
    """
    side, shift = whole_view(protocol)
    return round(side * (size - 2 * crop) / size, 6), round(shift, 6)


def frame_of(size: int, crop: int, place: tuple[float, float], protocol: str) -> Frame:
    """The view of a network: at ``place`` (view, view_shift), or where the published preprocessing puts it.

    Args:
        size: Side in pixels before the crop.
        crop: Pixels cut off each side.
        place: View and shift for faces that are cut by their box.
        protocol: One of :data:`~lineament.evaluation.published.PROTOCOLS`, or nothing.
    """
    return Frame(size, crop, *(published_place(protocol, size, crop) if protocol else place), protocol)

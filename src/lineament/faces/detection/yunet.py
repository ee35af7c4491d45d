"""YuNet as a detector: a small look at the whole picture, and a look at full size where that shows nothing.

Inside this file boxes and points count from the picture's edge (pixel centres at +0.5), outside from the centre of the
first pixel. That the network's own numbers count from the edge was found on portraits beside their mirror images: its
boxes and points of 38 px wide faces lie 0.6 and 0.5 px right of where both would agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.faces.detection.base import Detection, Scores, register_detector
from lineament.faces.detection.suppression import suppress
from lineament.faces.detection.yunet_network import MULTIPLE, STRIDES, Level, load_network


@dataclass
class Yunet:
    """The network with its thresholds.

    Attributes:
        scores: What its scores mean.
        first_side: Shorter side of the first look, in pixels.
        most_side: Shorter side of the largest look that is not asked for with a smallest face.
        least_face: Side in pixels of the smallest face that a look shows reliably.
        overlap: Of two boxes that share more (intersection over union) the better stays.
        max_candidates: Most boxes per picture that are thinned, which bounds the work with a very low least score.
    """

    scores: ClassVar[Scores] = Scores(least=0.6, sure=0.8, turned=0.7)
    first_side: int = 240
    most_side: int = 960
    least_face: float = 12.0
    overlap: float = 0.3
    max_candidates: int = 2000

    def __call__(
        self, images: Tensor, *, min_face: float | None = None, min_score: float = 0.6
    ) -> list[list[Detection]]:
        """Detect the faces of ``images`` ``[N, 3, H, W]`` RGB in 0..1; see :class:`Detector`."""
        side = min(images.shape[-2:])
        small, large = min(1.0, self.first_side / side), min(1.0, self.most_side / side)
        if min_face is not None:
            small = max(small, min(1.0, self.least_face / min_face))
        found = self._look(images, small, min_face or 0.0, min_score)
        again = [index for index, faces in enumerate(found) if not faces]
        if again and large > small:
            for index, faces in zip(
                again, self._look(images[again], large, min_face or 0.0, min_score), strict=True
            ):
                found[index] = faces
        return found

    def _look(self, images: Tensor, scale: float, min_face: float, min_score: float) -> list[list[Detection]]:
        """Look once at pictures shrunk by ``scale``."""
        height, width = images.shape[-2:]
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        small = _shrunk(images, shape)
        padding = (0, -shape[1] % MULTIPLE, 0, -shape[0] % MULTIPLE)
        pixels = F.pad(small.flip(1) * 255.0, padding)  # BGR
        network = load_network(str(images.device))
        levels = network(pixels.contiguous(memory_format=torch.channels_last))
        image, rows = _candidates(levels, min_score)
        rows[:, 1:] *= np.tile([width / shape[1], height / shape[0]], 7)
        found = []
        for index in range(len(images)):
            own = rows[image == index]
            own = own[np.argsort(-own[:, 0], kind="stable")[: self.max_candidates]]
            own = own[suppress(own[:, 1:5], own[:, 0], self.overlap)]
            own = own[(own[:, 3:5] - own[:, 1:3]).max(1) >= min_face]
            values = torch.from_numpy(own).float()
            found.append(
                [Detection(row[1:5] - 0.5, float(row[0]), row[5:].view(5, 2) - 0.5) for row in values]
            )
        return found


def _shrunk(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resize ``[N, 3, H, W]`` to a smaller ``shape``."""
    height, width = images.shape[-2:]
    if (height, width) == shape:
        return images
    # A mean over whole pixels is faster than a resampling, and most of the way for a large photograph.
    factor = min(height // shape[0], width // shape[1])
    if factor > 1:
        images = F.avg_pool2d(images, factor)
    if images.shape[-2:] != shape:
        images = F.interpolate(images, size=shape, mode="bilinear", align_corners=False, antialias=True)
    return images


def _candidates(levels: list[Level], min_score: float) -> tuple[np.ndarray, np.ndarray]:
    """Decode every cell of at least a score.

    Returns:
        Index ``[K]`` of the picture, and ``[K, 15]`` score, box x0 y0 x1 y1 and five points xy in pixels of the look.
    """
    images, found = [], []
    for stride, level in zip(STRIDES, levels, strict=True):
        scores = (level.face * level.centred).sqrt()
        image, row, column = torch.nonzero(scores >= min_score, as_tuple=True)
        cell = torch.stack([column, row], 1).float()
        box = level.box[image, row, column]
        middle, half = (cell + box[:, :2]) * stride, 0.5 * box[:, 2:].exp() * stride
        points = (cell[:, None] + level.points[image, row, column]) * stride
        columns = [scores[image, row, column, None], middle - half, middle + half, points.flatten(1)]
        images.append(image)
        found.append(torch.cat(columns, 1))
    return torch.cat(images).cpu().numpy(), torch.cat(found).double().cpu().numpy()


@register_detector("yunet")
def yunet() -> Yunet:
    """YuNet with its usual thresholds."""
    return Yunet()

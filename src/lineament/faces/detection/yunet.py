"""YuNet as a detector: a small look at the whole image, and larger looks where that shows nothing or small faces.

Inside this file boxes and points count from the image's edge (pixel centres at +0.5), outside from the centre of the
first pixel. That the network's own numbers count from the edge was found on portraits beside their mirror images: its
boxes and points of 38 px wide faces lie 0.6 and 0.5 px right of where both would agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.faces.boxes import size
from lineament.faces.detection.base import Detection, Traits, register_detector
from lineament.faces.detection.suppression import suppress
from lineament.faces.detection.yunet_network import MULTIPLE, STRIDES, Level, load_network


@dataclass
class Yunet:
    """The network with its thresholds.

    Attributes:
        first_side: Shorter side of the smallest look, in pixels, 256 with its margins; every further one is twice as
            large.
        most_side: Shorter side of the largest look that is not asked for with a smallest face.
        least_face: Side in pixels of the smallest face that a look shows reliably: of faces of 50, 30, 20 and 14 px
            that are found at full size, 99, 94, 80 and 34 per cent are.
        large_face: Where all faces of a look are larger than this, in pixels, it has shown the smaller ones, too.
        overlap: Of two boxes that share more (intersection over union) the better stays.
        max_candidates: Most boxes per image that are thinned, which bounds the work with a very low least score.
        traits: What its scores mean. Upright faces of 200 portraits have scores of at least 0.90, and 0.93 in the mean;
            those that stand on their head 0.41 to 0.92, those that lie up to 0.88. Each has its best score upright.
    """

    first_side: int = 212
    most_side: int = 848
    least_face: float = 24.0
    large_face: float = 32.0
    overlap: float = 0.3
    max_candidates: int = 2000
    traits: ClassVar[Traits] = Traits(
        least_score=0.6,
        sure_score=0.92,
        longest=math.inf,
        turned_score=0.65,
        head_start=0.1,
        length_cost=0.0,
        margin=0.1,
    )

    def scales(self, height: int, width: int, min_face: float | None) -> list[float]:
        """Sizes of the looks at a image; see :class:`ScaledDetector`."""
        side = min(height, width)
        largest = self.most_side / side
        if min_face is not None:
            largest = max(largest, self.least_face / min_face)
        scales = [min(1.0, self.first_side / side)]
        while scales[-1] < min(1.0, largest):
            larger = 2.0 * scales[-1]
            scales.append(larger if larger < 0.75 else 1.0)
        return scales

    def is_enough(self, faces: Sequence[Detection], scale: float, min_face: float | None) -> bool:
        """Whether faces were found and smaller ones would have been; see :class:`ScaledDetector`."""
        if not faces:
            return False
        if min_face is not None:
            return scale * min_face >= self.least_face
        return min(float(size(face.box).max()) for face in faces) * scale >= self.large_face

    def __call__(
        self, images: Tensor, *, min_face: float | None = None, min_score: float = 0.6
    ) -> list[list[Detection]]:
        """Look once at ``images`` ``[N, 3, H, W]`` RGB in 0..1, at the size that they have; see :class:`Detector`."""
        height, width = images.shape[-2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        pixels = F.pad(images.flip(1) * 255.0, padding)  # BGR
        with torch.inference_mode():
            levels = load_network(str(images.device))(pixels.contiguous(memory_format=torch.channels_last))
            image, rows = _candidates(levels, min_score)
        found = []
        for index in range(len(images)):
            own = rows[image == index]
            own = own[np.argsort(-own[:, 0], kind="stable")[: self.max_candidates]]
            own = own[suppress(own[:, 1:5], own[:, 0], self.overlap)]
            own = own[(own[:, 3:5] - own[:, 1:3]).max(1) >= (min_face or 0.0)]
            values = torch.from_numpy(own).float()
            found.append(
                [Detection(row[1:5] - 0.5, float(row[0]), row[5:].view(5, 2) - 0.5) for row in values]
            )
        return found


def _candidates(levels: list[Level], min_score: float) -> tuple[np.ndarray, np.ndarray]:
    """Decode every cell of at least a score.

    Returns:
        Index ``[K]`` of the image, and ``[K, 15]`` score, box x0 y0 x1 y1 and five points xy in pixels of the look.
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

"""The MTCNN cascade (Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded CNNs", 2016).

A window of 12 px is slid over a pyramid of the image (P-Net), what passes is looked at again at 24 px (R-Net) and at
48 px (O-Net, which also gives five points). Between the stages boxes are corrected by the networks' offsets, made
square, and thinned. Inside this file boxes count from the image's edge (pixel centres at +0.5), outside from the
centre of the first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.faces.detection.base import Detection, Traits, register_detector
from lineament.faces.detection.mtcnn_networks import (
    OutputNetwork,
    ProposalNetwork,
    RefinementNetwork,
    load_cascade,
)
from lineament.faces.detection.suppression import suppress

_WINDOW = 12  # side of P-Net's window
_STRIDE = 2  # step of P-Net's window


@dataclass
class _Candidates:
    """Boxes of a whole batch on their way through the cascade."""

    image: np.ndarray  # [K] index in the batch
    boxes: np.ndarray  # [K, 4] pixels from the image's edge
    scores: np.ndarray  # [K] probability
    points: np.ndarray | None = field(default=None)  # [K, 5, 2]

    def __len__(self) -> int:
        return len(self.image)

    def take(self, index: np.ndarray) -> _Candidates:
        points = None if self.points is None else self.points[index]
        return _Candidates(self.image[index], self.boxes[index], self.scores[index], points)

    def thin(self, overlap: float, most: int, over_smaller: bool = False) -> _Candidates:
        """Suppress within each image and keep at most ``most`` per image."""
        keep = []
        for image in np.unique(self.image):
            own = np.flatnonzero(self.image == image)
            keep.append(own[suppress(self.boxes[own], self.scores[own], overlap, over_smaller)[:most]])
        return self.take(np.concatenate(keep) if keep else np.zeros(0, dtype=np.int64))

    def corrected(self, offsets: np.ndarray) -> _Candidates:
        """Move the edges by ``offsets`` ``[K, 4]``, in units of the box's own width and height."""
        sides = np.tile(self.boxes[:, 2:] - self.boxes[:, :2], 2)
        return _Candidates(self.image, self.boxes + offsets * sides, self.scores, self.points)

    def squared(self) -> _Candidates:
        """Make the boxes square about their centres, with the longer side."""
        middle = 0.5 * (self.boxes[:, :2] + self.boxes[:, 2:])
        half = 0.5 * (self.boxes[:, 2:] - self.boxes[:, :2]).max(1, keepdims=True)
        return _Candidates(
            self.image, np.concatenate([middle - half, middle + half], 1), self.scores, self.points
        )


@dataclass
class Mtcnn:
    """The cascade with its thresholds.

    Attributes:
        thresholds: Least probability to pass P-Net and R-Net; O-Net's is the least score that is asked for, and where
            that is lower, R-Net's too.
        pyramid_factor: Ratio of two neighbouring levels of the pyramid (the paper's is the square root of a half).
        max_candidates: Most boxes per image that P-Net hands on, which bounds the work on textures.
        crop_batch: Crops looked at in one go by R-Net and O-Net.
        traits: What its scores mean.
    """

    thresholds: tuple[float, float] = (0.6, 0.7)
    pyramid_factor: float = 0.709
    max_candidates: int = 400
    crop_batch: int = 512
    traits: ClassVar[Traits] = Traits()

    def __call__(
        self, images: Tensor, *, min_face: float | None = None, min_score: float = 0.7
    ) -> list[list[Detection]]:
        """Detect the faces of ``images`` ``[N, 3, H, W]`` RGB in 0..1; see :class:`Detector`."""
        proposal, refinement, output = load_cascade(str(images.device))
        side = min(images.shape[-2:])
        smallest = max(float(_WINDOW), min_face if min_face is not None else max(20.0, side / 20.0))
        # A large photo is shrunk once until the smallest face looked for is one to two R-Net crops wide: no stage
        # would see more of it.
        reduction = min(max(1, int(smallest // 24)), side)
        with torch.inference_mode():
            reduced = F.avg_pool2d(images, reduction) if reduction > 1 else images
            # Black, the value outside the image, is zero before the networks' normalisation and stays so in crops.
            pixels = reduced * 255.0
            candidates = self._propose(proposal, pixels, smallest / reduction)
            mips = _halvings(pixels)
            candidates = self._refine(refinement, mips, candidates, min_score)
            candidates = self._finish(output, mips, candidates, min_score)
        return _detections(candidates, len(images), reduction)

    def _propose(self, network: ProposalNetwork, pixels: Tensor, smallest: float) -> _Candidates:
        """Slide P-Net over every level of the pyramid."""
        found: list[_Candidates] = []
        logit = math.log(self.thresholds[0] / (1.0 - self.thresholds[0]))
        height, width = pixels.shape[-2:]
        scale, level = _WINDOW / smallest, pixels
        while min(height, width) * scale >= _WINDOW:
            shape = (max(_WINDOW, round(height * scale)), max(_WINDOW, round(width * scale)))
            # Shrinking from a level at least twice as large loses nothing and costs little.
            while min(level.shape[-2:]) >= 4 * min(shape):
                level = F.avg_pool2d(level, 2)
            small = F.interpolate(level, size=shape, mode="bilinear", align_corners=False, antialias=True)
            scores, offsets = network(((small - 127.5) / 128.0).contiguous(memory_format=torch.channels_last))
            image, row, column = torch.nonzero(scores > logit, as_tuple=True)
            if len(image):
                step = np.array(
                    [width / shape[1], height / shape[0]] * 2
                )  # source pixels per level pixel, x y x y
                corner = torch.stack([column, row], 1).cpu().numpy() * float(_STRIDE)
                boxes = np.concatenate([corner, corner + _WINDOW], 1) * step
                kept = scores[image, row, column].sigmoid().cpu().numpy()
                level_candidates = _Candidates(image.cpu().numpy(), boxes, kept)
                level_candidates = level_candidates.corrected(offsets[image, :, row, column].cpu().numpy())
                found.append(level_candidates.thin(0.5, self.max_candidates))
            scale *= self.pyramid_factor
        if not found:
            return _Candidates(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))
        joined = _Candidates(
            np.concatenate([c.image for c in found]),
            np.concatenate([c.boxes for c in found]),
            np.concatenate([c.scores for c in found]),
        )
        return joined.thin(0.7, self.max_candidates).squared()

    def _refine(
        self, network: RefinementNetwork, mips: list[Tensor], candidates: _Candidates, min_score: float
    ) -> _Candidates:
        """Keep what R-Net believes at 24 px."""
        scores, offsets = [], []
        for start in range(0, len(candidates), self.crop_batch):
            part = candidates.take(np.arange(start, min(start + self.crop_batch, len(candidates))))
            logit, offset = network((_cut(mips, part, 24) - 127.5) / 128.0)
            scores.append(logit.sigmoid().cpu().numpy())
            offsets.append(offset.cpu().numpy())
        if not scores:
            return candidates
        candidates.scores = np.concatenate(scores)
        passed = np.flatnonzero(candidates.scores > min(self.thresholds[1], min_score))
        kept = candidates.take(passed).corrected(np.concatenate(offsets)[passed])
        return kept.thin(0.7, self.max_candidates).squared()

    def _finish(
        self, network: OutputNetwork, mips: list[Tensor], candidates: _Candidates, min_score: float
    ) -> _Candidates:
        """Let O-Net decide at 48 px, and read the five points."""
        scores, offsets, points = [], [], []
        for start in range(0, len(candidates), self.crop_batch):
            part = candidates.take(np.arange(start, min(start + self.crop_batch, len(candidates))))
            logit, offset, fraction = network((_cut(mips, part, 48) - 127.5) / 128.0)
            scores.append(logit.sigmoid().cpu().numpy())
            offsets.append(offset.cpu().numpy())
            corner, sides = part.boxes[:, None, :2], (part.boxes[:, 2:] - part.boxes[:, :2])[:, None]
            points.append(corner + fraction.cpu().numpy() * sides)
        if not scores:
            return candidates
        candidates.scores, candidates.points = np.concatenate(scores), np.concatenate(points)
        passed = np.flatnonzero(candidates.scores >= min_score)
        kept = candidates.take(passed).corrected(np.concatenate(offsets)[passed])
        return kept.thin(0.7, self.max_candidates, over_smaller=True)


def _halvings(pixels: Tensor) -> list[Tensor]:
    """Return the batch halved again and again, so that a crop of any face can be read from a level near its size."""
    mips = [pixels]
    while min(mips[-1].shape[-2:]) >= 2 * 24:
        mips.append(F.avg_pool2d(mips[-1], 2))
    return mips


def _cut(mips: list[Tensor], candidates: _Candidates, side: int) -> Tensor:
    """Cut square boxes and resize them to ``[K, 3, side, side]``; black outside the image."""
    crops = mips[0].new_empty(len(candidates), 3, side, side)
    sides = candidates.boxes[:, 2] - candidates.boxes[:, 0]
    levels = np.clip(np.floor(np.log2(np.maximum(sides / side, 1.0))), 0, len(mips) - 1).astype(np.int64)
    steps = (np.arange(side) + 0.5) / side
    for key in np.unique(candidates.image * len(mips) + levels):
        image, level = divmod(int(key), len(mips))
        own = np.flatnonzero((candidates.image == image) & (levels == level))
        source = mips[level][image : image + 1]  # [1, 3, h, w]
        height, width = source.shape[-2:]
        boxes = candidates.boxes[own] / 2.0**level
        # Grid coordinates of align_corners=False: -1 and 1 are the image's edges.
        x = (boxes[:, :1] + steps * (boxes[:, 2:3] - boxes[:, :1])) * (2.0 / width) - 1.0  # [k, side]
        y = (boxes[:, 1:2] + steps * (boxes[:, 3:] - boxes[:, 1:2])) * (2.0 / height) - 1.0
        shape = (len(own), side, side)
        grid = np.stack([np.broadcast_to(x[:, None, :], shape), np.broadcast_to(y[:, :, None], shape)], -1)
        grid_rows = torch.from_numpy(grid.reshape(1, -1, side, 2).astype(np.float32)).to(source.device)
        sampled = F.grid_sample(source, grid_rows, mode="bilinear", padding_mode="zeros", align_corners=False)
        crops[torch.from_numpy(own)] = sampled[0].unflatten(1, (-1, side)).transpose(0, 1)
    return crops.contiguous(memory_format=torch.channels_last)


def _detections(candidates: _Candidates, count: int, reduction: int) -> list[list[Detection]]:
    """Return the faces of every image, best first, in pixels of the image before it was reduced."""
    faces: list[list[Detection]] = [[] for _ in range(count)]
    for index in np.argsort(-candidates.scores, kind="stable"):
        box = torch.from_numpy(candidates.boxes[index] * reduction - 0.5).float()
        points = None
        if candidates.points is not None:
            points = torch.from_numpy(candidates.points[index] * reduction - 0.5).float()
        faces[int(candidates.image[index])].append(Detection(box, float(candidates.scores[index]), points))
    return faces


@register_detector("mtcnn")
def mtcnn() -> Mtcnn:
    """The cascade with its usual thresholds."""
    return Mtcnn()

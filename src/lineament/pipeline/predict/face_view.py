"""A face as it is matched: what is seen of it, and what its points are known by."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lineament.eight_bit import to_uint8
from lineament.faces.detection import Detection, turned_upright
from lineament.faces.frame import cut
from lineament.geometry.affine2d import Affine2D
from lineament.heads.places import Anchors
from lineament.inference import Model
from lineament.pipeline.predict.describe import describe_face

# Side in pixels at which a face is shown.
PANEL = 320


@dataclass(frozen=True)
class FaceView:
    """A face as the network sees it.

    Attributes:
        name: Name of the photo, below ``root``.
        side: Side in pixels of what the network sees.
        shown: ``[3, S, S]`` uint8, the same part of the photo at a resolution to look at.
        face: The face in pixels of the photo as it lies; the network sees it upright.
        features: ``[C, h, w]`` descriptors.
        to_view: Photo pixels -> pixels of what the network sees.
        stride: These pixels per step of the descriptors.
        box_side: These pixels per side of a face box.
        size: Width and height of the photo.
        root: Folder that the name counts from; None for an image that lies in none.
        smooth: Whether the descriptors' cosines fall off around a match as a smooth bell.
        anchors: Points that mean the same on every face, in pixels of what the network sees: where both faces
            have them, points are matched by them. None without.
    """

    name: str
    side: int
    shown: Tensor
    face: Detection
    features: Tensor
    to_view: Affine2D
    stride: float
    box_side: float
    size: tuple[int, int]
    root: Path | None = None
    smooth: bool = False
    anchors: Anchors | None = None

    def to_json(self, folder: Path) -> dict[str, Any]:
        """What result files in ``folder`` say of the face and its photo."""
        width, height = self.size
        place = None if self.root is None else Path(os.path.relpath(self.root, folder)).as_posix()
        return {
            "image": self.name,
            "folder": place,
            "width": width,
            "height": height,
            "box": self.face.box.tolist(),
            "score": float(self.face.score),
            "turn": self.face.turn,
        }

    @property
    def directions(self) -> Tensor:
        """``[C, h, w]`` descriptors of unit length, whose products are the cosines that points are matched by."""
        return F.normalize(self.features, dim=0)


def view_face(
    model: Model, image: Tensor, face: Detection, name: str = "", root: Path | None = None
) -> FaceView:
    """Crop and describe a face of a photo ``[3, H, W]``; the network sees it upright.

    Raises:
        UsageError: If the model gives neither descriptors nor landmarks of scheme 68.
        DataError: If no head can be fitted to the landmarks.
    """
    turned, upright, to_turned = turned_upright(image, face)
    described = describe_face(model, turned, upright.box)
    found = described.descriptors
    to_view = Affine2D(found.to_view[0])
    enlarged = to_view.then(Affine2D.resize((found.side, found.side), (PANEL, PANEL)))
    return FaceView(
        name,
        found.side,
        to_uint8(cut(turned, enlarged, PANEL)),
        face,
        found.features[0],
        to_turned.then(to_view),
        found.stride,
        found.box_side,
        (image.shape[2], image.shape[1]),
        root,
        found.smooth,
        described.anchors,
    )


def sampled_at(features: Tensor, cells: Tensor) -> Tensor:
    """Descriptors ``[K, C]`` of unit length at cells ``[K, 2]`` of ``[C, h, w]``; those of the border beyond it."""
    height, width = features.shape[1:]
    grid = 2 * cells / cells.new_tensor([max(width - 1, 1), max(height - 1, 1)]) - 1
    found = F.grid_sample(features[None], grid[None, None], align_corners=True, padding_mode="border")
    return F.normalize(found[0, :, 0].T, dim=1)

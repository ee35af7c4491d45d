"""The part of an image that is shown, resampled once to the size of the result."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.faces.normalisers import inter_ocular
from lineament.faces.resample import crop_image
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.turn.render import Window

# Side of the shown square (with hair and collar, or the face alone) and width of the margin around it, in outer eye
# distances.
HEAD_SIDE, FACE_SIDE = 4.4, 3.0
MARGIN = 1.2
# A face from the top of its nose to its chin is 1.35 outer eye distances long, up to 1.5 with its mouth open. Where it
# seems longer it looks aside, and its eyes seem closer together than they are.
TALLEST = 1.5
# A small face is enlarged by no more than this.
MOST_ENLARGED = 2.0


@dataclass(frozen=True)
class View:
    """A resampled part of a photo.

    Attributes:
        image: ``[3, H, W]`` the part with a margin around it.
        window: What of ``image`` is shown.
        to_view: Pixels of the photo to pixels of ``image``.
    """

    image: Tensor
    window: Window
    to_view: Affine2D

    @property
    def shown(self) -> Tensor:
        """``[3, h, w]`` what is shown, unturned."""
        top, left = int(self.window.top), int(self.window.left)
        return self.image[:, top : top + self.window.height, left : left + self.window.width]


def seen_from_front(points: Tensor) -> float:
    """Distance between the outer eye corners of keypoints ``[68, 2]``, about as large as seen from the front."""
    jaw = scheme("68").contour("jaw")
    nose, chin = scheme("68").contour("nose_bridge")[0], jaw[len(jaw) // 2]
    length = (points[nose] - points[chin]).double().norm()
    return max(float(inter_ocular(points, "68")), float(length) / TALLEST)


def head_view(
    image: Tensor, points: Tensor, size: int, *, whole: bool = False, side: float = HEAD_SIDE
) -> View:
    """Choose the view of a face.

    Args:
        image: ``[3, H, W]`` photo.
        points: ``[68, 2]`` keypoints in its pixels.
        size: Longer side of the view in pixels.
        whole: Show the whole photo instead of a square around the head.
        side: Side of that square in outer eye distances, as they would be seen from the front.
    """
    height, width = image.shape[1:]
    unit = seen_from_front(points)
    if whole:
        left, top, across, down = -0.5, -0.5, float(width), float(height)
    else:
        middle = points[scheme("68").contour("nose_bridge")].double().mean(0)
        across, down = min(side * unit, float(width)), min(side * unit, float(height))
        left = min(max(float(middle[0]) - across / 2, -0.5), width - 0.5 - across)
        top = min(max(float(middle[1]) - down / 2, -0.5), height - 0.5 - down)
    scale = min(size / max(across, down), MOST_ENLARGED)
    shown = round(across * scale), round(down * scale)
    margin = round(MARGIN * unit * scale)
    to_view = Affine2D(
        torch.tensor(
            [
                [scale, 0.0, -0.5 - left * scale + margin],
                [0.0, scale, -0.5 - top * scale + margin],
            ],
            dtype=torch.float64,
        )
    )
    crop = crop_image(image, to_view, (shown[1] + 2 * margin, shown[0] + 2 * margin), fill="edge")
    return View(crop.clamp(0, 1), Window(margin, margin, *shown), to_view)

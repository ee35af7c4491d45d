"""scikit-image's cascade on local binary patterns: boxes of frontal faces only, no points, no score."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.eight_bit import to_array
from lineament.faces.detection.base import Detection, register_detector


class LbpCascade:
    """The frontal-face cascade that scikit-image carries."""

    def __init__(self) -> None:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade

        self.cascade = Cascade(lbp_frontal_face_cascade_filename())

    def __call__(
        self, images: Tensor, *, min_face: float | None = None, min_score: float = 0.7
    ) -> list[list[Detection]]:
        """Detect the faces of ``images`` ``[N, 3, H, W]`` RGB in 0..1; every face has score 1."""
        side = min(images.shape[-2:])
        # The cascade was trained on windows of 24 px and cannot see less.
        smallest = round(max(24.0, min_face if min_face is not None else max(24.0, side / 20.0)))
        if smallest > side:
            return [[] for _ in images]
        return [self._detect(image, smallest, side) for image in images]

    def _detect(self, image: Tensor, smallest: int, largest: int) -> list[Detection]:
        pixels = to_array(image)
        found = self.cascade.detect_multi_scale(
            img=pixels,
            scale_factor=1.15,
            step_ratio=1.0,
            min_size=(smallest, smallest),
            max_size=(largest, largest),
            min_neighbor_number=2,
        )
        faces = []
        for window in sorted(found, key=lambda window: -window["width"]):
            left, top = window["c"] - 0.5, window["r"] - 0.5
            box = torch.tensor(
                [left, top, left + window["width"], top + window["height"]], dtype=torch.float32
            )
            faces.append(Detection(box))
        return faces


@register_detector("lbp")
def lbp() -> LbpCascade:
    """scikit-image's cascade."""
    return LbpCascade()

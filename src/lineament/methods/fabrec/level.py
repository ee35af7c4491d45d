"""Turning faces upright before they are cut by their landmarks (``--align``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.faces.schemes import LandmarkScheme, scheme
from lineament.geometry.affine2d import Affine2D

# A face whose eyes lie closer together than this share of its height is a profile.
PROFILE = 0.2
# Whose number of the upper end of the nose the published code takes in every scheme.
PUBLISHED_NOSE = "98"


@dataclass(frozen=True)
class TurnedRegion:
    """Image to region where the image is turned upright first and then cut along its axes.

    Attributes:
        turn: Image to turned image.
        cut: Turned image to region.
    """

    turn: Affine2D
    cut: Affine2D

    def then(self, following: Affine2D) -> Affine2D:
        """Return both steps and ``following`` as one transform of the image."""
        return self.turn.then(self.cut).then(following)


def levelling(points: Tensor, layout: LandmarkScheme, published: bool = False) -> Affine2D:
    """The turn that makes a face upright, about the point a quarter of the way from its eyes to its chin.

    The line through the eyes becomes level. Of a profile the axis of the nose, from its root to the middle below its
    tip, becomes upright instead, by the smaller of the two turns that make it so.

    Args:
        points: ``[K, 2]`` pixels, in scheme 68 or 98.
        layout: That scheme.
        published: Take point 51 for the root of the nose in every scheme, as the published code does: right in 98
            points, in 68 the middle of the upper lip.

    Raises:
        UsageError: If the scheme has no eye corners, chin and nose.
        DataError: If one of them is unknown.
    """
    if layout.name not in ("68", "98"):
        raise UsageError(f"levelling a face needs scheme 68 or 98, not {layout.name}.")
    left = layout.indices("left_eye_outer", "left_eye_inner")
    right = layout.indices("right_eye_inner", "right_eye_outer")
    chin, upper, lower = layout.indices("chin", "nose_root", "nose_middle_below")
    exact = points.double()
    if not bool(torch.isfinite(exact[[*left, *right, chin, upper, lower]]).all()):
        raise DataError(
            "a face without known eye corners, chin and nose cannot be levelled: leave --align out."
        )
    left_eye, right_eye = exact[left].mean(0), exact[right].mean(0)
    across = right_eye - left_eye
    heights = exact[torch.isfinite(exact).all(-1), 1]
    if float(across.norm()) < PROFILE * float(heights.max() - heights.min()):
        root = scheme(PUBLISHED_NOSE).index("nose_root") if published else upper
        axis = exact[lower] - exact[root]
        down = axis if float(axis[1]) >= 0 else -axis
        angle = math.atan2(float(down[0]), float(down[1]))
    else:
        angle = -math.atan2(float(across[1]), float(across[0]))
    eyes = 0.5 * (left_eye + right_eye)
    centre = eyes + 0.25 * (exact[chin] - eyes)
    turn = Affine2D.from_similarity(rotation=angle)
    shift = (centre - turn.apply(centre)).tolist()
    return turn.then(Affine2D.from_similarity(translation=(shift[0], shift[1])))

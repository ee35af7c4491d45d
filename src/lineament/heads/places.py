"""Where on a head each pixel of a face lies, told by the 68 landmarks of the face and a head fitted to them.

Landmarks are exact and few: between and beyond them the fitted head says how the skin goes on. Both are the anchors of
a smoothing thin-plate spline (Duchon 1977), the landmarks stiff, the head's vertices loose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lineament.faces.schemes import scheme
from lineament.heads.fit import fit_head
from lineament.heads.model import HeadModel, Part
from lineament.heads.surface import Doubles, flattened, smoothing_spline

# Vertices that are anchors, and where the skin ends that a face shows: nearer than this to the front, below the crown
# and above the neck, millimetres in the head frame.
VERTICES = 500
BEHIND, ABOVE, BELOW = 40.0, -90.0, 110.0
# How loosely the spline holds to a vertex and to a landmark of usual certainty, in squares of the anchors' spread.
# Chosen on drawn heads of another model, half of them turned by 15 to 45 degrees.
LOOSE_VERTEX, LOOSE_LANDMARK = 10.0, 0.1
LAYOUT = scheme("68")


class Anchors(NamedTuple):
    """Points of a face that mean the same on every face.

    Attributes:
        points: ``[M, 2]`` float64 pixels.
        looseness: ``[M]`` float64, how little a spline needs to go through each, in squares of the points' spread.
    """

    points: Doubles
    looseness: Doubles


class HeadPlaces:
    """Finds where on a head the pixels of faces lie.

    Args:
        head: Fitted to each face.

    Attributes:
        chosen: ``[VERTICES]`` vertices that are anchors.
        flat: ``[VERTICES + 68, 2]`` places of all anchors on the flattened head, millimetres.
    """

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        self.chosen = _spread(head)
        neutral = head.neutral.astype(np.float64)
        landmarks = head.landmarks(head.neutral[None].astype(np.float32))[0]
        self.flat = flattened(np.concatenate([neutral[self.chosen], landmarks]), neutral[self.chosen])

    def anchors(
        self, points: Tensor, std: Tensor | None = None, image_size: tuple[int, int] | None = None
    ) -> Anchors:
        """Fit the head to one face.

        Args:
            points: ``[68, 2]`` landmarks of scheme 68 in pixels.
            std: ``[68]`` standard deviations of their coordinates in pixels; all alike when None.
            image_size: Width and height of the image.

        Raises:
            DataError: If the points are not finite, coincide, or lie on a line.
        """
        fit = fit_head(self.head, points, std, image_size)
        skin = fit.vertices[torch.from_numpy(self.chosen), :2].numpy()
        loose = np.full(len(points), LOOSE_LANDMARK)
        if std is not None:
            variance = np.maximum(std.double().cpu().numpy() ** 2, 1e-12)
            loose *= variance / np.median(variance)
        return Anchors(
            np.concatenate([skin, points.double().cpu().numpy()]),
            np.concatenate([np.full(len(skin), LOOSE_VERTEX), loose]),
        )

    def view(self, anchors: Anchors, side: int) -> Doubles:
        """Places ``[side, side, 2]`` on the flattened head, millimetres, of a grid whose cells the anchors count."""
        stiffness = anchors.looseness * anchors.points.var()
        return smoothing_spline(anchors.points, self.flat, stiffness, side)


def carried(points: Tensor, a: Anchors, b: Anchors) -> Tensor:
    """Carry points ``[K, 2]`` of the face with anchors ``a`` to the one with anchors ``b``: ``[K, 2]``.

    The spline goes from face to face, without the head between: what both landmarks are wrong about alike cancels.
    """
    from scipy.interpolate import RBFInterpolator  # slow to import

    middle, spread = a.points.mean(0), a.points.std()
    spline = RBFInterpolator(
        (a.points - middle) / spread,
        b.points,
        kernel="thin_plate_spline",
        smoothing=0.5 * (a.looseness + b.looseness),
    )
    found = spline((points.double().cpu().numpy() - middle) / spread)
    return torch.from_numpy(found).to(points.dtype)


def _spread(head: HeadModel) -> np.ndarray:
    """Vertices ``[VERTICES]`` spread evenly over the skin of a face: farthest-point sampling from the nose's tip."""
    places = head.neutral
    skin = np.zeros(len(places), bool)
    skin[np.unique(head.faces[head.part == Part.SKIN])] = True
    _, y, z = places.T
    kept = np.flatnonzero(skin & (z < BEHIND) & (y > ABOVE) & (y < BELOW))
    candidates = places[kept].astype(np.float64)
    chosen = [int(np.argmin(candidates[:, 2]))]
    nearest = np.linalg.norm(candidates - candidates[chosen[0]], axis=1)
    while len(chosen) < min(VERTICES, len(kept)):
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(candidates - candidates[chosen[-1]], axis=1))
    return kept[chosen]

"""What landmark errors are divided by: inter-ocular, inter-pupil, box, its longer side and its diagonal.

All take landmarks ``[..., K, 2]`` in pixels and give ``[...]`` pixels; they move with the scale of the image and not
with its rotation (but for those of the box, which stands upright).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lineament.errors import DataError, unknown_name
from lineament.faces.schemes import LandmarkScheme, as_scheme, eye_centres


class Normaliser(Protocol):
    """A length per face."""

    def __call__(self, landmarks: Tensor, which: str | LandmarkScheme, box: Tensor | None = None) -> Tensor:
        """Measure ``landmarks`` ``[..., K, 2]``; ``box`` ``[..., 4]`` is used by those of the box only."""
        ...


def inter_ocular(landmarks: Tensor, which: str | LandmarkScheme, box: Tensor | None = None) -> Tensor:
    """Distance of the outer eye corners; in scheme "5", which has none, of the eye centres (as MAFL's numbers are).

    Raises:
        UsageError: If the scheme names no such points.
        DataError: If the number of points is not the scheme's.
    """
    layout = as_scheme(which)
    layout.check(landmarks)
    left, right = layout.ocular_points()
    return (landmarks[..., right, :2] - landmarks[..., left, :2]).norm(dim=-1)


def inter_pupil(landmarks: Tensor, which: str | LandmarkScheme, box: Tensor | None = None) -> Tensor:
    """Distance of the eye centres (means of the eye points).

    Raises:
        UsageError: If the scheme names no eyes.
        DataError: If the number of points is not the scheme's.
    """
    left, right = eye_centres(landmarks, which).unbind(-2)
    return (right - left).norm(dim=-1)


def box(landmarks: Tensor, which: str | LandmarkScheme, box: Tensor | None = None) -> Tensor:
    """Square root of width times height of the box, or of the tight box of the landmarks where none is given."""
    return _extent(landmarks, which, box).prod(-1).sqrt()


def box_side(landmarks: Tensor, which: str | LandmarkScheme, box: Tensor | None = None) -> Tensor:
    """Longer side of the box, or of the tight box of the landmarks where none is given; 3FabRec's for AFLW."""
    return _extent(landmarks, which, box).amax(-1)


def diagonal(landmarks: Tensor, which: str | LandmarkScheme, box: Tensor | None = None) -> Tensor:
    """Diagonal of the box, or of the tight box of the landmarks where none is given."""
    return _extent(landmarks, which, box).norm(dim=-1)


_NORMALISERS: dict[str, Normaliser] = {
    "inter-ocular": inter_ocular,
    "inter-pupil": inter_pupil,
    "box": box,
    "box-side": box_side,
    "diagonal": diagonal,
}


def normaliser(name: str) -> Normaliser:
    """Return a normaliser by its name; hyphens and underscores are the same. Raises ``UsageError`` on others."""
    key = name.replace("_", "-")
    if key not in _NORMALISERS:
        raise unknown_name("normaliser", name, _NORMALISERS)
    return _NORMALISERS[key]


def usual_normaliser(which: str | LandmarkScheme) -> str:
    """Name of the normaliser that a scheme is measured with where none is named: of the box where it has no eyes."""
    return "box" if as_scheme(which).inter_ocular is None else "inter-ocular"


def normaliser_names() -> list[str]:
    """Names of all normalisers."""
    return list(_NORMALISERS)


def _extent(landmarks: Tensor, which: str | LandmarkScheme, given: Tensor | None) -> Tensor:
    """Width and height ``[..., 2]``."""
    if given is not None:
        if given.shape[-1] != 4:
            raise DataError(f"a box holds x0, y0, x1, y1, not an array of shape {tuple(given.shape)}.")
        return given[..., 2:] - given[..., :2]
    as_scheme(which).check(landmarks)
    points = landmarks[..., :2]
    seen = torch.isfinite(points).all(-1, keepdim=True)
    low = torch.where(seen, points, torch.inf).amin(-2)
    high = torch.where(seen, points, -torch.inf).amax(-2)
    return high - low

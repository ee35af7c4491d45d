"""Which pixel of one synthetic image shows the same point of the face as a pixel of another."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.errors import UsageError

MOST_STRETCH = 4.0


def correspondences(first: FaceSample, second: FaceSample, spacing: float = 1.0) -> tuple[Tensor, Tensor]:
    """Match the pixels of two images by their surface coordinates.

    Every surface pixel of the first image is looked up among the surface pixels of the second; between those the
    position is refined linearly, so it is exact to a fraction of a pixel where the surface is smooth.

    Args:
        first: A sample with ``correspondence`` filled.
        second: Another sample of the same head model (any person, expression, camera).
        spacing: A match is accepted when the second image's surface coordinates nearest to the wanted ones are at
            most this many pixels away; larger distances mean that the point is hidden or outside there.

    Returns:
        ``[N, 2]`` xy in the first image (pixel centres) and ``[N, 2]`` xy in the second.

    Raises:
        UsageError: When a sample carries no surface coordinates.
    """
    maps = []
    for sample in (first, second):
        if sample.correspondence is None:
            raise UsageError(
                f"sample {sample.id!r} has no surface coordinates: use synthetic faces with truth 'uv'."
            )
        maps.append(sample.correspondence.numpy().astype(np.float64))
    known = [np.isfinite(uv[0]) for uv in maps]
    none = torch.zeros((0, 2))
    if not known[0].any() or not known[1].any():
        return none, none
    rows, columns = np.nonzero(known[1])
    wanted = maps[0][:, known[0]].T  # [N, 2]
    # Asked of the tree in uv; one pixel step of the second image is how far its neighbours lie apart there.
    _, nearest = cKDTree(maps[1][:, rows, columns].T).query(wanted)
    here = np.stack(np.nonzero(known[0])[::-1], axis=1)
    there = np.stack([columns[nearest], rows[nearest]], axis=1)
    (across, down), (across_here, down_here) = _slopes(maps[1], there), _slopes(maps[0], here)
    offset, solvable = _solve(across, down, wanted.T - maps[1][:, there[:, 1], there[:, 0]])
    # Next to an outline the surface turns away: one pixel there spans so much of it that hidden points seem near.
    with np.errstate(invalid="ignore", divide="ignore"):
        stretch = _length(across, down) / _length(across_here, down_here)
        flat = stretch < MOST_STRETCH * np.nanmedian(stretch[solvable]) if solvable.any() else solvable
    good = solvable & flat & (np.abs(offset).max(axis=1) <= spacing)
    return torch.from_numpy(here[good]).float(), torch.from_numpy(there[good] + offset[good]).float()


def _slopes(uv: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change of uv per pixel to the right and downwards, each ``[2, N]``, from the neighbours of ``pixels``."""
    height, width = uv.shape[1:]
    x, y = pixels[:, 0], pixels[:, 1]
    x0, x1 = np.maximum(x - 1, 0), np.minimum(x + 1, width - 1)
    y0, y1 = np.maximum(y - 1, 0), np.minimum(y + 1, height - 1)
    middle = uv[:, y, x]
    return _difference(uv[:, y, x0], middle, uv[:, y, x1]), _difference(uv[:, y0, x], middle, uv[:, y1, x])


def _length(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.sqrt((across**2).sum(axis=0) + (down**2).sum(axis=0))


def _solve(across: np.ndarray, down: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets in pixels ``[N, 2]`` that make up for the missing uv, and where they could be solved for."""
    determinant = across[0] * down[1] - across[1] * down[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        right = (missing[0] * down[1] - missing[1] * down[0]) / determinant
        below = (across[0] * missing[1] - across[1] * missing[0]) / determinant
    offset = np.stack([right, below], axis=1)
    solvable = np.isfinite(offset).all(axis=1)
    return np.where(solvable[:, None], offset, 0.0), solvable


def _difference(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Slope per pixel from whichever neighbours exist, the smaller one where a uv seam makes the other jump."""
    backward, forward = middle - before, after - middle
    size_b = np.where(np.isfinite(backward).all(axis=0), np.abs(backward).sum(axis=0), np.inf)
    size_f = np.where(np.isfinite(forward).all(axis=0), np.abs(forward).sum(axis=0), np.inf)
    # At the image's border a neighbour is the pixel itself and tells nothing.
    size_b, size_f = np.where(size_b == 0, np.inf, size_b), np.where(size_f == 0, np.inf, size_f)
    similar = (size_b < 2 * size_f) & (size_f < 2 * size_b)
    return np.where(similar, 0.5 * (backward + forward), np.where(size_b < size_f, backward, forward))

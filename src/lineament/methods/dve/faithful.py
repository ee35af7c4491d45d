"""Training views exactly as the published loaders made them, one image at a time: warp, 8 bits, JPEG, colour.

The recipes normally warp and change whole batches on their device; that is faster and differs in the JPEG noise and in
rounding. ``--loader paper`` trades speed for the published chain: both views of a pair are truncated to 8 bits after
the warp and changed independently of each other; landmark images are warped once, with their points snapped to
pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.evaluation.published import plain_view
from lineament.faces.frame import PreparedFace
from lineament.geometry.tps_warp import FIRST_KERNEL_FACTOR, WarpStd, random_weights
from lineament.methods.dve.protocol import pair_views, single_view
from lineament.methods.dve.protocol_photometric import published_look


def faithful_pair(
    face: PreparedFace, crop: int, spread: WarpStd, generator: torch.Generator, *, look: bool = True
) -> dict[str, Tensor]:
    """Two views of one face and the map between them.

    Args:
        face: The face before the warp.
        crop: Pixels cut off each side after it.
        spread: Standard deviations of the second warp.
        generator: Source of both warps and both looks.
        look: Change the colours; False leaves them.

    Returns:
        ``views`` ``[2, 3, h, w]`` (twice-warped, once-warped) and ``grid`` ``[h, w, 2]`` as ``warp_pair`` has them.
    """
    first, second = (
        random_weights(each, generator) for each in (spread.scaled(kernel=FIRST_KERNEL_FACTOR), spread)
    )
    pair = pair_views(face, crop, first, second)
    views = [pair.first[0], pair.second[0]]
    if look:
        views = [published_look(view, generator) for view in views]
    return {"views": torch.stack(views), "grid": pair.grid[0]}


def faithful_labelled(
    face: PreparedFace, crop: int, spread: WarpStd, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A labelled face: as it is where the spread is nothing, else warped once (the limited-annotation runs).

    Returns:
        The image ``[3, h, w]`` and its points ``[K, 2]`` in its pixels; points may lie outside, as published.
    """
    if spread == WarpStd(0.0, 0.0, 0.0, 0.0, 0.0):
        return plain_view(face, crop)
    return single_view(face, crop, random_weights(spread, generator))

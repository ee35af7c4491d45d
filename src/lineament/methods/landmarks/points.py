"""Which points one step learns where a scheme has very many."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn_points(mirror: tuple[int, ...], count: int, generator: torch.Generator) -> Tensor:
    """Draw points of a scheme, each with the one that takes its place in a mirrored image.

    Args:
        mirror: Of the scheme.
        count: How many at most; all where it is 0 or no fewer than there are, without a draw.
        generator: Source of randomness, on the CPU.

    Returns:
        Their indices in order: ``count`` or one less, but for a pair where ``count`` is 1.
    """
    if count == 0 or count >= len(mirror):
        return torch.arange(len(mirror))
    kept: list[int] = []
    for index in torch.randperm(len(mirror), generator=generator).tolist():
        pair = {index, mirror[index]} - set(kept)
        if len(kept) + len(pair) <= count or not kept:
            kept += pair
        if len(kept) >= count:
            break
    return torch.tensor(sorted(kept))


def mirror_among(chosen: Tensor, mirror: tuple[int, ...]) -> tuple[int, ...]:
    """The mirror of a scheme whose points are those of another at ``chosen``, which holds their images too."""
    places = {index: place for place, index in enumerate(chosen.tolist())}
    return tuple(places[mirror[index]] for index in chosen.tolist())

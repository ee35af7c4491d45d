"""Synthetic faces, drawn while they are read."""

from __future__ import annotations

from pathlib import Path

from lineament.data.registry import register_reader
from lineament.data.sample import FaceSource

# The splits show different people: their worlds have seeds this far apart.
SEEDS_APART = {"train": 0, "val": 1_000_003, "test": 2_000_003}


@register_reader(
    "synthetic",
    "faces drawn by the built-in world, with exact ground truth",
    splits=("train", "val", "test"),
    where="nothing is needed; head=ict draws the ICT-FaceKit head of the data packs",
    needs_root=False,
)
def open_synthetic(
    root: Path | None,
    split: str = "train",
    count: int = 1000,
    size: int = 128,
    seed: int = 0,
    head: str = "builtin",
    identities: int | None = None,
) -> FaceSource:
    """Open the synthetic world.

    Args:
        root: Folder of the data packs, for ``head=ict``; None looks in the usual places.
        split: ``train``, ``val`` or ``test``: other people, other pictures.
        count: Number of pictures.
        size: Side of a picture in pixels.
        seed: Number of the world.
        head: ``builtin`` or ``ict``.
        identities: Number of people; None shows another person in every picture.
    """
    from lineament.data.synthetic.source import SyntheticFaces

    return SyntheticFaces(seed + SEEDS_APART[split], count, size, head, root, identities)

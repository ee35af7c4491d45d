"""Keypoints of the synthetic world with exact depth: stands in for 3DFAW, which can no longer be had."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

from lineament.data.keypoint_depth import KeypointFaces
from lineament.data.registry import register_reader
from lineament.errors import UsageError
from lineament.synthetic.reader import SEEDS_APART

# Faces of a split where no count is given; 3DFAW has 13,671, 4,500 and 225.
COUNTS = {"train": 4000, "valid": 500, "test": 225}
_WORLDS = {"train": "train", "valid": "val", "test": "test"}


@register_reader(
    "synthetic-keypoints",
    "66 points with exact depth of synthetic faces, without images: a stand-in for 3DFAW",
    splits=tuple(COUNTS),
    where="nothing is needed; head=ict draws the head of the data packs",
    needs_root=False,
)
def open_synthetic_keypoints(
    root: Path | None,
    split: str = "train",
    count: int | None = None,
    seed: int = 0,
    head: str = "builtin",
    size: int = 128,
    noise: float = 0.0,
    max_yaw: float = 40.0,
    max_pitch: float = 20.0,
) -> KeypointFaces:
    """Draw keypoints; each face shows another person, and each split other people.

    Args:
        root: Folder of the data packs, for ``head=ict``; None takes that of :func:`lineament.packs.packs_folder`.
        split: ``train``, ``valid``, or ``test``: a third of the faces each looking left, centre and right.
        count: Number of faces.
        seed: Number of the world.
        head: ``builtin`` or ``ict``.
        size: Side in pixels of the images that are not drawn.
        noise: Standard deviation of normal noise on the keypoints, in distances of the outer eye corners (0.01 is 1 %).
        max_yaw: Largest turn of the head to either side, degrees.
        max_pitch: Largest nod up or down, degrees.

    Raises:
        UsageError: On an impossible number.
        DataError: If the head is not there.
    """
    from lineament.heads.load import load_head
    from lineament.synthetic.keypoints import draw_keypoints
    from lineament.synthetic.scene import SceneOptions

    count = COUNTS[split] if count is None else count
    if count < 1 or size < 8 or seed < 0 or not 0 <= noise < 1 or (split == "test" and count % 3):
        raise UsageError(
            "synthetic keypoints need count >= 1 (a multiple of 3 for test), size >= 8, seed >= 0 and noise in 0..1; "
            f"got count {count}, size {size}, seed {seed}, noise {noise}."
        )
    if not 0 <= max_yaw <= 90 or not 0 <= max_pitch <= 90:
        raise UsageError(
            f"max_yaw and max_pitch are degrees from 0 to 90, not {max_yaw:g} and {max_pitch:g}."
        )
    balanced = split == "test"
    indices: Iterable[int] = itertools.count() if balanced else range(count)
    faces = draw_keypoints(
        load_head(head, root),
        indices,
        seed=seed + SEEDS_APART[_WORLDS[split]],
        size=size,
        noise=noise,
        options=SceneOptions(max_yaw=math.radians(max_yaw), max_pitch=math.radians(max_pitch)),
        per_orientation=count // 3 if balanced else None,
    )
    return KeypointFaces(f"synthetic-keypoints-{head}/{split}", faces)

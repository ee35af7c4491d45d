"""Bench of the synthetic face world: built-in heads of 128 x 128, in one process and in two side by side."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from lineament.denormals import set_flush_denormals
from lineament.parallel import single_threaded_children
from lineament.pipeline.bench.timing import measure, report
from lineament.synthetic.scene import PHOTO
from lineament.synthetic.source import SyntheticFaces

SIZE, BATCH, WARM_UP = 128, 10, 10


def run(*, repeats: int = 20) -> dict[str, Any]:
    """Time images with all their truth, 4 samples a pixel.

    Args:
        repeats: Timed batches of ten faces; the two processes draw as many each.

    Returns:
        ``median_ms`` and its like for one face in one process, ``process_ms`` its processor time,
        ``photo_world_process_ms`` that of a face of the photo world, ``faces_per_second`` in one process and
        ``faces_per_second_two_processes``.
    """
    faces = SyntheticFaces(seed=7, count=BATCH, size=SIZE)

    def batch() -> None:
        for index in range(BATCH):
            faces[index]

    timing = measure(batch, repeats=repeats, warm_up=1)
    one = type(timing)(
        timing.median_ms / BATCH, timing.min_ms / BATCH, timing.max_ms / BATCH, timing.process_ms / BATCH
    )
    photos = SyntheticFaces(seed=7, count=BATCH * repeats, size=SIZE, options=PHOTO)
    for index in range(BATCH):
        photos[index]
    begun = time.process_time()
    for index in range(len(photos)):
        photos[index]
    photo_ms = 1e3 * (time.process_time() - begun) / len(photos)
    count = BATCH * repeats
    context = multiprocessing.get_context("spawn")
    with single_threaded_children(), ProcessPoolExecutor(2, mp_context=context) as pool:
        spans = list(pool.map(_draw, (8, 9), (count, count)))
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    return report(
        f"one built-in face of {SIZE} x {SIZE} with all truth",
        one,
        photo_world_process_ms=photo_ms,
        faces_per_second=1e3 / one.median_ms,
        faces_per_second_two_processes=2 * count / seconds,
    )


def _draw(seed: int, count: int) -> tuple[float, float]:
    """Draw faces after a warm-up; returns when it began and ended on the system's clock."""
    set_flush_denormals()
    faces = SyntheticFaces(seed=seed, count=count, size=SIZE)
    for index in range(min(WARM_UP, count)):
        faces[index]
    start = time.monotonic()
    for index in range(count):
        faces[index]
    return start, time.monotonic()

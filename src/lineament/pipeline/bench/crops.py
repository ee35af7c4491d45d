"""Bench of the cache of crops: reading it against decoding photos, preparing it with one and two processes.

Photos are synthetic faces enlarged to 1024 x 1024 JPEG, with known boxes; crops are ``fabrec`` of 128 pixels. Each
read goes on to the randomly moved image that a network sees.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lineament.data.images import write_image
from lineament.data.order import sample_generator
from lineament.data.registry import open_data
from lineament.data.sample import FaceSource
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.resample import crop_image
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.methods.fabrec.augment import level, sample_affine
from lineament.methods.fabrec.crop import View, region_side
from lineament.pipeline.bench.timing import Timing, measure, report
from lineament.pipeline.prepare.options import PrepareOptions
from lineament.pipeline.prepare.run import prepare
from lineament.synthetic.source import SyntheticFaces

# Images that are prepared, those of them that are read in a timed call, and sides in pixels.
PHOTOS, READ = 64, 16
SIDE, DRAWN, SIZE = 1024, 128, 128


def run(*, repeats: int = 20) -> dict[str, Any]:
    """Time one image from the cache, and its twin: the same image from the photo.

    Args:
        repeats: Timed passes over some photos.

    Returns:
        ``median_ms`` and its like of one image from the cache, ``reference_ms`` from the photo; images per
        second of processor time of both (``cached_per_cpu_second``, ``decoded_per_cpu_second``); photos prepared
        per second, and per second of processor time, with one and two processes; ``bytes_per_crop``.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _photos(folder / "photos")
        photos = open_data(folder / "photos")
        further: dict[str, float] = {}
        for workers in (1, 2):
            wall, processor = _prepared(photos, folder / f"crops{workers}", workers)
            further[f"prepared_per_second_{workers}"] = PHOTOS / wall
            further[f"prepared_per_cpu_second_{workers}"] = PHOTOS / processor
        cache = open_data(folder / "crops1")
        from_cache, from_photos = (
            _per_image(measure(_pass(source), repeats=repeats, warm_up=1)) for source in (cache, photos)
        )
        stored = sum(path.stat().st_size for path in (folder / "crops1" / "shards").glob("*.tar"))
    return report(
        f"a moved image of {SIZE} x {SIZE} from a cached crop, and from a JPEG of {SIDE} x {SIDE}",
        from_cache,
        from_photos,
        cached_per_cpu_second=1e3 / from_cache.process_ms,
        decoded_per_cpu_second=1e3 / from_photos.process_ms,
        bytes_per_crop=stored // PHOTOS,
        **further,
    )


def _photos(folder: Path) -> None:
    enlarge = Affine2D.resize((DRAWN, DRAWN), (SIDE, SIDE))
    labels = []
    drawn = SyntheticFaces(seed=11, count=PHOTOS, size=DRAWN)
    for number in range(PHOTOS):
        sample = drawn[number]
        assert sample.box is not None
        write_image(folder / f"{number:03d}.jpg", crop_image(sample.image, enlarge, SIDE, "edge"), quality=90)
        labels.append(FaceLabel(f"{number:03d}.jpg", None, enlarge.apply_box(sample.box)))
    write_keypoints(folder / "labels.json", LabelFile(scheme("68"), labels))


def _prepared(source: FaceSource, out: Path, workers: int) -> tuple[float, float]:
    """Prepare crops; returns seconds on the wall and of processor time, all processes together."""

    def processor() -> float:
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    wall, before = time.perf_counter(), processor()
    prepare(source, out, PrepareOptions(crop="fabrec", size=SIZE), workers=workers)
    return time.perf_counter() - wall, processor() - before


def _pass(source: FaceSource) -> Callable[[], None]:
    """Read some samples once, to the images that a network sees."""
    view, spread, passes = View(SIZE), level(4), iter(range(1 << 30))

    def work() -> None:
        epoch = next(passes)
        for index in range(READ):
            sample = source[index]
            move = sample_affine(spread, region_side(SIZE), sample_generator(0, epoch, index))
            view.image(sample.image, view.region(sample), move)

    return work


def _per_image(timing: Timing) -> Timing:
    return Timing(
        *(value / READ for value in (timing.median_ms, timing.min_ms, timing.max_ms, timing.process_ms))
    )

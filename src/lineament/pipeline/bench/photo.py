"""One photo of 640 x 480 from its pixels to landmarks, the first photo of a fresh process, and tracked video."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.data.image_inputs import as_image
from lineament.data.video import Frame, video_writer
from lineament.eight_bit import to_array, to_pil
from lineament.faces.crops import crop_image
from lineament.geometry.affine2d import Affine2D
from lineament.inference import DEFAULT_MODELS, Model, has_default, load
from lineament.pipeline.bench.detect import astronaut_photo
from lineament.pipeline.bench.timing import measure_in_turn, report
from lineament.pipeline.predict.landmarks import PNG_EFFORT, draw_landmarks
from lineament.pipeline.predict.photos import LANDMARKS, Photo
from lineament.pipeline.video.landmarks import predict_video
from lineament.pipeline.video.options import VideoOptions
from lineament.pipeline.video.track_faces import follow_faces
from lineament.synthetic.source import SyntheticFaces
from lineament.training.loop import train
from lineament.training.registry import get_recipe

WIDTH, HEIGHT = 640, 480
FRAMES, RATE = 50, 25.0
NAME = DEFAULT_MODELS[LandmarkPredictor]
# The command line, then the most memory that the process had, in units of 1024 bytes. (What the system tells of a child
# begins with the memory of its parent.)
_COMMAND = """
import sys
from lineament.cli.main import main
code = main(sys.argv[1:])
with open("/proc/self/status") as lines:
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
sys.exit(code)
"""


def run(*, repeats: int = 20) -> dict[str, Any]:
    """Measure what a user waits for, on the astronaut's photo, which shows one face.

    Args:
        repeats: Timed photos.

    Returns:
        Headline: a decoded photo (an array of 8 bits) to the arrays of its face, detection included. ``photo_ms`` is
        its least processor time; ``detect_ms`` and ``landmarks_ms`` are its parts, ``decode_ms`` (from a JPEG file in
        memory) and ``draw_ms`` (overlay and its PNG) come on top. ``first_photo_s``: `lineament landmarks PHOTO` in a
        fresh process by the clock, least of up to three, with its processor time and peak memory. ``video_...``: frames
        a second of a clip of 50, tracked: from frames in memory to arrays (least of up to three), and the whole verb
        with decoding, drawing and encoding. ``weights`` says whose: without ``face-68`` those of a network of its size
        that is not trained, whose video is searched as often as a wild one's.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = NAME if has_default(LandmarkPredictor) else _untrained(folder)
        model = load(chosen)
        photo = astronaut_photo(WIDTH, HEIGHT)
        pixels, file = to_array(photo), _encoded(photo, "JPEG", quality=95)
        image = as_image(pixels)
        places = model.detect(image)
        faces = model.faces(image, places)
        works: list[Callable[[], object]] = [
            lambda: model(pixels),
            lambda: model.detect(image),
            lambda: model.faces(image, places),
            lambda: as_image(file),
            lambda: _png(draw_landmarks(image, faces, model.scheme)),
        ]
        whole, *parts = measure_in_turn(works, repeats=repeats)
        figures: dict[str, Any] = {
            "faces": len(faces),
            "weights": NAME if chosen == NAME else "untrained, of the same size",
            "photo_ms": whole.process_min_ms,
        }
        keys = ("detect_ms", "landmarks_ms", "decode_ms", "draw_ms")
        figures |= {key: part.process_min_ms for key, part in zip(keys, parts, strict=True)}
        few = max(1, min(3, repeats))
        figures |= _first_photo(folder, chosen, file, few)
        figures |= _video(folder, model, photo, few)
    words = f"one face in a photo of {WIDTH} x {HEIGHT}; in a fresh process; in {FRAMES} frames of a video"
    return report(words, whole, **figures, seconds=time.perf_counter() - started)


def _untrained(folder: Path) -> str:
    """A run of the recipe of ``face-68`` after one step on two faces."""
    recipe = get_recipe("landmarks")
    config = recipe.config(steps=1, batch_size=2, evaluate_count=1, borrowed=2)
    train(recipe.build(config), SyntheticFaces(count=2), folder / "untrained")
    return str(folder / "untrained")


def _encoded(image: Tensor, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    to_pil(image).save(file, kind, **options)
    return file.getvalue()


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=PNG_EFFORT)
    return file.getvalue()


@dataclass(frozen=True)
class _Process:
    seconds: float
    processor_seconds: float
    megabytes: float


def _first_photo(folder: Path, chosen: str, file: bytes, repeats: int) -> dict[str, float]:
    path = folder / "photo.jpg"
    path.write_bytes(file)
    words = ("landmarks", str(path), "--model", chosen, "--overwrite")
    # Once for the file caches, as any second start has them.
    processes = [_fresh(words) for _ in range(repeats + 1)][1:]
    return {
        "first_photo_s": min(each.seconds for each in processes),
        "first_photo_processor_s": min(each.processor_seconds for each in processes),
        "first_photo_mb": max(each.megabytes for each in processes),
    }


def _fresh(words: tuple[str, ...]) -> _Process:
    """Run the command line in a process of its own, with as many threads as this one has."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *words], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read().splitlines()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return _Process(seconds, used.ru_utime + used.ru_stime, int(said[-1]) * 1024 / 1e6)


def _frames(photo: Tensor) -> Iterator[Frame]:
    """The photo, moved slowly to the right and back."""
    for index in range(FRAMES):
        shift = min(index, FRAMES - index)
        move = Affine2D.from_similarity(translation=(float(shift), 0.0))
        yield Frame(index, index / RATE, crop_image(photo, move, (HEIGHT, WIDTH), "edge"))


def _video(folder: Path, model: Model, photo: Tensor, repeats: int) -> dict[str, float]:
    frames = list(_frames(photo))
    clip = folder / "clip.mp4"
    with video_writer(clip, RATE) as write:
        for frame in frames:
            write(to_array(frame.image))

    def whole() -> object:
        return predict_video(model, Photo(clip, clip.name, folder, LANDMARKS), VideoOptions(overwrite=True))

    tracked, verb = measure_in_turn(
        [lambda: list(follow_faces(model, frames)), whole], repeats=repeats, warm_up=1
    )
    return {
        "video_frames_per_second": 1e3 * FRAMES / tracked.min_ms,
        "video_frames_per_processor_second": 1e3 * FRAMES / tracked.process_min_ms,
        "video_verb_frames_per_second": 1e3 * FRAMES / verb.min_ms,
    }

"""Face detection: pictures per second of each detector on portraits cut from scikit-image's astronaut."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from lineament.faces.crops import crop_image
from lineament.faces.detection import detect_faces, make_detector
from lineament.geometry.similarity import Similarity

# The face of the photograph, pixels.
_FACE_CENTRE, _FACE_HEIGHT = (221.0, 118.0), 110.0


def portraits(count: int, width: int = 200, height: int = 250, seed: int = 0) -> Tensor:
    """Return ``[count, 3, height, width]`` portraits of one person at random sizes and places, RGB in 0..1."""
    from skimage.data import astronaut

    photograph = torch.from_numpy(astronaut().copy()).permute(2, 0, 1).float() / 255
    generator = torch.Generator().manual_seed(seed)
    pictures = []
    for _ in range(count):
        share, shift_x, shift_y = torch.rand(3, generator=generator).tolist()
        scale = (0.35 + 0.25 * share) * height / _FACE_HEIGHT
        x = (0.45 + 0.1 * shift_x) * width - scale * _FACE_CENTRE[0]
        y = (0.45 + 0.1 * shift_y) * height - scale * _FACE_CENTRE[1]
        crop = Similarity.from_parameters(scale, 0.0, (x, y))
        pictures.append(crop_image(photograph, crop, (height, width), fill="edge"))
    return torch.stack(pictures)


def run(
    count: int = 64,
    width: int = 200,
    height: int = 250,
    batch_size: int = 16,
    repeats: int = 3,
    detector: str = "mtcnn",
) -> dict[str, Any]:
    """Measure detection, pictures already in memory.

    Args:
        count: Pictures in one pass.
        width: Pixels.
        height: Pixels.
        batch_size: Pictures worked on together.
        repeats: Passes after one to warm up; the fastest counts.
        detector: Name of the detector.

    Returns:
        Pictures per second by wall clock and by processor time of one thread, with what was measured and the share of
        pictures in which a face was found.
    """
    pictures = portraits(count, width, height)
    look = make_detector(detector)
    found = detect_faces(pictures, look, batch_size=batch_size)
    wall, processor = [], []
    for _ in range(max(1, repeats)):
        wall_start, processor_start = time.perf_counter(), time.process_time()
        detect_faces(pictures, look, batch_size=batch_size)
        wall.append(time.perf_counter() - wall_start)
        processor.append(time.process_time() - processor_start)
    return {
        "bench": "detect",
        "detector": detector,
        "images_per_second": round(count / min(wall), 1),
        "images_per_cpu_second": round(count / min(processor), 1),
        "found": sum(map(bool, found)) / count,
        "count": count,
        "width": width,
        "height": height,
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
    }

"""Face detection: images per second on portraits cut from scikit-image's astronaut."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lineament.eight_bit import from_array
from lineament.faces.crops import crop_image
from lineament.faces.detection import DEFAULT_DETECTOR, Detection, detect_faces
from lineament.faces.detection.yunet_network import load_network
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.bench.floor import measure_floor
from lineament.pipeline.bench.timing import measure, measure_in_turn, report

# The face of the photo, pixels.
_FACE_CENTRE, _FACE_HEIGHT = (221.0, 118.0), 110.0


def portraits(count: int, width: int = 200, height: int = 250, seed: int = 0) -> Tensor:
    """Return ``[count, 3, height, width]`` portraits of one person at random sizes and places, RGB in 0..1."""
    from skimage.data import astronaut

    photo = from_array(astronaut())
    generator = torch.Generator().manual_seed(seed)
    images = []
    for _ in range(count):
        share, shift_x, shift_y = torch.rand(3, generator=generator).tolist()
        scale = (0.35 + 0.25 * share) * height / _FACE_HEIGHT
        x = (0.45 + 0.1 * shift_x) * width - scale * _FACE_CENTRE[0]
        y = (0.45 + 0.1 * shift_y) * height - scale * _FACE_CENTRE[1]
        crop = Affine2D.from_similarity(scale, 0.0, (x, y))
        images.append(crop_image(photo, crop, (height, width), fill="edge"))
    return torch.stack(images)


def astronaut_photo(width: int = 640, height: int = 480) -> Tensor:
    """Return ``[3, height, width]``, the astronaut's photo as a camera gives it, RGB in 0..1."""
    from skimage.data import astronaut

    scale = max(width, height) / astronaut().shape[1]
    return crop_image(from_array(astronaut()), Affine2D.from_similarity(scale), (height, width), fill="edge")


def run(
    *, device: str = "cpu", repeats: int = 20, batch: int = 16, width: int = 200, height: int = 250
) -> dict[str, Any]:
    """Measure detection on one batch of portraits in memory, with scikit-image's LBP cascade as the reference.

    Args:
        device: Where the networks run.
        repeats: Timed calls.
        batch: Images in one call.
        width: Pixels.
        height: Pixels.

    Returns:
        See :func:`lineament.pipeline.bench.timing.report`; also images per second by wall clock and by processor
        time, the share of the images in which a face was found, and the operations of the networks in billions;
        the same rate for MTCNN; and ``photo``: one photo of 640 x 480 as a user's is looked at, the network's part
        of it in least processor time, and the floor of its convolutions beside that
        (:class:`lineament.pipeline.bench.floor.Floor`).
    """
    images = portraits(batch, width, height).to(device)
    photo = astronaut_photo().to(device)

    def detect(detector: str = DEFAULT_DETECTOR) -> list[list[Detection]]:
        return detect_faces(images, detector, batch_size=batch, upright="off")

    found = detect()
    timing, cascade, single = measure_in_turn(
        [detect, lambda: detect("mtcnn"), lambda: detect_faces(photo)], repeats=repeats, device=device
    )
    # The first look at that photo, with its margins.
    look = F.interpolate(photo[None], size=(256, 352)).contiguous(memory_format=torch.channels_last)
    network = load_network(device)
    look_timing = measure(lambda: network(look), repeats=repeats, device=device)
    look_ms = look_timing.min_ms if device.startswith("cuda") else look_timing.process_min_ms
    floor = measure_floor(lambda: network(look), repeats=repeats, device=device)
    with FlopCounterMode(display=False) as counter:
        detect()
    return report(
        f"{batch} portraits of {width} x {height}",
        timing,
        measure(lambda: detect_faces(images, "lbp", upright="off"), repeats=1, warm_up=0),
        images_per_second=batch * 1e3 / timing.median_ms,
        images_per_processor_second=batch * 1e3 / timing.process_ms,
        mtcnn_images_per_processor_second=batch * 1e3 / cascade.process_ms,
        found=sum(map(bool, found)) / batch,
        gflop=counter.get_total_flops() / 1e9,
        photo={
            "median_ms": round(single.median_ms, 3),
            "process_ms": round(single.process_ms, 3),
            "network_ms": round(look_ms, 3),
            **{key: round(value, 3) for key, value in floor.figures(look_ms).items()},
        },
    )

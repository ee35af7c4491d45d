"""Face detection: images per second on portraits cut from scikit-image's astronaut."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lineament.eight_bit import from_array
from lineament.faces.crops import crop_image
from lineament.faces.detection import detect_faces
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.bench.timing import measure, report

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


def run(
    *, device: str = "cpu", repeats: int = 20, batch: int = 16, width: int = 200, height: int = 250
) -> dict[str, Any]:
    """Measure the cascade on one batch of portraits in memory, and scikit-image's LBP cascade as the reference.

    Args:
        device: Where the networks run.
        repeats: Timed calls.
        batch: Images in one call.
        width: Pixels.
        height: Pixels.

    Returns:
        See :func:`lineament.pipeline.bench.timing.report`; also images per second by wall clock and by processor
        time, the share of the images in which a face was found, and the operations of the networks in billions.
    """
    images = portraits(batch, width, height).to(device)
    found = detect_faces(images, batch_size=batch, upright="off")
    timing = measure(
        lambda: detect_faces(images, batch_size=batch, upright="off"), repeats=repeats, device=device
    )
    with FlopCounterMode(display=False) as counter:
        detect_faces(images, batch_size=batch, upright="off")
    return report(
        f"{batch} portraits of {width} x {height}, smallest face 20 px",
        timing,
        measure(lambda: detect_faces(images, "lbp", upright="off"), repeats=1, warm_up=0),
        images_per_second=batch * 1e3 / timing.median_ms,
        images_per_processor_second=batch * 1e3 / timing.process_ms,
        found=sum(map(bool, found)) / batch,
        gflop=counter.get_total_flops() / 1e9,
    )

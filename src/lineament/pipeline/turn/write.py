"""Writes turned faces: a strip of images, a video or an animation, with its numbers beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from lineament.data.video import video_writer
from lineament.eight_bit import to_array, to_pil
from lineament.errors import UsageError
from lineament.files import replacing

KINDS = {".png": "strip", ".mp4": "video", ".gif": "animation"}
FRAMES_PER_SECOND = 24
# Written into every image: whoever finds it can know that it is no photo.
NOTE = "Made by lineament turn: a photo turned by computation, not a photo."


def kind_of(path: Path) -> str:
    """Return ``strip``, ``video`` or ``animation`` for the ending of a file.

    Raises:
        UsageError: If it is none of .png, .mp4, .gif.
    """
    if path.suffix.lower() not in KINDS:
        raise UsageError(
            f"{path}: turned faces are written as .png, .mp4 or .gif, not as {path.suffix or 'no ending'}."
        )
    return KINDS[path.suffix.lower()]


def strip_of(images: Sequence[Tensor], gap: int = 4) -> Tensor:
    """Images ``[3, h, w]`` side by side with white gaps."""
    height = images[0].shape[1]
    parts: list[Tensor] = []
    for image in images:
        parts += [image, torch.ones(3, height, gap)]
    return torch.cat(parts[:-1], dim=2)


def write_images(path: Path, images: Iterable[Tensor]) -> None:
    """Write images ``[3, h, w]`` as the ending of the file says; it is complete or absent."""
    kind = kind_of(path)
    if kind == "strip":
        write_png(path, strip_of(list(images)))
        return
    with replacing(path) as temporary:
        if kind == "animation":
            _write_gif(temporary, images)
        else:
            _write_video(temporary, images)


def write_png(path: Path, image: Tensor) -> None:
    """Write one image ``[3, h, w]`` with a note that it is computed."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", NOTE)
    with replacing(path) as temporary:
        to_pil(image).save(temporary, "PNG", pnginfo=note)


def _write_gif(path: Path, images: Iterable[Tensor]) -> None:
    frames = [to_pil(image).quantize(128, dither=Image.Dither.NONE) for image in images]
    frames[0].save(
        path,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / FRAMES_PER_SECOND),
        loop=0,
        comment=NOTE.encode(),
    )


def _write_video(path: Path, images: Iterable[Tensor]) -> None:
    with video_writer(path, FRAMES_PER_SECOND, NOTE) as write:
        for image in images:
            write(to_array(image))

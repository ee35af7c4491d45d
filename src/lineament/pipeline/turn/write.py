"""Writes turned faces: a strip of pictures, a video or an animation, with its numbers beside it."""

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
# Written into every picture: whoever finds it can know that it is none.
NOTE = "Made by lineament turn: a photograph turned by computation, not a photograph."


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


def strip_of(pictures: Sequence[Tensor], gap: int = 4) -> Tensor:
    """Pictures ``[3, h, w]`` side by side with white gaps."""
    height = pictures[0].shape[1]
    parts: list[Tensor] = []
    for picture in pictures:
        parts += [picture, torch.ones(3, height, gap)]
    return torch.cat(parts[:-1], dim=2)


def write_pictures(path: Path, pictures: Iterable[Tensor]) -> None:
    """Write pictures ``[3, h, w]`` as the ending of the file says; it is complete or absent."""
    kind = kind_of(path)
    if kind == "strip":
        write_png(path, strip_of(list(pictures)))
        return
    with replacing(path) as temporary:
        if kind == "animation":
            _write_gif(temporary, pictures)
        else:
            _write_video(temporary, pictures)


def write_png(path: Path, picture: Tensor) -> None:
    """Write one picture ``[3, h, w]`` with a note that it is computed."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", NOTE)
    with replacing(path) as temporary:
        to_pil(picture).save(temporary, "PNG", pnginfo=note)


def _write_gif(path: Path, pictures: Iterable[Tensor]) -> None:
    frames = [to_pil(picture).quantize(128, dither=Image.Dither.NONE) for picture in pictures]
    frames[0].save(
        path,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / FRAMES_PER_SECOND),
        loop=0,
        comment=NOTE.encode(),
    )


def _write_video(path: Path, pictures: Iterable[Tensor]) -> None:
    with video_writer(path, FRAMES_PER_SECOND, NOTE) as write:
        for picture in pictures:
            write(to_array(picture))

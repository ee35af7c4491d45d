"""Videos frame by frame, one in memory at a time; where they come from is told in data/video_sources.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch import Tensor

from lineament.data.images import is_animation, is_result
from lineament.data.video_sources import AnimationSource, FfmpegSource, VideoFacts, VideoSource
from lineament.errors import DataError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp")
)
# The longest and the shortest time between frames differ by more than this in a video of variable rate.
VARIABLE = 1.25


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        index: Counted from 0.
        time: Seconds from the start of the file, as the file says.
        image: ``[3, H, W]`` RGB in 0..1, upright.
    """

    index: int
    time: float
    image: Tensor


class VideoReader:
    """The frames of a video or an animated image in order, upright, each once with its own time; a context manager.

    Attributes:
        facts: What the file says of itself.
        problem: After the last frame: why it was the last, where the file is damaged; else None.
        rate: Frames a second as measured between the frames that were read; 0 before the second.
        variable: Whether the times between frames differed.

    Raises:
        DataError: If there is no such file, or no frame can be read from it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._first = self._last = 0.0
        self._read = 0
        self._gaps = (float("inf"), 0.0)
        if not path.is_file():
            raise DataError(f"there is no video {path}.")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty.")
        self._source: VideoSource = AnimationSource(path) if is_animation(path) else FfmpegSource(path)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        for image, time in self._source.frames():
            yield self._frame(image, time)

    @property
    def facts(self) -> VideoFacts:
        """What the file says of itself."""
        return self._source.facts

    @property
    def problem(self) -> str | None:
        """After the last frame: why it was the last, where the file is damaged; else None."""
        return self._source.problem

    @property
    def rate(self) -> float:
        """Frames a second between the first and the last frame read."""
        return (self._read - 1) / (self._last - self._first) if self._last > self._first else 0.0

    @property
    def variable(self) -> bool:
        """Whether the times between frames differ by more than a quarter."""
        shortest, longest = self._gaps
        return longest > VARIABLE * shortest

    def close(self) -> None:
        """Let the file go, also in the middle of it."""
        self._source.close()

    def _frame(self, image: Tensor, time: float | None) -> Frame:
        # A missing time follows from the one before.
        if time is None:
            time = self._last + 1 / self.facts.rate if self._read else 0.0
        if self._read:
            gap = max(time - self._last, 1e-6)
            self._gaps = (min(self._gaps[0], gap), max(self._gaps[1], gap))
        else:
            self._first = time
        self._last = time
        self._read += 1
        return Frame(self._read - 1, time, image)


@contextmanager
def video_writer(path: Path, rate: float, comment: str = "") -> Iterator[Callable[[np.ndarray], None]]:
    """Write an MP4 frame by frame.

    Args:
        path: Of the file; not atomic, so give a temporary name.
        rate: Frames a second.
        comment: Kept in the file.

    Yields:
        A function to call with each frame, ``[H, W, 3]`` uint8; an odd last row or column is left out.

    Raises:
        DataError: If ffmpeg cannot write.
    """
    import imageio.v2 as imageio

    opened: Any = imageio.get_writer(
        path,
        format="FFMPEG",
        mode="I",
        fps=rate,
        codec="libx264",
        quality=8,
        macro_block_size=None,
        output_params=["-metadata", f"comment={comment}"] if comment else [],
    )

    def write(pixels: np.ndarray) -> None:
        # The codec halves the colours' resolution: sides must be even.
        even = np.ascontiguousarray(pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2])
        try:
            writer.append_data(even)
        except OSError as error:
            raise DataError(f"{path.parent}: the video cannot be written there; is the disk full?") from error

    with opened as writer:
        yield write


def is_video(path: Path) -> bool:
    """Whether a file is a video by its ending."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def list_videos(folder: Path) -> list[Path]:
    """Videos of a folder and those below it, in the order of :func:`lineament.data.images.list_images`.

    Those that this program wrote are left out.
    """
    found = [
        path
        for path in folder.rglob("*")
        if is_video(path)
        and path.is_file()
        and not is_result(path)
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())

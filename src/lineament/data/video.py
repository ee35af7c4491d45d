"""Videos frame by frame through ffmpeg, which comes with imageio-ffmpeg: one frame in memory at a time."""

from __future__ import annotations

import queue
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
from torch import Tensor

from lineament.data.images import is_result
from lineament.eight_bit import from_array
from lineament.errors import DataError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp")
)
# Frames a second where a file does not say.
USUAL_RATE = 25.0
# The longest and the shortest time between frames differ by more than this in a video of variable rate.
VARIABLE = 1.25

_FRAME = re.compile(r"\[info\] n:\s*\d+ .*?pts_time:(\S+) .*? s:(\d+)x(\d+) ")
_DURATION = re.compile(r"Duration: (\d+):(\d+):([\d.]+)")
_RATE = re.compile(r"([\d.]+) fps")


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


@dataclass(frozen=True)
class VideoFacts:
    """What a file says of itself.

    Attributes:
        width: Of the upright frames in pixels.
        height: The same.
        rate: Mean frames a second.
        frames: About how many frames there are; None where that is not known.
    """

    width: int
    height: int
    rate: float
    frames: int | None


class VideoReader:
    """The frames of a video in order, upright, each once with its own time; a context manager.

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
        self.problem: str | None = None
        self._first = self._last = 0.0
        self._read = 0
        self._gaps = (float("inf"), 0.0)
        if not path.is_file():
            raise DataError(f"there is no video {path}.")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty.")
        self._process = subprocess.Popen(
            _command(path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # An interruption ends us first, and we end it.
            start_new_session=True,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._pixels: IO[bytes] = self._process.stdout
        self._log = _Log(self._process.stderr)
        first = self._log.frames.get()
        if first is None:
            self.close()
            raise DataError(f"{path}: {self._log.nothing()}.")
        self._pending: _Stamp | None = first
        self.facts = self._log.facts(first)

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
        size = self.facts.width * self.facts.height * 3
        stamp = self._pending
        while stamp is not None:
            if (stamp.width, stamp.height) != (self.facts.width, self.facts.height):
                self.problem = f"the size of the images changes after {self._read} frames"
                return
            content = self._pixels.read(size)
            if len(content) < size:
                break
            yield self._frame(content, stamp)
            stamp = self._log.frames.get()
        if self._process.wait() != 0 or self._log.errors:
            self.problem = f"it ends early or is damaged: {self._log.last_error()}"

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
        """End ffmpeg, also in the middle of a file."""
        if self._process.poll() is None:
            self._process.kill()
        self._pixels.close()
        self._process.wait()
        self._log.close()

    def _frame(self, content: bytes, stamp: _Stamp) -> Frame:
        # A missing time follows from the one before.
        time = stamp.time
        if time is None:
            time = self._last + 1 / self.facts.rate if self._read else 0.0
        if self._read:
            gap = max(time - self._last, 1e-6)
            self._gaps = (min(self._gaps[0], gap), max(self._gaps[1], gap))
        else:
            self._first = time
        self._last = time
        self._read += 1
        pixels = np.frombuffer(content, np.uint8).reshape(self.facts.height, self.facts.width, 3)
        image = from_array(pixels)
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


class _Stamp(NamedTuple):
    time: float | None
    width: int
    height: int


class _Log:
    """What ffmpeg says beside the pixels: facts of the file, one line a frame, errors. Read by a thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.frames: queue.SimpleQueue[_Stamp | None] = queue.SimpleQueue()
        self.errors: deque[str] = deque(maxlen=5)
        self.head: list[str] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        begun = False
        for raw in self._stream:
            line = raw.decode("utf-8", "replace").rstrip()
            match = _FRAME.search(line)
            if match:
                begun = True
                time, width, height = match.groups()
                known = re.fullmatch(r"-?[\d.]+(e-?\d+)?", time) is not None
                self.frames.put(_Stamp(float(time) if known else None, int(width), int(height)))
            elif "[error]" in line or "[fatal]" in line:
                self.errors.append(line.split("] ")[-1].strip())
            elif not begun and len(self.head) < 200:
                self.head.append(line)
        self.frames.put(None)

    def facts(self, first: _Stamp) -> VideoFacts:
        """Facts of the file once the first frame is known."""
        head = "\n".join(self.head)
        streams = [line for line in self.head if ": Video:" in line]
        rate = _RATE.search(streams[0]) if streams else None
        rates = float(rate.group(1)) if rate and 0 < float(rate.group(1)) <= 1000 else USUAL_RATE
        lasts = _DURATION.search(head)
        frames = None
        if lasts:
            hours, minutes, seconds = (float(each) for each in lasts.groups())
            frames = max(1, round((3600 * hours + 60 * minutes + seconds) * rates))
        return VideoFacts(first.width, first.height, rates, frames)

    def nothing(self) -> str:
        """Why there is no frame at all."""
        self.close()
        streams = [line for line in self.head if "Stream #0" in line]
        shown = [line for line in streams if ": Video:" in line and "attached pic" not in line]
        if streams and not shown:
            return "there are no images in it, only sound or text"
        return f"it cannot be read as a video ({self.last_error()})"

    def last_error(self) -> str:
        """What ffmpeg said was wrong: its first complaint of the last few."""
        return self.errors[0].rstrip(".") if self.errors else "no frame could be decoded"

    def close(self) -> None:
        """Wait until all was read."""
        self._thread.join()
        self._stream.close()


def _command(path: Path) -> list[str]:
    from imageio_ffmpeg import get_ffmpeg_exe

    # Frames leave as they are stored, none doubled or dropped to even out the rate; showinfo tells each one's time.
    # A file that names others (a playlist) reaches nothing but files.
    return [
        get_ffmpeg_exe(),
        *("-hide_banner", "-nostdin", "-nostats", "-loglevel", "repeat+level+info"),
        *("-protocol_whitelist", "file", "-i", f"file:{path}"),
        *("-map", "0:V:0", "-vf", "showinfo=checksum=0", "-fps_mode", "passthrough"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
    ]

"""Where the frames of a video come from: ffmpeg, which comes with imageio-ffmpeg, or Pillow for animated images."""

from __future__ import annotations

import queue
import re
import subprocess
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from lineament.data.images import from_pillow, open_animation
from lineament.eight_bit import from_array
from lineament.errors import DataError

# Frames a second where a file does not say.
USUAL_RATE = 25.0
# Browsers and ffmpeg show a frame of an animation that asks for less than the first time (s) for the second.
SHORTEST, INSTEAD = 0.02, 0.1

_FRAME = re.compile(r"\[info\] n:\s*\d+ .*?pts_time:(\S+) .*? s:(\d+)x(\d+) ")
_DURATION = re.compile(r"Duration: (\d+):(\d+):([\d.]+)")
_RATE = re.compile(r"([\d.]+) fps")


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


class VideoSource(ABC):
    """Decodes the frames of one file in order, one at a time.

    Attributes:
        facts: What the file says of itself.
        problem: After the last frame: why it was the last, where the file is damaged; else None.
    """

    facts: VideoFacts
    problem: str | None = None

    @abstractmethod
    def frames(self) -> Iterator[tuple[Tensor, float | None]]:
        """Upright images ``[3, H, W]`` in 0..1, each with its time in seconds where the file tells it."""

    @abstractmethod
    def close(self) -> None:
        """Let the file go, also in the middle of it."""


class AnimationSource(VideoSource):
    """An animated GIF, PNG or WebP: not every ffmpeg reads all three, and transparent pixels come to lie on white.

    Args:
        path: The file.

    Raises:
        DataError: If not even its first frame can be read.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self._image = open_animation(path)
        first: Tensor | None = None
        # Some formats tell how long a frame is shown only when it was decoded.
        self._times = [0.0]
        try:
            for image in self._walk():
                first = from_pillow(image, self._name) if first is None else first
                self._times.append(self._times[-1] + _seconds(image))
        except DataError:
            # Where the first frame is whole, reading comes to the damage and says so.
            if first is None:
                self.close()
                raise
        if first is None:
            self.close()
            raise DataError(f"{path}: there is no frame in it.")
        count = len(self._times) - 1
        self.facts = VideoFacts(first.shape[2], first.shape[1], count / self._times[-1], count)

    def frames(self) -> Iterator[tuple[Tensor, float | None]]:
        """See the base class; a frame that cannot be decoded ends them."""
        try:
            for image, time in zip(self._walk(), self._times, strict=False):
                yield from_pillow(image, self._name), time
        except DataError as error:
            self.problem = f"it ends early or is damaged: {str(error).rstrip('.')}"

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def _walk(self) -> Iterator[Image.Image]:
        """The image at each of its frames.

        Raises:
            DataError: Where a frame cannot be decoded, or there are fewer than the file says.
        """
        done = 0
        try:
            # A PNG may show another image where animations are not known.
            start = int(bool(getattr(self._image, "default_image", False)))
            wanted = int(getattr(self._image, "n_frames", 1)) - start
            for number in range(start, start + wanted):
                self._image.seek(number)
                self._image.load()
                yield self._image
                done += 1
        # Decoders raise what they like on hostile bytes; all of it means: not readable.
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise DataError(f"{self._name}: frame {done} cannot be decoded ({reason}).") from error


class FfmpegSource(VideoSource):
    """A video of any kind that ffmpeg reads.

    Args:
        path: The file.

    Raises:
        DataError: If no frame can be read from it.
    """

    def __init__(self, path: Path) -> None:
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

    def frames(self) -> Iterator[tuple[Tensor, float | None]]:
        """See the base class."""
        width, height = self.facts.width, self.facts.height
        stamp, done = self._pending, 0
        while stamp is not None:
            if (stamp.width, stamp.height) != (width, height):
                self.problem = f"the size of the images changes after {done} frames"
                return
            content = self._pixels.read(width * height * 3)
            if len(content) < width * height * 3:
                break
            yield from_array(np.frombuffer(content, np.uint8).reshape(height, width, 3)), stamp.time
            done += 1
            stamp = self._log.frames.get()
        if self._process.wait() != 0 or self._log.errors:
            self.problem = f"it ends early or is damaged: {self._log.last_error()}"

    def close(self) -> None:
        """End ffmpeg, also in the middle of a file."""
        if self._process.poll() is None:
            self._process.kill()
        self._pixels.close()
        self._process.wait()
        self._log.close()


def _seconds(image: Image.Image) -> float:
    """How long the current frame of an animation is shown."""
    seconds = float(image.info.get("duration") or 0) / 1000
    return seconds if seconds >= SHORTEST else INSTEAD


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

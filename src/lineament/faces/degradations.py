"""What cameras, files and bad light do to the pixels of an image; the points in it stay where they are.

All functions take and return ``[H, W, 3]`` uint8 RGB and are made for training on a processor: a crop of 112 px passes
the whole of :func:`degrade` in one to two milliseconds. Lengths are pixels of the image they are applied to.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Bytes = npt.NDArray[np.uint8]

_RESAMPLING = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.NEAREST,
)
_MAX_TAPS = 15


@dataclass(frozen=True)
class DegradationOdds:
    """How often each flaw befalls an image, and how far it may go.

    Attributes:
        low_resolution: Probability of having been smaller.
        least_share: Smallest share of its side that such an image had (log-uniform up to 1).
        defocus: Probability of a blur by a disc.
        defocus_radius: Largest radius of the disc, as a share of the image's side.
        motion: Probability of a blur along a line.
        motion_length: Longest line, as a share of the image's side.
        noise: Probability of sensor noise.
        noise_level: Largest standard deviation of it, as a share of the full range.
        grey: Probability of black and white.
        tone: Probability of another brightness, contrast and gamma.
        cast: Probability of a colour cast.
        jpeg: Probability of a JPEG file.
        least_quality: Lowest JPEG quality.
    """

    low_resolution: float = 0.25
    least_share: float = 0.2
    defocus: float = 0.12
    defocus_radius: float = 0.02
    motion: float = 0.10
    motion_length: float = 0.07
    noise: float = 0.35
    noise_level: float = 0.06
    grey: float = 0.15
    tone: float = 0.5
    cast: float = 0.35
    jpeg: float = 0.4
    least_quality: int = 18


class Degradation(NamedTuple):
    """The flaws of one image; the neutral value of each field leaves the image alone.

    Attributes:
        share: Share of its side that the image once had (1: always as large as now).
        filters: Numbers of the resampling down and up, 0..3 (bilinear, bicubic, Lanczos, nearest).
        defocus: Radius of the disc, px.
        motion: Length of the line, px.
        angle: Its direction, radians.
        noise: Standard deviation of the noise, 0..1.
        noise_seed: Seed of the noise.
        grey: Whether black and white.
        gamma: Exponent on values in 0..1.
        gain: ``[3]`` factor for each channel.
        lift: Added to values in 0..1.
        quality: JPEG quality 1..95, or 0 for none.
    """

    share: float = 1.0
    filters: tuple[int, int] = (0, 0)
    defocus: float = 0.0
    motion: float = 0.0
    angle: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    grey: bool = False
    gamma: float = 1.0
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lift: float = 0.0
    quality: int = 0


def draw_degradation(rng: np.random.Generator, odds: DegradationOdds, side: float) -> Degradation:
    """Draw the flaws of one image; a fixed number of draws whatever the odds.

    Args:
        rng: Where all randomness comes from.
        odds: How often and how far.
        side: Side of the image (or of the face in it, when the flaws shall go with the face), px.
    """
    happens, size = rng.random(8), rng.random(8)
    down, up = rng.integers(0, 3), rng.choice(4, p=[0.4, 0.35, 0.15, 0.1])
    tint = rng.normal(0.0, 0.07, 3)
    tone = happens[5] < odds.tone
    gain = (1.0 + (0.5 * (size[5] - 0.5) if tone else 0.0)) * (
        1.0 + (tint if happens[6] < odds.cast else np.zeros(3))
    )
    return Degradation(
        share=odds.least_share ** (1.0 - size[0]) if happens[0] < odds.low_resolution else 1.0,
        filters=(int(down), int(up)),
        defocus=odds.defocus_radius * side * size[1] if happens[1] < odds.defocus else 0.0,
        motion=odds.motion_length * side * size[2] if happens[2] < odds.motion else 0.0,
        angle=float(math.pi * rng.random()),
        noise=odds.noise_level * size[3] ** 2 if happens[3] < odds.noise else 0.0,
        noise_seed=int(rng.integers(2**31)),
        grey=bool(happens[4] < odds.grey),
        gamma=2.0 ** (1.6 * (size[4] - 0.5)) if tone else 1.0,
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        lift=0.16 * (rng.random() - 0.4) if tone else 0.0,
        quality=int(odds.least_quality + (92 - odds.least_quality) * size[7])
        if happens[7] < odds.jpeg
        else 0,
    )


def degrade(image: Bytes, flaws: Degradation) -> Bytes:
    """Apply flaws in the order in which light, lens, sensor and file bring them; the input stays as it is."""
    if flaws.gamma != 1.0 or flaws.lift or flaws.gain != (1.0, 1.0, 1.0):
        image = tone_and_cast(image, flaws.gamma, flaws.gain, flaws.lift)
    if flaws.defocus > 0.3:
        image = defocus(image, flaws.defocus)
    if flaws.motion > 1.0:
        image = motion_blur(image, flaws.motion, flaws.angle)
    if flaws.share < 1.0:
        image = low_resolution(image, flaws.share, flaws.filters)
    if flaws.grey:
        image = black_and_white(image)
    if flaws.noise > 0.0:
        image = sensor_noise(image, flaws.noise, flaws.noise_seed, flaws.grey)
    if flaws.quality:
        image = jpeg(image, flaws.quality)
    return image


def low_resolution(image: Bytes, share: float, filters: tuple[int, int] = (0, 0)) -> Bytes:
    """Shrink to a share of the side (at least 4 px) and enlarge again.

    Args:
        image: ``[H, W, 3]``.
        share: 0..1.
        filters: Numbers of the two resampling filters, see :class:`Degradation`.
    """
    height, width = image.shape[:2]
    small = (max(round(width * share), 4), max(round(height * share), 4))
    shrunk = Image.fromarray(image).resize(small, _RESAMPLING[filters[0]])
    return np.asarray(shrunk.resize((width, height), _RESAMPLING[filters[1]]))


def defocus(image: Bytes, radius: float) -> Bytes:
    """Blur by two boxes that together spread as far as a disc of this radius, px."""
    # A disc of radius r has the variance r^2 / 4 along each axis, a box of 2 b + 1 pixels (b^2 + b) / 3.
    box = ImageFilter.BoxBlur(0.5 * (math.sqrt(1.0 + 1.5 * float(radius) ** 2) - 1.0))
    return np.asarray(Image.fromarray(image).filter(box).filter(box))


def motion_blur(image: Bytes, length: float, angle: float) -> Bytes:
    """Mean along a line through each pixel; ``length`` px, ``angle`` radians from the x axis towards y."""
    taps = min(max(round(length) + 1, 2), _MAX_TAPS)
    along = np.linspace(-0.5, 0.5, taps) * length
    offsets = np.rint(np.stack([along * math.sin(angle), along * math.cos(angle)], axis=1)).astype(np.int64)
    blurred: Bytes = _mean_of_shifted(np.ascontiguousarray(image), offsets)
    return blurred


@numba.njit(cache=True, nogil=True)
def _mean_of_shifted(image: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Mean of copies shifted by ``offsets`` ``[T, 2]`` (rows, columns); the border is repeated."""
    height, width, channels = image.shape
    result = np.empty_like(image)
    total = np.empty((width, channels), np.int64)
    taps = offsets.shape[0]
    for y in range(height):
        total[:] = taps // 2
        for tap in range(taps):
            row = min(max(y + offsets[tap, 0], 0), height - 1)
            shift = offsets[tap, 1]
            for x in range(width):
                column = min(max(x + shift, 0), width - 1)
                for c in range(channels):
                    total[x, c] += image[row, column, c]
        for x in range(width):
            for c in range(channels):
                result[y, x, c] = total[x, c] // taps
    return result


def black_and_white(image: Bytes) -> Bytes:
    """Luma in all three channels."""
    return np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)


def sensor_noise(image: Bytes, std: float, seed: int, grey: bool = False) -> Bytes:
    """Add Gaussian noise of a standard deviation in 0..1, the same for all channels when ``grey``."""
    rng = np.random.Generator(np.random.PCG64(seed))
    shape = image.shape[:2] + ((1,) if grey else (3,))
    noisy = image + np.float32(255.0 * std) * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def tone_and_cast(
    image: Bytes, gamma: float, gain: tuple[float, float, float] = (1.0, 1.0, 1.0), lift: float = 0.0
) -> Bytes:
    """``(gain * v) ** gamma + lift`` of each value in 0..1, by table."""
    values = np.arange(256) / 255.0
    result = np.empty_like(image)
    for channel in range(3):
        table = np.minimum(max(gain[channel], 0.0) * values, 1.0) ** gamma + lift
        result[..., channel] = np.clip(np.rint(255.0 * table), 0, 255).astype(np.uint8)[image[..., channel]]
    return result


def jpeg(image: Bytes, quality: int) -> Bytes:
    """Write and read again as JPEG, chroma halved; ``quality`` 1..95."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))

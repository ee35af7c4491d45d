"""How training images come to look like photos: colours of real ones, light, blur, noise, compression.

Blur, motion and low resolution are linear on each axis, so each is a matrix, and all of them together are one product
of an image with a matrix on either side.
"""

from __future__ import annotations

import functools
import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lineament.eight_bit import to_uint8
from lineament.faces.photometric import LUMA
from lineament.methods.landmarks.draws import Draws


@dataclass(frozen=True)
class Bank:
    """Images that training images borrow from.

    Attributes:
        textures: ``[N, 3, S, S]`` uint8, squares around faces.
        means: ``[N, 3]`` of the colours within the middle of each.
        stds: The same for their standard deviations.
    """

    textures: Tensor
    means: Tensor
    stds: Tensor

    @staticmethod
    def of(images: Tensor) -> Bank:
        """Make it from images ``[N, 3, S, S]`` in 0..1."""
        return Bank(to_uint8(images), *_statistics(images))


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    size = images.shape[-1]
    inner = slice(size // 5, size - size // 5, 2)
    # Every other pixel tells enough.
    pixels = images[..., inner, inner].flatten(-2)
    means = pixels.mean(-1)
    return means, (pixels.square().mean(-1) - means.square()).clamp(min=0.0).sqrt()


def degrade(image: Tensor, bank: Bank, draws: Draws) -> Tensor:
    """Change the appearance of an image ``[3, S, S]`` in 0..1 at random, as cameras and files do; partly in place.

    Args:
        image: Any.
        bank: Whose colours it may take on.
        draws: Random numbers.

    Returns:
        ``[3, S, S]`` in 0..1.
    """
    _recolour(image, bank, draws)
    _light(image, draws)
    image = _soften(image, draws)
    if draws.chance(0.35):
        noise = torch.randn(image.shape, generator=draws.generator)
        if draws.chance(0.3):
            noise = noise[:1]
        image = image.add_(noise, alpha=draws.uniform(0.01, 0.06))
    image = image.clamp_(0.0, 1.0)
    return _compressed(image, draws) if draws.chance(0.3) else image


def _recolour(image: Tensor, bank: Bank, draws: Draws) -> None:
    """Move the colour statistics towards those of another image, or to grey, and cast the colours."""
    gain, offset = torch.ones(3), torch.zeros(3)
    if len(bank.means) and draws.chance(0.6):
        which, share = draws.below(len(bank.means)), draws.uniform(0.3, 1.0)
        means, stds = _statistics(image)
        ratio = (bank.stds[which] / stds.clamp(min=0.02)).clamp(0.4, 2.5)
        gain = 1.0 + share * (ratio - 1.0)
        offset = means + share * (bank.means[which] - means) - gain * means
    contrast = math.exp(0.25 * draws.normal()) if draws.chance(0.5) else 1.0
    bright = 0.1 * draws.normal() if draws.chance(0.5) else 0.0
    gain, offset = gain * contrast, (offset - 0.5) * contrast + 0.5 + bright
    if draws.chance(0.3):
        gain = gain * torch.tensor([math.exp(0.12 * draws.normal()) for _ in range(3)])
    image.mul_(gain.view(3, 1, 1)).add_(offset.view(3, 1, 1))
    if draws.chance(0.25):
        grey = torch.tensor(LUMA) @ image.flatten(1)
        image.copy_(grey.view(1, *image.shape[1:]).expand_as(image))


@functools.cache
def _ramp(size: int) -> Tensor:
    return torch.linspace(-1.0, 1.0, size)


def _light(image: Tensor, draws: Draws) -> None:
    """Gamma, and light from one side."""
    if draws.chance(0.35):
        image.clamp_(1e-4, 1.0).pow_(2.0 ** (0.7 * draws.uniform(-1.0, 1.0)))
    if draws.chance(0.3):
        ramp = _ramp(image.shape[-1])
        slope = 1.0 + 0.35 * draws.normal() * ramp[None, :] + 0.35 * draws.normal() * ramp[:, None]
        image.mul_(slope.clamp(0.15, 2.0))


def _soften(image: Tensor, draws: Draws) -> Tensor:
    """Low resolution, defocus, motion."""
    size = image.shape[-1]
    across: Tensor | None = None
    down: Tensor | None = None
    if draws.chance(0.3):
        across = down = _coarse(size, max(8, round(size * 2.0 ** draws.uniform(-2.0, -0.3))))
    if draws.chance(0.25):
        blur = _bell(size, draws.uniform(0.4, 2.0))
        across = blur if across is None else blur @ across
        down = blur if down is None else blur @ down
    if draws.chance(0.1):
        motion = _box(size, draws.uniform(2.0, 8.0))
        if draws.chance(0.6):
            across = motion if across is None else motion @ across
        else:
            down = motion if down is None else motion @ down
    if across is not None:
        image = image @ across.T
    return image if down is None else down @ image


@functools.cache
def _distances(size: int) -> Tensor:
    place = torch.arange(size, dtype=torch.float32)
    return (place[:, None] - place).abs()


def _normed(weights: Tensor) -> Tensor:
    return weights / weights.sum(1, keepdim=True)


def _bell(size: int, std: float) -> Tensor:
    """A Gaussian blur ``[size, size]``."""
    return _normed(torch.exp(_distances(size).square() * (-0.5 / std**2)))


def _box(size: int, length: float) -> Tensor:
    """The mean along ``length`` pixels ``[size, size]``."""
    return _normed((0.5 * length + 0.5 - _distances(size)).clamp(0.0, 1.0))


@functools.lru_cache(maxsize=256)
def _coarse(size: int, fewer: int) -> Tensor:
    """Shrinking to ``fewer`` pixels by means and growing back linearly ``[size, size]``."""
    ratio = size / fewer
    centres = (torch.arange(fewer, dtype=torch.float32) + 0.5) * ratio - 0.5
    place = torch.arange(size, dtype=torch.float32)
    down = _normed((0.5 * ratio + 0.5 - (centres[:, None] - place).abs()).clamp(0.0, 1.0))
    at = ((place + 0.5) / ratio - 0.5).clamp(0.0, fewer - 1.0)
    up = (1.0 - (at[:, None] - torch.arange(fewer)).abs()).clamp(0.0, 1.0)
    return up @ down


def _compressed(image: Tensor, draws: Draws) -> Tensor:
    """Through a JPEG file."""
    buffer = io.BytesIO()
    pixels = to_uint8(image).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(draws.uniform(15.0, 90.0)))
    read = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    return torch.from_numpy(read.transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255))

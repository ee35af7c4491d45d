"""The published colour augmentation of one image: JPEG noise, colour jitter, noise along the colour axes.

Both views of a pair get their own draw, after the warp. Training in this package changes whole batches on their device
(:mod:`lineament.faces.photometric`); this is the published chain step by step, through 8-bit images, for faithful
runs and comparisons. The steps and their ranges are those of the published runs; the random stream is our own, one
generator per sample, because theirs was spread over three global ones.
"""

from __future__ import annotations

from io import BytesIO

import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from lineament.eight_bit import from_pil, to_pil
from lineament.faces.photometric import colour_noise

# Smallest side of the image before it is compressed, as a share of its own, and the standard deviation around 1.
JPEG_SMALLEST, JPEG_SPREAD = 0.8, 0.5
JPEG_QUALITY = (30, 98)
JITTER = 0.4
COLOUR_STD = 0.1


def published_look(image: Tensor, generator: torch.Generator) -> Tensor:
    """Change the look of one view.

    Args:
        image: ``[3, H, W]`` RGB in 0..1, square in the published runs.
        generator: Source of randomness.

    Returns:
        ``[3, H, W]``; like the published one it is not clamped after the colour noise.
    """
    pil_image = colour_jitter(jpeg_noise(to_pil(image), generator), generator)
    return add_colour_noise(from_pil(pil_image), torch.randn(3, generator=generator))


def jpeg_noise(image: Image.Image, generator: torch.Generator) -> Image.Image:
    """Resize to a random square, compress with a random quality, and resize back."""
    width, height = image.size
    drawn = float(torch.randn([], generator=generator))
    side = max(1, int(JPEG_SMALLEST * width), int(width * (1 + JPEG_SPREAD * drawn)))
    low, high = JPEG_QUALITY
    quality = int(torch.randint(low, high + 1, [], generator=generator))
    stream = BytesIO()
    image.resize((side, side), Image.Resampling.BILINEAR).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as compressed:
        return compressed.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)


def colour_jitter(image: Image.Image, generator: torch.Generator) -> Image.Image:
    """Brightness, contrast and saturation by factors uniform in 1 +- 0.4, in random order."""
    steps = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for index in torch.randperm(len(steps), generator=generator).tolist():
        factor = 1 + JITTER * (2 * float(torch.rand([], generator=generator)) - 1)
        image = steps[index](image).enhance(factor)
    return image


def add_colour_noise(image: Tensor, normal: Tensor) -> Tensor:
    """Add noise along the principal colour axes of ImageNet.

    Args:
        image: ``[3, H, W]`` RGB in 0..1.
        normal: ``[3]`` standard normal numbers.
    """
    return image + colour_noise(COLOUR_STD * normal[None])[0, :, None, None]

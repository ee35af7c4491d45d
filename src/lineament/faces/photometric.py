"""Random changes of appearance, drawn per image on the host and applied to a whole batch on its device.

The published runs change brightness, contrast, saturation and add noise along the principal colour axes, independently
for both images of a pair. Real and drawn faces differ by more than that, so grey images, gamma, side light, blur and
sensor noise are there too, off by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.ops.tails import exp_without_tail

# Luma weights of ITU-R BT.601, as image libraries use for greyscale.
LUMA = (0.299, 0.587, 0.114)
# Principal axes (columns) and standard deviations of RGB over ImageNet, scaled to 0..1 (Krizhevsky et al. 2012).
COLOUR_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
COLOUR_STDS = (0.2175, 0.0188, 0.0045)
BLUR_RADIUS = 3

# Columns of a drawn look.
BRIGHTNESS, CONTRAST, SATURATION, GREY, GAMMA, LIGHT_X, LIGHT_Y, BLUR, NOISE = range(9)
COLOUR = slice(9, 12)
COLUMNS = 12


@dataclass(frozen=True)
class PhotometricRanges:
    """How much the appearance of an image may change; all zero leaves it alone.

    Attributes:
        brightness: Factor uniform in 1 +- this.
        contrast: Factor on the distance from the mean grey, uniform in 1 +- this.
        saturation: Factor on the distance from the pixel's grey, uniform in 1 +- this.
        colour: Standard deviation of the three coefficients of colour noise along the principal axes.
        grey: Probability of a greyscale image.
        gamma: Exponent is 2 ** u with u uniform in +- this.
        light: Standard deviation of the slope of side light: the image is multiplied by 1 + slope at its border.
        blur: Probability of a blur with a standard deviation uniform in 0.3..1.5 pixels.
        noise: Standard deviation of pixel noise is uniform in 0..this.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    colour: float = 0.1
    grey: float = 0.0
    gamma: float = 0.0
    light: float = 0.0
    blur: float = 0.0
    noise: float = 0.0


def sample_photometric(spread: PhotometricRanges, generator: torch.Generator) -> Tensor:
    """Draw the look of one image: ``[12]`` columns as named in this module."""
    uniform = torch.rand(9, generator=generator)
    normal = torch.randn(5, generator=generator)
    signed = 2 * uniform - 1
    look = torch.zeros(COLUMNS)
    look[BRIGHTNESS] = 1 + spread.brightness * signed[0]
    look[CONTRAST] = 1 + spread.contrast * signed[1]
    look[SATURATION] = 1 + spread.saturation * signed[2]
    look[GREY] = float(uniform[3] < spread.grey)
    look[GAMMA] = 2.0 ** (spread.gamma * signed[4])
    look[LIGHT_X : LIGHT_Y + 1] = spread.light * normal[:2]
    look[BLUR] = 0.3 + 1.2 * uniform[6] if float(uniform[5]) < spread.blur else 0.0
    look[NOISE] = spread.noise * uniform[7]
    look[COLOUR] = spread.colour * normal[2:]
    return look


def colour_noise(coefficients: Tensor) -> Tensor:
    """RGB offsets ``[B, 3]`` from coefficients ``[B, 3]`` along the principal colour axes."""
    axes = coefficients.new_tensor(COLOUR_AXES)
    return (coefficients * coefficients.new_tensor(COLOUR_STDS)) @ axes.t()


def to_grey(images: Tensor) -> Tensor:
    """Luma of ``[B, 3, H, W]`` as ``[B, 1, H, W]``."""
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def blur(images: Tensor, stds: Tensor) -> Tensor:
    """Gaussian blur of each image by its own standard deviation in pixels; 0 leaves it alone.

    Args:
        images: ``[B, C, H, W]``.
        stds: ``[B]``.
    """
    batch, channels = images.shape[:2]
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=images.device, dtype=images.dtype)
    kernel = exp_without_tail(-0.5 * (offsets / stds[:, None].clamp(min=1e-3)).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    x = F.pad(images, (BLUR_RADIUS,) * 4, mode="replicate").view(1, batch * channels, -1, images.shape[3] + 6)
    x = F.conv2d(x, kernel[:, None, None], groups=batch * channels)
    x = F.conv2d(x, kernel[:, None, :, None], groups=batch * channels)
    return x.view_as(images)


def apply_photometric(images: Tensor, looks: Tensor, noise: Tensor | None = None) -> Tensor:
    """Apply drawn looks.

    Args:
        images: ``[B, 3, H, W]`` RGB in 0..1.
        looks: ``[B, 12]`` from :func:`sample_photometric`.
        noise: ``[B, 1 or 3, H, W]`` standard normal noise; none is added when None.

    Returns:
        ``[B, 3, H, W]``, in 0..1 before the colour noise, which like the published one is not clamped.
    """
    column = looks[:, :, None, None, None]
    height, width = images.shape[2:]
    x = images
    if bool((looks[:, BLUR] > 0).any()):
        x = blur(x, looks[:, BLUR])
    ys = torch.linspace(-1, 1, height, device=x.device).view(1, 1, -1, 1)
    xs = torch.linspace(-1, 1, width, device=x.device).view(1, 1, 1, -1)
    light = 1 + column[:, LIGHT_X] * xs + column[:, LIGHT_Y] * ys
    x = (x * light.clamp(min=0.2) * column[:, BRIGHTNESS]).clamp(0, 1)
    mean = to_grey(x).mean(dim=(2, 3), keepdim=True)
    x = (mean + column[:, CONTRAST] * (x - mean)).clamp(0, 1)
    grey = to_grey(x)
    saturation = column[:, SATURATION] * (1 - column[:, GREY])
    x = (grey + saturation * (x - grey)).clamp(1e-4, 1) ** column[:, GAMMA]
    if noise is not None:
        x = (x + column[:, NOISE] * noise).clamp(0, 1)
    offsets = colour_noise(looks[:, COLOUR]) * (1 - looks[:, GREY : GREY + 1])
    return x + offsets[:, :, None, None]

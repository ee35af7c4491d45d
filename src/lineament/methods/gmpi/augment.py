"""Adaptive discriminator augmentation: what it sees is moved and recoloured at random (Karras et al., NeurIPS 2020).

Real and generated images are changed alike with the probability p before the discriminator sees them. Each change can
be undone, and is left out often enough that the generator does not learn it (section 3 of "Training generative
adversarial networks with limited data"; kinds and sizes of the changes from its appendix B). Everything is linear in
the pixels, and derivatives of any order are exact: the gradient of the generator and that of R1 pass through.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Kinds of changes; the paper's "bgc".
PARTS = ("blit", "geometry", "colour")
# Whole-pixel shifts go up to this share of the side.
BLIT_SHIFT = 0.125
# Standard deviations of log2 of the scales, and of shifts as a share of the side.
SCALE_STD, SHIFT_STD = 0.2, 0.125
# Standard deviations of brightness (images lie in -1..1) and of log2 of contrast and saturation.
BRIGHTNESS_STD, CONTRAST_STD, SATURATION_STD = 0.2, 0.5, 1.0
# Low-pass filter of the wavelet sym6 (Daubechies, "Ten lectures on wavelets", table 8.3); it is orthonormal, so that
# doubling and halving an image with it gives the image back.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
TAPS = len(SYM6)
# Where a pixel's own place lies among its taps.
CENTRE = sum(i * tap for i, tap in enumerate(SYM6)) / sum(SYM6)
# Pixels mirrored at each border before doubling, more than half the filter.
MARGIN = 8


@dataclass(frozen=True)
class Augmentation:
    """The changes of a batch of B images; :func:`draw_augmentation` draws them.

    They are done in the order of the attributes. Lengths are shares of the image's side, x right, y down.

    Attributes:
        mirror: ``[B]`` bool, left and right exchanged.
        quarters: ``[B]`` int64, quarter turns counter-clockwise.
        shift: ``[B, 2]`` xy, rounded to whole pixels.
        warp: ``[B, 2, 3]`` from the image to the result, with the origin in the middle of the image.
        colour: ``[B, 3, 4]`` of RGB and 1, for images in -1..1.
    """

    mirror: Tensor
    quarters: Tensor
    shift: Tensor
    warp: Tensor
    colour: Tensor


def no_augmentation(count: int) -> Augmentation:
    """The changes that change nothing, of ``count`` images."""
    return Augmentation(
        torch.zeros(count, dtype=torch.bool),
        torch.zeros(count, dtype=torch.int64),
        torch.zeros(count, 2),
        torch.eye(2, 3).repeat(count, 1, 1),
        torch.eye(3, 4).repeat(count, 1, 1),
    )


def draw_augmentation(
    count: int, probability: float, generator: torch.Generator, parts: Collection[str] = PARTS
) -> Augmentation:
    """Draw the changes of a batch on the CPU; how many random numbers are drawn does not depend on ``probability``.

    Args:
        count: Images.
        probability: Of each change, in 0..1. The two rotations have ``1 - sqrt(1 - p)``, so that an image stays
            unturned with ``1 - p``.
        generator: Source of random numbers.
        parts: Kinds of changes that take part, of :data:`PARTS`.
    """

    def chance(p: float) -> Tensor:
        return torch.rand(count, generator=generator) < p

    def normal(std: float) -> Tensor:
        return std * torch.randn(count, generator=generator) * chance(probability)

    def scale(std: float) -> Tensor:
        return torch.exp2(normal(std))

    def angle(p: float) -> Tensor:
        return math.pi * (2 * torch.rand(count, generator=generator) - 1) * chance(p)

    none = no_augmentation(count)
    mirror = (torch.rand(count, generator=generator) < 0.5) & chance(probability)
    quarters = torch.randint(4, (count,), generator=generator) * chance(probability)
    shift = BLIT_SHIFT * (2 * torch.rand(count, 2, generator=generator) - 1) * chance(probability)[:, None]

    turned = 1 - math.sqrt(1 - probability)
    warp = _scaling(*(2 * (scale(SCALE_STD),)))
    warp = _turning(angle(turned)) @ warp
    stretch = scale(SCALE_STD)
    warp = _turning(angle(turned)) @ _scaling(stretch, 1 / stretch) @ warp
    move = SHIFT_STD * torch.randn(count, 2, generator=generator) * chance(probability)[:, None]

    colour = _moved(torch.eye(3).repeat(count, 1, 1), normal(BRIGHTNESS_STD))
    colour = scale(CONTRAST_STD)[:, None, None] * colour
    grey = torch.full((3, 3), 1 / 3)
    flip = ((torch.rand(count, generator=generator) < 0.5) & chance(probability)).float()
    colour = (torch.eye(3) - 2 * flip[:, None, None] * grey) @ colour
    colour = _hue(angle(probability)) @ colour
    colour = (grey + scale(SATURATION_STD)[:, None, None] * (torch.eye(3) - grey)) @ colour
    return Augmentation(
        mirror if "blit" in parts else none.mirror,
        quarters if "blit" in parts else none.quarters,
        shift if "blit" in parts else none.shift,
        torch.cat([warp, move[:, :, None]], 2) if "geometry" in parts else none.warp,
        colour if "colour" in parts else none.colour,
    )


def augment(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Change images; those that no change was drawn for keep their bits.

    Args:
        images: ``[B, 3, S, S]`` in -1..1.
        augmentation: Of as many images, on the CPU.

    Returns:
        ``[B, 3, S, S]``; values may leave -1..1. Beyond the border lies the mirrored image.
    """
    images = _blit(images, augmentation)
    images = _warped(images, augmentation.warp)
    which = _changed((augmentation.colour != torch.eye(3, 4)).flatten(1).any(1), images.device)
    if not len(which):
        return images
    matrix = augmentation.colour.to(images)[which]
    pixels = images[which].flatten(2)
    recoloured = torch.baddbmm(matrix[:, :, 3:], matrix[:, :, :3], pixels).view(-1, *images.shape[1:])
    return images.index_copy(0, which, recoloured)


def adjust_probability(probability: float, sign: float, target: float, images: int, full: float) -> float:
    """Move the probability by how the discriminator takes the real images.

    Args:
        probability: Of now.
        sign: Mean sign of its scores of real images since the last adjustment, -1..1: near 1 when it knows them by
            heart.
        target: What that should be; 0.6 in the paper.
        images: Real images seen since then.
        full: Images in which the probability may go from 0 to 1; 500,000 in the paper.

    Returns:
        The probability, 0..1.
    """
    step = images / full
    moved = probability + math.copysign(step, sign - target) if sign != target else probability
    return min(max(moved, 0.0), 1.0)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y], 1))


def _turning(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)


def _moved(matrix: Tensor, by: Tensor) -> Tensor:
    return torch.cat([matrix, by[:, None, None].expand(-1, 3, 1)], 2)


def _hue(angle: Tensor) -> Tensor:
    """Rotations ``[B, 3, 3]`` about the grey axis (Rodrigues)."""
    axis = 1 / math.sqrt(3)
    cross = torch.tensor([[0.0, -axis, axis], [axis, 0.0, -axis], [-axis, axis, 0.0]])
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    # Exactly the identity at 0.
    return torch.eye(3) + sin * cross + (1 - cos) * (cross @ cross)


def _changed(flags: Tensor, device: torch.device) -> Tensor:
    return flags.nonzero()[:, 0].to(device)


def _mirrored(place: Tensor, size: int) -> Tensor:
    """Places on the line as places within an image of ``size`` pixels, mirrored at its edges -0.5 and size - 0.5."""
    wrapped = (place + 0.5).remainder(2 * size)
    return torch.minimum(wrapped, 2 * size - wrapped) - 0.5


def _blit(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Mirror, quarter turns, whole-pixel shifts: pixels change their places and nothing else."""
    size = images.shape[-1]
    shift = (augmentation.shift * size).round().long()
    moved = augmentation.mirror | (augmentation.quarters % 4 != 0) | (shift != 0).any(1)
    which = moved.nonzero()[:, 0]
    if not len(which):
        return images
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    x = _mirrored(x - shift[which, 0, None, None], size).long()
    y = _mirrored(y - shift[which, 1, None, None], size).long()
    quarters = augmentation.quarters[which, None, None] % 4
    for turn in (1, 2, 3):
        # What is turned counter-clockwise by a quarter has its column x from row x, read from the right.
        x, y = torch.where(quarters >= turn, size - 1 - y, x), torch.where(quarters >= turn, x, y)
    x = torch.where(augmentation.mirror[which, None, None], size - 1 - x, x)
    which = which.to(images.device)
    source = (y * size + x).flatten(1).to(images.device)
    pixels = images[which].flatten(2)
    found = pixels.gather(2, source[:, None].expand_as(pixels)).view(-1, *images.shape[1:])
    return images.index_copy(0, which, found)


def _warped(images: Tensor, warp: Tensor) -> Tensor:
    """Resample at twice the resolution between two passes of the wavelet's filter (appendix B.2)."""
    which = _changed((warp != torch.eye(2, 3)).flatten(1).any(1), images.device)
    if not len(which):
        return images
    size, channels = images.shape[-1], images.shape[1]
    matrix = warp.double()[which.cpu()]
    # A pixel n lies at 2 n + CENTRE of the doubled image.
    place = (torch.arange(2 * size + TAPS - 2, dtype=torch.float64) - CENTRE) / 2 - (size - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    points = torch.stack([x, y], -1).view(1, -1, 2) - size * matrix[:, None, :, 2]
    source = points @ torch.linalg.inv(matrix[:, :, :2]).mT + (size - 1) / 2
    source = 2 * (_mirrored(source, size) + MARGIN) + CENTRE
    doubled = 2 * (size + 2 * MARGIN - 1) + TAPS
    grid = (2 * source / (doubled - 1) - 1).view(-1, len(place), len(place), 2).to(images)

    border = _mirrored(torch.arange(-MARGIN, size + MARGIN).double(), size).long().to(images.device)
    padded = images[which].index_select(2, border).index_select(3, border)
    taps = torch.tensor(SYM6, dtype=torch.float64).to(images)
    column, row = taps.view(1, 1, -1, 1), taps.view(1, 1, 1, -1)
    flat = padded.reshape(-1, 1, *padded.shape[2:])
    flat = F.conv_transpose2d(F.conv_transpose2d(flat, 2 * column, stride=(2, 1)), row, stride=(1, 2))
    sampled: Tensor = _Sample.apply(flat.view(-1, channels, *flat.shape[2:]), grid)
    flat = sampled.reshape(-1, 1, *sampled.shape[2:])
    flat = F.conv2d(F.conv2d(flat, 0.5 * column, stride=(2, 1)), row, stride=(1, 2))
    return images.index_copy(0, which, flat.view(-1, *images.shape[1:]))


class _Sample(torch.autograd.Function):
    """Bilinear reading of images ``[B, C, H, W]`` at fixed places; torch's own has no second derivative.

    Reading is linear in the image, so its gradient is the transposed map, and that one's gradient the reading again.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradients[0], grid, ctx.shape), None


class _Spread(torch.autograd.Function):
    """The transposed map of :class:`_Sample`."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        # The values of the image do not matter to the gradient by them.
        like = gradient.new_zeros(1).expand(shape)
        bilinear, zeros = 0, 0
        return torch.ops.aten.grid_sampler_2d_backward(
            gradient.contiguous(), like, grid, bilinear, zeros, True, [True, False]
        )[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradients[0], grid), None, None

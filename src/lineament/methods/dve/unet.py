"""A small U-Net for dense descriptors: sees a larger image whole, at the cost of SmallNet on a smaller one.

Not a published network. SmallNet spends all of its arithmetic at half the resolution of the image and sees 25 grid
points to either side; a descent to a sixteenth and back (Ronneberger et al. 2015) sees the whole face and is cheaper,
which pays for images with 2.5 times the pixels. ``docs/methods/dve.md`` has both measured. Its descriptors have the
length 20 that the hourglass was trained with, so a dot product compares directions only, whoever forms it.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.nn.channels_last import arranged
from lineament.ops.exchange import NORMALISED_LENGTH

# Channels at a half, a quarter, an eighth and a sixteenth of the image's side.
WIDTHS = (32, 64, 96, 128)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a skip connection.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: 2 halves the resolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, H, W]`` -> ``[B, outputs, ceil(H / stride), ceil(W / stride)]``."""
        y = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(y)) + self.skip(x))


class UNet(nn.Module):
    """Descriptors from a U-Net, one per 2x2 pixels like the published networks.

    Args:
        channels: Dimensions C of a descriptor.
        widths: Channels of each level, finest first.
    """

    def __init__(self, channels: int = 64, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.channels = channels
        self.stride = 2
        first = widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(first), nn.SiLU()
        )
        steps = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(
            [ResidualBlock(first, first), *(ResidualBlock(a, b, stride=2) for a, b in steps)]
        )
        self.up = nn.ModuleList(ResidualBlock(a + b, a) for a, b in steps)
        self.head = nn.Conv2d(first, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Describe normalised images ``[B, 3, H, W]`` by ``[B, C, ceil(H / 2), ceil(W / 2)]`` vectors of length 20."""
        x = self.stem(arranged(images))
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
        x = levels.pop()
        for block in reversed(self.up):
            finer = levels.pop()
            x = F.interpolate(x, size=finer.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([finer, x], dim=1))
        return NORMALISED_LENGTH * F.normalize(self.head(x).contiguous(), dim=1)

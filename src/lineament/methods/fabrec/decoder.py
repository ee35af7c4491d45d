"""P, the decoder: a ResNet run backwards, from a code to an image."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.methods.fabrec.encoder import LINEAR_SIDE
from lineament.nn.channels_last import LargeConv2d, LargeConvTranspose2d, arranged


class InverseBlock(nn.Module):
    """A residual block that doubles the resolution; both paths begin with a transposed convolution of the input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = LargeConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = LargeConv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.upsample = nn.Sequential(
            LargeConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B, outputs, 2 H, 2 W]``."""
        x = arranged(x)
        main = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(main)) + self.upsample(x))


class Decoded(NamedTuple):
    """What the decoder gives.

    Attributes:
        x1: ``[B, 4 width, 8, 8]`` its first stage, from which landmarks are read.
        image: ``[B, 3, S, S]`` mean-free image, published networks in -1..1; None where it was not asked for.
    """

    x1: Tensor
    image: Tensor | None


class Decoder(nn.Module):
    """Code to image (section 3.1 of the paper, "P").

    Args:
        size: Side of the image, 64, 128, 256 or 512.
        width: Channels of the last stage; 64 in the published models.
        code: Dimensions of the code.
        linear: Ours: add a linear map of the code to the image, enlarged from 32 px, and leave the range unbounded.
    """

    def __init__(self, size: int = 256, width: int = 64, code: int = 99, linear: bool = False) -> None:
        super().__init__()
        self.fc = nn.Linear(code, 8 * width)
        self.conv1 = nn.ConvTranspose2d(8 * width, 8 * width, 4, 1, 0, bias=False)
        self.bn1 = nn.BatchNorm2d(8 * width)
        self.count = round(math.log2(size / 8))
        channels = [8 * width, 4 * width, 2 * width, *[width] * (self.count - 2)]
        for number in range(1, self.count + 1):
            block = InverseBlock(channels[number - 1], channels[number])
            self.add_module(f"layer{number}", nn.Sequential(block))
        self.lin = nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False)
        for module in self.modules():
            # Transposed convolutions keep the library's own start, as in the published code.
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        self.linear: nn.Linear | None = nn.Linear(code, 3 * LINEAR_SIDE**2) if linear else None
        if self.linear is not None:
            nn.init.normal_(self.linear.weight, 0.0, 0.01)
            nn.init.zeros_(self.lin.weight)

    def stages(self, code: Tensor, count: int | None = None) -> list[Tensor]:
        """Maps x0 (4 x 4), x1 (8 x 8), ... up to stage ``count``, by default all."""
        x = self.fc(code)
        # On a single pixel a transposed convolution is a matrix product, which is several times faster on a CPU.
        spread = (x @ self.conv1.weight.flatten(1)).unflatten(1, (-1, 4, 4))
        maps = [F.relu(self.bn1(spread))]
        for number in range(1, (self.count if count is None else count) + 1):
            maps.append(self.layer(number)(maps[-1]))
        return maps

    def layer(self, number: int) -> nn.Module:
        """Stage ``number``, counted from 1."""
        return getattr(self, f"layer{number}")

    def forward(self, code: Tensor, with_image: bool = True) -> Decoded:
        """Decode ``[B, code]``.

        Args:
            code: Codes.
            with_image: False stops at the first stage, which is all that landmarks need.
        """
        maps = self.stages(code, None if with_image else 1)
        if not with_image:
            return Decoded(maps[1], None)
        image = self.lin(arranged(maps[-1])).contiguous()
        if self.linear is None:
            return Decoded(maps[1], torch.tanh(image))
        small = self.linear(code).view(-1, 3, LINEAR_SIDE, LINEAR_SIDE)
        coarse = F.interpolate(small, image.shape[-2:], mode="bilinear", align_corners=False)
        return Decoded(maps[1], image + coarse)

"""The hourglass network of Descriptor Vector Exchange: one stack, stride 2, 12.6 million parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.errors import DataError

DEPTH = 4
GROUPS = 16


def norm_layer(channels: int, group_norm: bool) -> nn.Module:
    """Batch normalisation, or group normalisation with 16 groups."""
    return nn.GroupNorm(GROUPS, channels) if group_norm else nn.BatchNorm2d(channels)


class Bottleneck(nn.Module):
    """Pre-activation bottleneck with a residual; ``inputs`` -> ``2 * planes`` channels, same resolution."""

    def __init__(self, inputs: int, planes: int, group_norm: bool) -> None:
        super().__init__()
        self.bn1 = norm_layer(inputs, group_norm)
        self.conv1 = nn.Conv2d(inputs, planes, 1)
        self.bn2 = norm_layer(planes, group_norm)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1)
        self.bn3 = norm_layer(planes, group_norm)
        self.conv3 = nn.Conv2d(planes, 2 * planes, 1)
        self.downsample = nn.Conv2d(inputs, 2 * planes, 1) if inputs != 2 * planes else None

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, H, W]`` -> ``[B, 2 * planes, H, W]``."""
        residual = x if self.downsample is None else self.downsample(x)
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        return residual + self.conv3(F.relu(self.bn3(y)))


class HourglassBlock(nn.Module):
    """One hourglass of depth 4.

    Unlike the classic hourglass the way down continues from the *output* of the skip branch, so the whole block is one
    chain with four additions on the way up.
    """

    def __init__(self, planes: int, blocks: int, group_norm: bool) -> None:
        super().__init__()

        def node() -> nn.Sequential:
            return nn.Sequential(*(Bottleneck(2 * planes, planes, group_norm) for _ in range(blocks)))

        for level in range(DEPTH, 0, -1):
            for part in (1, 2, 3):
                self.add_module(f"layer{level}_{part}", node())
        self.layer1_4 = node()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 256, H, W]`` -> the same shape; H and W must be multiples of 16."""
        skips: dict[int, Tensor] = {}
        for level in range(DEPTH, 0, -1):
            x = getattr(self, f"layer{level}_1")(x)
            skips[level] = x
            x = getattr(self, f"layer{level}_2")(F.max_pool2d(x, 2))
        x = self.layer1_4(x)
        for level in range(1, DEPTH + 1):
            x = getattr(self, f"layer{level}_3")(x)
            x = skips[level] + F.interpolate(x, scale_factor=2, mode="nearest")
        return x


class Hourglass(nn.Module):
    """Stacked hourglass descriptors at half resolution (the paper's large network).

    The names of the parameters are those of the published checkpoints. Height and width of the input must be multiples
    of 32.

    Args:
        channels: Descriptor dimensions C.
        stacks: Hourglasses in a row; only the last output is returned.
        blocks: Bottlenecks per node.
        group_norm: Group normalisation (16 groups) in place of batch normalisation.
        scaled_norm_output: Return vectors of learnable length, ``normscale * y / |y|`` (start 20).
        output_weight_scale: Factor on the initial weights of the last convolution.
    """

    def __init__(
        self,
        channels: int = 64,
        *,
        stacks: int = 1,
        blocks: int = 4,
        group_norm: bool = False,
        scaled_norm_output: bool = False,
        output_weight_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.stride = 2
        width = 256
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.bn1 = norm_layer(64, group_norm)
        self.layer1 = nn.Sequential(Bottleneck(64, 64, group_norm))
        self.layer2 = nn.Sequential(Bottleneck(128, 128, group_norm))
        self.layer3 = nn.Sequential(Bottleneck(width, 128, group_norm))
        self.hg = nn.ModuleList(HourglassBlock(128, blocks, group_norm) for _ in range(stacks))
        self.output_layers = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(*(Bottleneck(width, 128, group_norm) for _ in range(blocks))),
                nn.Conv2d(width, width, 1),
                norm_layer(width, group_norm),
                nn.ReLU(),
                nn.Conv2d(width, channels, 1),
            )
            for _ in range(stacks)
        )
        with torch.no_grad():
            for output in self.output_layers:
                output[4].weight.mul_(output_weight_scale)  # type: ignore[index]
        self.normscale = nn.Parameter(torch.tensor(20.0)) if scaled_norm_output else None

    def forward(self, images: Tensor) -> Tensor:
        """Describe normalised images ``[B, 3, H, W]`` by ``[B, C, H / 2, W / 2]``.

        Raises:
            DataError: If H or W is not a multiple of 32.
        """
        height, width = images.shape[-2:]
        if height % 32 or width % 32:
            raise DataError(
                f"the hourglass needs sides that are multiples of 32, got {height}x{width}: resize first."
            )
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        for hourglass, output in zip(self.hg, self.output_layers, strict=True):
            x = hourglass(x)
            y = output(x)
        if self.normscale is not None:
            y = self.normscale * F.normalize(y, dim=1)
        return y

"""Q, the encoder: a ResNet-18 without its classifier, with further stages in front for larger images."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from lineament.nn.channels_last import LargeConv2d, arranged

# Side of the small image that the linear map sees, and the gain that lets it learn as fast as the rest.
LINEAR_SIDE, LINEAR_GAIN = 32, 4.0


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016); all convolutions without bias."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        # Both convolutions come first in published files.
        self.conv1 = LargeConv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = LargeConv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B, outputs, H / stride, W / stride]``."""
        x = arranged(x)
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class Encoder(nn.Module):
    """Image to code (section 3.1 of the paper, "Q").

    Every size ends in a map of 4 x 4: 512 px has two more stages than the ResNet, 256 px one, 128 px none, and 64 px
    does without the pooling that follows the first convolution.

    Args:
        size: Side of the image, 64, 128, 256 or 512.
        width: Channels of the first stage; 64 in the published models.
        code: Dimensions of the code.
        linear: Ours: add a linear map of the small image to the code, and read the last map place by place instead of
            its mean. Codes are principal components soon after the start, which the convolutions then bend.
    """

    # Called from outside where landmarks are read, so they compute in the precision of the training as forward does.
    forward_methods: ClassVar[tuple[str, ...]] = ("maps", "code")

    def __init__(self, size: int = 256, width: int = 64, code: int = 99, linear: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.MaxPool2d(3, 2, 1) if size > 64 else nn.Identity()
        extra = {"layer0": 1} if size >= 256 else {}
        if size >= 512:
            extra["layer01"] = 2
        for name, stride in extra.items():
            self.add_module(name, _stage(width, width, stride))
        self.stages = [*extra, "layer1", "layer2", "layer3", "layer4"]
        self.layer1 = _stage(width, width, 2 if extra else 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, 2)
        self.fc = nn.Linear(8 * width * (16 if linear else 1), code)
        self.linear: nn.Linear | None = nn.Linear(3 * LINEAR_SIDE**2, code) if linear else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))

        if self.linear is not None:
            nn.init.normal_(self.linear.weight, 0.0, self.linear.in_features**-0.5)
            nn.init.normal_(self.fc.weight, 0.0, 0.003)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps of the four stages of the ResNet, ``[B, width, S', S']`` to ``[B, 8 width, 4, 4]``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(arranged(images)))))
        maps = []
        for name in self.stages:
            x = getattr(self, name)(x)
            maps.append(x)
        return maps[-4:]

    def code(self, images: Tensor, last: Tensor) -> Tensor:
        """Code ``[B, code]`` from mean-free images and their last map."""
        if self.linear is None:
            return self.fc(last.mean((2, 3)))
        small = F.adaptive_avg_pool2d(images, LINEAR_SIDE)
        return self.fc(last.flatten(1)) + self.linear(LINEAR_GAIN * small.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        """Encode mean-free images ``[B, 3, S, S]`` as ``[B, code]``, without bound or normalisation."""
        return self.code(images, self.maps(images)[-1])


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs))

"""The network: dense convolutions with few channels, one map a point, and how sure each point is.

Places are the mean of a softmax over each map (integral regression: Sun et al., "Integral Human Pose Regression", ECCV
2018). The scale of a point's error is predicted beside it (Kendall and Gal, "What Uncertainties Do We Need in Bayesian
Deep Learning for Computer Vision?", NeurIPS 2017) from three things: the features where the map looks, what the
coarsest level says of the whole face, and how wide the map is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lineament.nn.soft_argmax import edge_aligned
from lineament.ops.tails import exp_without_tail

# Channels at strides 2, 4, 8 and 16, residual blocks at the last three of them, channels of the maps at stride 4.
WIDTHS, BLOCKS, FEATURES = (24, 48, 80, 128), (1, 2, 3), 64
# Pixels of the image to a pixel of the coarsest level: sides are multiples of it.
STRIDE = 16
# Least scale of an error, as a share of the image's side, and the scale that an untrained network begins with.
LEAST_SCALE, FIRST_SCALE = 0.001, 0.05


class Features(NamedTuple):
    """What the backbone makes of images.

    Attributes:
        fine: ``[B, F, S/4, S/4]``.
        coarse: ``[B, C]``, the mean of the coarsest level.
    """

    fine: Tensor
    coarse: Tensor


class Prediction(NamedTuple):
    """What the head says.

    Attributes:
        points: ``[B, K, 2]`` xy as shares of the image's side: 0 and 1 are its edges.
        scale: ``[B, K]`` predicted length of the error, in the same shares, larger than 0.
        seen: ``[B, K]`` logits of the point being seen.
        maps: ``[B, K, h, w]`` logarithm of each map's softmax where gradients are asked for, else without pixels.
    """

    points: Tensor
    scale: Tensor
    seen: Tensor
    maps: Tensor


class ConvNorm(nn.Module):
    """A 3x3 convolution and its batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise, without a rectifier."""
        normed: Tensor = self.norm(self.conv(x))
        return normed

    def fold(self) -> None:
        """Make the norm a part of the convolution, for inference."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Block(nn.Module):
    """A residual block (He et al., CVPR 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(width, width), ConvNorm(width, width)
        # A block is little at first.
        nn.init.constant_(cast(nn.BatchNorm2d, self.second.norm).weight, 0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Add what two convolutions make of ``x``."""
        return (self.second(self.first(x).relu_()) + x).relu_()


class Backbone(nn.Module):
    """Images to features at stride 4.

    Args:
        widths: Channels at strides 2, 4, 8 and 16.
        blocks: Residual blocks at strides 4, 8 and 16.
        features: Channels of the result.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        blocks: Sequence[int] = BLOCKS,
        features: int = FEATURES,
    ) -> None:
        super().__init__()
        self.start = ConvNorm(3, widths[0], 2)
        self.down = nn.ModuleList(ConvNorm(*pair, 2) for pair in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(count)))
            for width, count in zip(widths[1:], blocks, strict=True)
        )
        # What the whole face says, added everywhere at the coarsest level.
        self.context = nn.Linear(widths[-1], widths[-1])
        self.up = nn.ModuleList(ConvNorm(*pair) for pair in zip(widths[:1:-1], widths[-2:0:-1], strict=True))
        self.last = ConvNorm(widths[1], features)

    def forward(self, images: Tensor) -> Features:
        """Features of images ``[B, 3, S, S]`` in 0..1, S a multiple of 16."""
        x = (images - 0.5).contiguous(memory_format=torch.channels_last)
        x = self.start(x).relu_()
        levels = []
        for down, blocks in zip(self.down, self.blocks, strict=True):
            x = blocks(down(x).relu_())
            levels.append(x)
        coarse = x.mean((2, 3))
        x = x + self.context(coarse)[:, :, None, None]
        for up, level in zip(self.up, levels[-2::-1], strict=True):
            x = F.interpolate(up(x).relu_(), scale_factor=2.0) + level
        return Features(self.last(x).relu_(), coarse)

    def fold(self) -> Backbone:
        """Make every batch norm a part of its convolution; for inference alone, in place."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.requires_grad_(False)


class Head(nn.Module):
    """Features to K points.

    Args:
        points: K.
        features: Channels of the fine features.
        coarse: Length of the coarse ones.

    Attributes:
        temperature: Buffer: standard deviation per coordinate of a point's error, in predicted scales; fitted on
            held-out faces when a training ends (see :mod:`.calibrate`).
        visibility: Buffer: 1 once labels said which points are seen, else 0.
    """

    temperature: Tensor
    visibility: Tensor

    def __init__(self, points: int, features: int = FEATURES, coarse: int = WIDTHS[-1]) -> None:
        super().__init__()
        self.maps = nn.Conv2d(features, points, 1)
        nn.init.normal_(self.maps.weight, std=0.1 / features**0.5)
        nn.init.zeros_(cast(Tensor, self.maps.bias))
        # Scale and visibility of each point: from the features where its map looks, the whole face, the map's width.
        self.local = nn.Parameter(torch.zeros(2, points, features))
        self.whole = nn.Linear(coarse, 2 * points)
        nn.init.zeros_(self.whole.weight)
        nn.init.zeros_(self.whole.bias)
        self.width = nn.Parameter(torch.zeros(2, points))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("visibility", torch.zeros(()))

    def learn_scale_anew(self) -> None:
        """Forget scale and visibility, and keep the maps, so also the places, as they are."""
        self.maps.requires_grad_(False)
        for each in (self.local, self.whole.weight, self.whole.bias, self.width):
            nn.init.zeros_(each)

    def forward(self, fine: Tensor, coarse: Tensor, chosen: Tensor | None = None) -> Prediction:
        """Points from features, see :class:`Features`; only those of the indices ``chosen`` where they are given."""
        whole = self.whole(coarse).unflatten(1, (2, -1))
        local: Tensor = self.local
        width: Tensor = self.width
        if chosen is None:
            scores = self.maps(fine)
        else:
            bias = cast(Tensor, self.maps.bias)
            scores = F.conv2d(fine, self.maps.weight[chosen], bias[chosen])
            whole, local, width = whole[:, :, chosen], local[:, chosen], width[:, chosen]
        # Places below a pixel do not survive bfloat16.
        with torch.autocast(fine.device.type, enabled=False):
            return self._read(scores.float(), fine.float(), whole.float(), local, width)

    @staticmethod
    def _read(scores: Tensor, fine: Tensor, whole: Tensor, local: Tensor, wide: Tensor) -> Prediction:
        height, width = scores.shape[-2:]
        flat = scores.flatten(2)
        shifted = flat - flat.detach().amax(-1, keepdim=True)
        # The softmax of each map without its division, which is done where the sums are small.
        mass = exp_without_tail(shifted)  # [B, K, h w]
        x, y = edge_aligned(width, mass), edge_aligned(height, mass)
        ones = torch.ones(height * width, device=x.device)
        places = torch.stack([x.repeat(height), y.repeat_interleave(width), ones], 1)
        sums = mass @ places
        whole_mass = sums[..., 2:]
        points = sums[..., :2] / whole_mass
        with torch.no_grad():
            squares = (mass.detach() @ places[:, :2].square().sum(1)) / whole_mass[..., 0]
            spread = (squares - points.square().sum(-1)).clamp(min=1e-6).log()
        # The maps learn from the places alone.
        around = (mass.detach() @ fine.flatten(2).transpose(1, 2)) / whole_mass.detach()  # [B, K, F]
        said = torch.einsum("bkf,rkf->brk", around, local) + whole
        said = said + wide * spread[:, None]
        scale = FIRST_SCALE * said[:, 0].clamp(max=4.0).exp() + LEAST_SCALE
        if torch.is_grad_enabled():
            maps = (shifted - whole_mass.log()).unflatten(-1, (height, width))
        else:
            maps = shifted.new_empty(*shifted.shape[:2], 0, 0)
        return Prediction(points, scale, said[:, 1], maps)


def build_networks(
    points: int, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = BLOCKS, features: int = FEATURES
) -> dict[str, nn.Module]:
    """The two networks by name: what is taken over to another scheme, and what is not."""
    return {
        "backbone": Backbone(widths, blocks, features),
        "head": Head(points, features, widths[-1]),
    }


def head_buffer(head: nn.Module, name: str) -> Tensor:
    """The buffer ``temperature`` or ``visibility`` of a head, which training may have wrapped."""
    return next(buffer for key, buffer in head.named_buffers() if key.rpartition(".")[2] == name)


def predict(networks: Mapping[str, nn.Module], images: Tensor, chosen: Tensor | None = None) -> Prediction:
    """What backbone and head say of images ``[B, 3, S, S]``, of the points ``chosen`` ``[k]`` alone where given."""
    fine, coarse = networks["backbone"](images)
    head = networks["head"]
    # The head of inference gives all points.
    said: Prediction = head(fine, coarse) if chosen is None else head(fine, coarse, chosen)
    return said

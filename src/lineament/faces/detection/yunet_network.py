"""YuNet's network (Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023) and its published weights.

The network is built with the batch norms folded into the convolutions, and with the four heads of a level as one: their
convolutions have the same input and are depthwise or 1x1, so that joining their channels changes no number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lineament.errors import CheckpointError
from lineament.ops.allocator import reuse_freed_blocks

STRIDES = (8, 16, 32)
# Height and width of what the network looks at are multiples of this.
MULTIPLE = STRIDES[-1]
# Of the model "YuNet n" at github.com/ShiqiYu/libfacedetection.train (Apache-2.0, copyright 2022 Shiqi Yu), weights
# file of commit 0047ac24, its state dict as safetensors.
WEIGHTS = Path(__file__).parent / "weights" / "yunet_n.safetensors"
SHA256 = "d1c9d5aa4e0140c5f9de4f9b572cc85354e38d1a65a43090fc578a7c3ed9cb3f"

# Names in the published state dict, and channels, in the order in which the joined head gives them.
_HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_CHANNELS = 64
_EPSILON = 1e-5


class Level(NamedTuple):
    """Answers of the network for every cell of a grid, rows in raster order.

    Attributes:
        face: ``[N, h, w]`` probability that the cell shows a face ("cls").
        centred: ``[N, h, w]`` how well its box lies on one ("obj"), 0..1.
        box: ``[N, h, w, 4]`` centre from the cell's corner and logarithm of the size, in strides.
        points: ``[N, h, w, 5, 2]`` xy from the cell's corner, in strides.
    """

    face: Tensor
    centred: Tensor
    box: Tensor
    points: Tensor


class Unit(nn.Module):
    """A 1x1 convolution, then a depthwise 3x3 convolution, then ReLU."""

    def __init__(self, inputs: int, outputs: int, rectify: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        self.rectify = rectify

    def forward(self, x: Tensor) -> Tensor:
        """``[N, inputs, h, w]`` to ``[N, outputs, h, w]``."""
        x = self.conv2(self.conv1(x))
        return x.relu_() if self.rectify else x


class YunetNetwork(nn.Module):
    """The whole network: backbone, feature pyramid, heads at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        wide = _CHANNELS
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(Unit(16, 16)),
                nn.Sequential(Unit(16, 16), Unit(16, wide)),
                nn.Sequential(Unit(wide, wide), Unit(wide, wide)),
                nn.Sequential(Unit(wide, wide), Unit(wide, wide)),
                nn.Sequential(Unit(wide, wide), Unit(wide, wide)),
                nn.Sequential(Unit(wide, wide), Unit(wide, wide)),
            ]
        )
        self.laterals = nn.ModuleList([Unit(wide, wide) for _ in STRIDES])
        self.shared = nn.ModuleList([Unit(wide, wide) for _ in STRIDES])
        self.heads = nn.ModuleList([Unit(wide, sum(_HEADS.values()), rectify=False) for _ in STRIDES])

    def forward(self, pixels: Tensor) -> list[Level]:
        """Look at ``pixels`` ``[N, 3, H, W]``, BGR in 0..255, H and W multiples of 32.

        Returns:
            One :class:`Level` per stride, ``h = H / stride``.
        """
        x = self.stages[0](self.stem(pixels).relu_())
        x = self.stages[1](F.max_pool2d(x, 2))
        x = self.stages[2](x)
        features = []
        for stage in self.stages[3:]:
            x = stage(F.max_pool2d(x, 2))
            features.append(x)
        x = self.laterals[2](features[2])
        pyramid = [x]
        for lateral, feature in ((self.laterals[1], features[1]), (self.laterals[0], features[0])):
            x = lateral(F.interpolate(x, scale_factor=2.0, mode="nearest").add_(feature))
            pyramid.insert(0, x)
        levels = []
        for shared, head, feature in zip(self.shared, self.heads, pyramid, strict=True):
            answers = head(shared(feature)).permute(0, 2, 3, 1)  # [N, h, w, 16]
            face, centred = answers[..., :2].sigmoid().unbind(-1)
            levels.append(Level(face, centred, answers[..., 2:6], answers[..., 6:].unflatten(-1, (5, 2))))
        return levels


def fold(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the published state dict into that of :class:`YunetNetwork`: no batch norms, joined heads.

    Raises:
        KeyError: If a tensor is missing.
    """
    folded: dict[str, Tensor] = {}

    def put(name: str, weight: Tensor, bias: Tensor) -> None:
        folded[f"{name}.weight"], folded[f"{name}.bias"] = weight.detach(), bias.detach()

    def convolution(name: str, published: str, norm: str | None = None) -> None:
        weight, bias = state[f"{published}.weight"], state[f"{published}.bias"]
        if norm is not None:
            mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
            weight, bias = fuse_conv_bn_weights(
                weight, bias, mean, variance, _EPSILON, state[f"{norm}.weight"], state[f"{norm}.bias"]
            )
        put(name, weight, bias)

    def unit(name: str, published: str) -> None:
        convolution(f"{name}.conv1", f"{published}.conv1")
        convolution(f"{name}.conv2", f"{published}.conv2", f"{published}.bn")

    convolution("stem", "backbone.model0.conv1", "backbone.model0.bn1")
    unit("stages.0.0", "backbone.model0.conv2")
    for stage in range(1, 6):
        for part in (0, 1):
            unit(f"stages.{stage}.{part}", f"backbone.model{stage}.conv{part + 1}")
    for level in range(len(STRIDES)):
        unit(f"laterals.{level}", f"neck.lateral_convs.{level}")
        unit(f"shared.{level}", f"bbox_head.multi_level_share_convs.{level}.0")
        for kind in ("conv1", "conv2"):
            names = [f"bbox_head.multi_level_{head}.{level}.{kind}" for head in _HEADS]
            weights, biases = ([state[f"{name}.{what}"] for name in names] for what in ("weight", "bias"))
            put(f"heads.{level}.{kind}", torch.cat(weights), torch.cat(biases))
    return folded


def load_weights(path: Path = WEIGHTS, sha256: str = SHA256) -> dict[str, Tensor]:
    """Read the published state dict.

    Raises:
        CheckpointError: If the file is missing or not the one that was published.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot read the detector's weights ({error}): reinstall lineament."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CheckpointError(
            f"{path}: the detector's weights are damaged, their sha256 is {found} and not {sha256}: "
            "reinstall lineament."
        )
    return safetensors.torch.load(data)


@lru_cache(maxsize=4)
def load_network(device: str = "cpu") -> YunetNetwork:
    """Return the network with its weights, in eval mode, channels last, without gradients."""
    network = YunetNetwork()
    network.load_state_dict(fold(load_weights()))
    network.requires_grad_(False).eval().to(torch.device(device))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    reuse_freed_blocks()
    return network

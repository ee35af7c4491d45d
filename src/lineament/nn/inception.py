"""Inception v3 (Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016) as FID has it.

The network of FID was trained in TensorFlow, on 1008 classes. What differs from the usual one follows from that: a mean
over a border counts the pixels of the image alone, the last block takes maxima in place of means, and images are
resized as TensorFlow 1 did. Layers have the names of the published state dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lineament.errors import CheckpointError

SIDE, FEATURES, CLASSES = 299, 2048, 1008
Size = tuple[int, int]
# A layer of a branch: name, channels, kernel, stride.
Layer = tuple[str, int, Size, int]
# Layers after one another; a tuple at the end: two layers side by side.
Branch = list[Layer | tuple[Layer, Layer]]

_POINT, _ROW3, _COLUMN3, _ROW7, _COLUMN7 = (1, 1), (1, 3), (3, 1), (1, 7), (7, 1)


class ConvNorm(nn.Module):
    """A convolution, its batch norm and a rectifier."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = (0, 0)
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, rectify."""
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Make the norm a part of the convolution, for inference."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class Mixed(nn.Module):
    """Branches side by side, their channels one after another; the last branch begins with a pool of 3 pixels.

    Args:
        inputs: Channels.
        branches: Without the pool's.
        pool: ``"mean"`` or ``"max"`` with stride 1, or ``"halve"``: a maximum with stride 2.
        pooled: Channels of the layer ``branch_pool`` behind the pool; 0: there is none.
    """

    def __init__(self, inputs: int, branches: list[Branch], pool: str, pooled: int = 0) -> None:
        super().__init__()
        self.branches: list[list[tuple[str, ...]]] = []
        for branch in branches:
            channels, names = inputs, []
            for step in branch:
                layers = cast("tuple[Layer, ...]", step if isinstance(step[0], tuple) else (step,))
                for name, outputs, kernel, stride in layers:
                    around = (0, 0) if stride > 1 else (kernel[0] // 2, kernel[1] // 2)
                    self.add_module(name, ConvNorm(channels, outputs, kernel, stride, around))
                names.append(tuple(layer[0] for layer in layers))
                channels = layers[0][1]
            self.branches.append(names)
        self.pool = pool
        self.behind_pool = pooled > 0
        if pooled:
            self.branch_pool = ConvNorm(inputs, pooled, _POINT)

    def forward(self, x: Tensor) -> Tensor:
        """All branches of ``[B, C, H, W]``."""
        found = []
        for branch in self.branches:
            made = [x]
            for names in branch:
                made = [self.get_submodule(name)(made[0]) for name in names]
            found += made
        if self.pool == "mean":
            below = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        else:
            below = F.max_pool2d(x, 3, 2) if self.pool == "halve" else F.max_pool2d(x, 3, 1, 1)
        return torch.cat([*found, self.branch_pool(below) if self.behind_pool else below], 1)


def _mixed_5(inputs: int, pooled: int) -> Mixed:
    fives: Branch = [("branch5x5_1", 48, _POINT, 1), ("branch5x5_2", 64, (5, 5), 1)]
    threes: Branch = [("branch3x3dbl_1", 64, _POINT, 1)]
    threes += [(f"branch3x3dbl_{place}", 96, (3, 3), 1) for place in (2, 3)]
    return Mixed(inputs, [[("branch1x1", 64, _POINT, 1)], fives, threes], "mean", pooled)


def _mixed_6a() -> Mixed:
    twice: Branch = [("branch3x3dbl_1", 64, _POINT, 1), ("branch3x3dbl_2", 96, (3, 3), 1)]
    return Mixed(288, [[("branch3x3", 384, (3, 3), 2)], [*twice, ("branch3x3dbl_3", 96, (3, 3), 2)]], "halve")


def _mixed_6(width: int) -> Mixed:
    once: Branch = [("branch7x7_1", width, _POINT, 1), ("branch7x7_2", width, _ROW7, 1)]
    twice: Branch = [("branch7x7dbl_1", width, _POINT, 1), ("branch7x7dbl_2", width, _COLUMN7, 1)]
    twice += [("branch7x7dbl_3", width, _ROW7, 1), ("branch7x7dbl_4", width, _COLUMN7, 1)]
    branches: list[Branch] = [
        [("branch1x1", 192, _POINT, 1)],
        [*once, ("branch7x7_3", 192, _COLUMN7, 1)],
        [*twice, ("branch7x7dbl_5", 192, _ROW7, 1)],
    ]
    return Mixed(768, branches, "mean", 192)


def _mixed_7a() -> Mixed:
    sevens: Branch = [("branch7x7x3_1", 192, _POINT, 1), ("branch7x7x3_2", 192, _ROW7, 1)]
    sevens += [("branch7x7x3_3", 192, _COLUMN7, 1), ("branch7x7x3_4", 192, (3, 3), 2)]
    return Mixed(768, [[("branch3x3_1", 192, _POINT, 1), ("branch3x3_2", 320, (3, 3), 2)], sevens], "halve")


def _mixed_7(inputs: int, pool: str) -> Mixed:
    once: Branch = [("branch3x3_1", 384, _POINT, 1)]
    once += [(("branch3x3_2a", 384, _ROW3, 1), ("branch3x3_2b", 384, _COLUMN3, 1))]
    twice: Branch = [("branch3x3dbl_1", 448, _POINT, 1), ("branch3x3dbl_2", 384, (3, 3), 1)]
    twice += [(("branch3x3dbl_3a", 384, _ROW3, 1), ("branch3x3dbl_3b", 384, _COLUMN3, 1))]
    return Mixed(inputs, [[("branch1x1", 320, _POINT, 1)], once, twice], pool, 192)


class InceptionV3(nn.Module):
    """The network of FID, up to the mean over its last map; layers are built with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, (3, 3), 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, (3, 3), 1, (1, 1))
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, _POINT)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, (3, 3))
        self.Mixed_5b = _mixed_5(192, 32)
        self.Mixed_5c = _mixed_5(256, 64)
        self.Mixed_5d = _mixed_5(288, 64)
        self.Mixed_6a = _mixed_6a()
        self.Mixed_6b = _mixed_6(128)
        self.Mixed_6c = _mixed_6(160)
        self.Mixed_6d = _mixed_6(160)
        self.Mixed_6e = _mixed_6(192)
        self.Mixed_7a = _mixed_7a()
        self.Mixed_7b = _mixed_7(1280, "mean")
        self.Mixed_7c = _mixed_7(2048, "max")
        # Not used; the published file has it.
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``[B, 2048]`` of images ``[B, 3, H, W]`` in levels 0..255, of any size."""
        x = (resize_like_tensorflow(images, SIDE) - 128) / 128
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))

    def load(self, state: Mapping[str, object], name: str = "the file") -> InceptionV3:
        """Take the published weights, every one of them and no other, and make the norms parts of the convolutions.

        Args:
            state: Tensors by their names; counts of batches (``num_batches_tracked``) may be there.
            name: Of the file, for messages.

        Raises:
            CheckpointError: If a tensor is missing, of another shape or not finite, or there is one too many.
        """
        own = {
            key: value for key, value in self.state_dict().items() if not key.endswith("num_batches_tracked")
        }
        given = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        differing = [key for key in (*own, *given) if key not in own or key not in given]
        if differing:
            what = "has no" if differing[0] in own else "has a tensor too many:"
            more = f" (and {len(differing) - 1} more names differ)" if len(differing) > 1 else ""
            raise CheckpointError(
                f"{name} is not the Inception network of FID: it {what} {differing[0]}{more}: "
                "give the published pt_inception-2015-12-05 state dict."
            )
        for key, value in own.items():
            found = given[key]
            if (
                not isinstance(found, Tensor)
                or found.shape != value.shape
                or not bool(found.isfinite().all())
            ):
                shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise CheckpointError(
                    f"{name} is not the Inception network of FID: {key} must be finite numbers {list(value.shape)}, "
                    f"not {shape}."
                )
            value.copy_(found)
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.eval().fold()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.eval().requires_grad_(False)


def resize_like_tensorflow(images: Tensor, side: int) -> Tensor:
    """Resize ``[B, C, H, W]`` to squares as bilinear resizing of TensorFlow 1 did.

    Pixel i of the result lies at i * (old size) / (new size) of the old pixels, so that the first ones lie on one
    another and what is beyond the last one repeats it; large images are not smoothed.
    """
    height, width = images.shape[-2:]
    down, across = (_weights(old, side, images) for old in (height, width))
    return down @ images.float() @ across.mT


def _weights(old: int, new: int, like: Tensor) -> Tensor:
    """``[new, old]`` of each old pixel in each new one."""
    if old == new:
        return torch.eye(old, device=like.device)
    places = torch.arange(new, device=like.device, dtype=torch.float32) * (old / new)
    first = places.floor().long()
    share = (places - first)[:, None]
    one, two = (F.one_hot((first + step).clamp(max=old - 1), old).float() for step in (0, 1))
    return (1 - share) * one + share * two

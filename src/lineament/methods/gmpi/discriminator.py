"""StyleGAN2's residual discriminator, and GMPI's, which also judges by the camera's pose."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lineament.errors import CheckpointError, UsageError
from lineament.nn.channels_last import arranged
from lineament.nn.stylegan2.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    minibatch_std,
    normalize_2nd_moment,
)
from lineament.nn.stylegan2.synthesis import channels_at, low_precision_from, resolutions_up_to

HALVED = 0.5**0.5


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second at half the size, beside a 1x1 one.

    Args:
        in_channels: Inputs.
        out_channels: Outputs.
        image_channels: Of the image that the first block reads instead of features; 0: features are read.
        clamp: Largest magnitude of the layers' outputs; None: not clamped.
        low_precision: What it is computed in (float16 or bfloat16); None: as the weights are.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        image_channels: int = 0,
        clamp: float | None = None,
        low_precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.low_precision = low_precision
        self.fromrgb: EqualizedConv2d | None = None
        if image_channels:
            self.fromrgb = EqualizedConv2d(image_channels, in_channels, 1, activation="lrelu", clamp=clamp)
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3, activation="lrelu", clamp=clamp)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, activation="lrelu", down=2, clamp=clamp)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, bias=False, down=2)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in, H, W]`` (or the image) to ``[B, out, H / 2, W / 2]``."""
        x = x.to(self.low_precision or self.conv0.weight.dtype)
        x = arranged(x) if x.device.type == "cpu" else x
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        beside = self.skip(x, HALVED)
        out: Tensor = beside + self.conv1(self.conv0(x), HALVED)
        return out


class DiscriminatorEpilogue(nn.Module):
    """How much samples differ, a convolution and two linear layers: features of 4 x 4 to a vector.

    Args:
        channels: Of the features.
        outputs: Length of the vector.
        group: See :func:`lineament.nn.stylegan2.layers.minibatch_std`.
        use_std: False appends zeros instead.
        clamp: Largest magnitude of the convolution's output; None: not clamped.
    """

    def __init__(
        self, channels: int, outputs: int, *, group: int | None, use_std: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.group, self.use_std = group, use_std
        self.conv = EqualizedConv2d(channels + 1, channels, 3, activation="lrelu", clamp=clamp)
        self.fc = EqualizedLinear(channels * 16, channels, activation="lrelu")
        self.out = EqualizedLinear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, channels, 4, 4]`` to ``[B, outputs]``."""
        x = x.to(self.conv.weight.dtype).contiguous()
        x = minibatch_std(x, self.group) if self.use_std else torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        out: Tensor = self.out(self.fc(self.conv(x).flatten(1)))
        return out


class Discriminator(nn.Module):
    """Images, and poses where it was built for them, to scores: the greater, the more real.

    With a pose, the score is the product of the image's vector with an embedding of the pose.

    Args:
        resolution: Side of the images, a power of two.
        pose_dim: Length of the pose: 16 (a flat 4 x 4 matrix from world to camera), 9 (its rotation), 0 (none).
        channel_base: See :class:`lineament.methods.gmpi.generator.StyleGAN2Generator`, as the next ones.
        channel_max: Most channels.
        conv_clamp: Largest magnitude of the layers' outputs; None: not clamped.
        std_group: Samples of a group of the minibatch standard deviation; None: all. GMPI: 1, which makes a sample's
            score independent of the others. StyleGAN2: 4.
        use_std: False: zeros instead of the minibatch standard deviation.
        embedding_dim: Length of the pose's embedding.
        low_precision: What the first blocks are computed in; None: all as their weights are.
        low_precision_blocks: How many they are.

    Raises:
        UsageError: If the resolution is no power of two.
    """

    def __init__(
        self,
        resolution: int,
        *,
        pose_dim: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        conv_clamp: float | None = None,
        std_group: int | None = 4,
        use_std: bool = True,
        embedding_dim: int = 16,
        low_precision: torch.dtype | None = None,
        low_precision_blocks: int = 4,
    ) -> None:
        super().__init__()
        self.resolution, self.pose_dim = resolution, pose_dim
        sides = resolutions_up_to(resolution)
        coarse = low_precision_from(resolution, low_precision_blocks)
        self.sides = sides[:0:-1]
        for side in self.sides:
            block = DiscriminatorBlock(
                channels_at(side, channel_base, channel_max),
                channels_at(side // 2, channel_base, channel_max),
                image_channels=3 if side == resolution else 0,
                clamp=conv_clamp,
                low_precision=low_precision if side >= coarse else None,
            )
            self.add_module(f"b{side}", block)
        self.mapping = nn.Linear(pose_dim, embedding_dim) if pose_dim else None
        self.b4 = DiscriminatorEpilogue(
            channels_at(4, channel_base, channel_max),
            embedding_dim if pose_dim else 1,
            group=std_group,
            use_std=use_std,
            clamp=conv_clamp,
        )

    def forward(self, image: Tensor, pose: Tensor | None = None) -> Tensor:
        """Score images.

        Args:
            image: ``[B, 3, R, R]``, -1..1.
            pose: ``[B, pose_dim]``; None where it takes none.

        Returns:
            ``[B, 1]``.

        Raises:
            UsageError: If a pose is missing, or the shapes are others.
        """
        if tuple(image.shape[1:]) != (3, self.resolution, self.resolution):
            raise UsageError(
                f"images must be [B, 3, {self.resolution}, {self.resolution}], got {list(image.shape)}."
            )
        x = image
        for side in self.sides:
            x = self.get_submodule(f"b{side}")(x)
        vector: Tensor = self.b4(x)
        if self.mapping is None:
            return vector
        if pose is None or tuple(pose.shape) != (len(image), self.pose_dim):
            found = "none" if pose is None else list(pose.shape)
            raise UsageError(f"this discriminator needs poses [{len(image)}, {self.pose_dim}], got {found}.")
        embedding = normalize_2nd_moment(self.mapping(pose.to(vector.dtype)))
        return (vector * embedding).sum(dim=1, keepdim=True) * embedding.shape[1] ** -0.5


@torch.no_grad()
def load_unconditional(discriminator: Discriminator, state: Mapping[str, Tensor]) -> list[str]:
    """Take the weights of an unconditional discriminator over.

    Its one row of the last layer becomes every row of one that takes poses, whose scores then are the old ones times
    the sum of the pose's embedding over the root of its length.

    Args:
        discriminator: With or without poses.
        state: Of an unconditional discriminator of the same size, names as ours.

    Returns:
        Names of parameters that the state lacks (those of the pose's embedding), which stay as they are.

    Raises:
        CheckpointError: If a shape does not fit, or anything else is missing; nothing is changed then.
    """
    own = dict(discriminator.named_parameters())
    missing = [name for name in own if name not in state]
    lacking = [name for name in missing if not name.startswith("mapping.")]
    if lacking:
        raise CheckpointError(
            f"the discriminator's file lacks {lacking[0]} and {len(lacking) - 1} more weights."
        )
    taken: dict[str, Tensor] = {}
    for name, parameter in own.items():
        if name in missing:
            continue
        value = state[name]
        if name.startswith("b4.out.") and len(value) == 1:
            value = value.expand_as(parameter)
        if value.shape != parameter.shape:
            raise CheckpointError(
                f"the discriminator's {name} is {list(value.shape)} in the file and {list(parameter.shape)} here: give "
                "one of the same resolution."
            )
        taken[name] = value
    for name, value in taken.items():
        own[name].copy_(value)
    return missing

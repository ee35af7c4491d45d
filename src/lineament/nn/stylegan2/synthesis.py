"""StyleGAN2's synthesis network: from styles to features of growing size, and from features to an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lineament.errors import UsageError, unknown_name
from lineament.nn.channels_last import arranged
from lineament.nn.stylegan2.bias_act import bias_act
from lineament.nn.stylegan2.layers import EqualizedLinear
from lineament.nn.stylegan2.modulation import modulated_conv2d, pointwise
from lineament.nn.upfirdn import TAPS, fir_filter, upsample2d

NOISE_MODES = ("random", "const", "none")


def channels_at(resolution: int, base: int, largest: int) -> int:
    """Channels of a block of the generator or discriminator."""
    return min(base // resolution, largest)


def resolutions_up_to(resolution: int) -> list[int]:
    """4, 8, ... to ``resolution``.

    Raises:
        UsageError: If it is not a power of two from 8 on.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise UsageError(f"the resolution must be a power of two such as 64 or 256, not {resolution}.")
    return [1 << power for power in range(2, resolution.bit_length())]


def low_precision_from(resolution: int, blocks: int) -> int:
    """Least resolution of the ``blocks`` last blocks, but never below 8: what mixed precision is for."""
    return max(resolution >> (blocks - 1), 8) if blocks > 0 else resolution + 1


@dataclass(frozen=True)
class BlockSize:
    """Of one block: channels in and out, side of its maps, and what it is computed in (None: as its weights are)."""

    in_channels: int
    out_channels: int
    resolution: int
    low_precision: torch.dtype | None


def block_sizes(
    resolution: int, channel_base: int, channel_max: int, low_precision: torch.dtype | None, blocks: int
) -> list[BlockSize]:
    """The blocks of a generator, the coarsest first, of which the last ``blocks`` have the low precision.

    Raises:
        UsageError: If the resolution is no power of two.
    """
    sizes: list[BlockSize] = []
    coarse = low_precision_from(resolution, blocks)
    before = 0
    for side in resolutions_up_to(resolution):
        channels = channels_at(side, channel_base, channel_max)
        sizes.append(BlockSize(before, channels, side, low_precision if side >= coarse else None))
        before = channels
    return sizes


class SynthesisLayer(nn.Module):
    """A modulated 3x3 convolution, noise, bias and leaky ReLU.

    Args:
        in_channels: Inputs.
        out_channels: Outputs.
        w_dim: Length of the styles' latents.
        resolution: Side of the output.
        up: Factor of upsampling.
        clamp: Largest magnitude of the output; None: not clamped.
    """

    noise_const: Tensor
    f: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up: int = 1,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.clamp = resolution, up, clamp
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("f", fir_filter(TAPS), persistent=False)

    def forward(
        self, x: Tensor, w: Tensor, noise_mode: str = "random", generator: torch.Generator | None = None
    ) -> Tensor:
        """``[B, in, H, W]`` and ``w [B, w_dim]`` to ``[B, out, resolution, resolution]``.

        Args:
            x: Features.
            w: Latents.
            noise_mode: ``"random"``: drawn anew for each sample; ``"const"``: the same as ever; ``"none"``.
            generator: Source of random noise; None: torch's own.

        Raises:
            UsageError: If the noise mode is unknown.
        """
        x = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            noise=self._noise(len(x), noise_mode, generator),
            f=self.f,
            up=self.up,
            padding=1,
            flip_weight=self.up == 1,
        )
        return bias_act(x, self.bias, "lrelu", clamp=self.clamp)

    def _noise(self, batch: int, mode: str, generator: torch.Generator | None) -> Tensor | None:
        if mode == "none":
            return None
        if mode == "const":
            return self.noise_const * self.noise_strength
        if mode == "random":
            size = (batch, 1, self.resolution, self.resolution)
            like = self.noise_const
            return (
                torch.randn(size, generator=generator, dtype=like.dtype, device=like.device)
                * self.noise_strength
            )
        raise unknown_name("noise mode", mode, NOISE_MODES)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution without demodulation: features to an image, in the precision of the weights.

    Args:
        in_channels: Inputs.
        out_channels: Outputs.
        w_dim: Length of the styles' latents.
        clamp: Largest magnitude of the output; None: not clamped.
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def weights(self, w: Tensor) -> Tensor:
        """Weights of each sample ``[B, out, in]`` for ``w [B, w_dim]``."""
        styles = self.affine(w) * self.weight.shape[1] ** -0.5
        return self.weight[None, :, :, 0, 0] * styles[:, None]

    def finish(self, y: Tensor) -> Tensor:
        """Bias and clamp of ``[B, out, H, W]``."""
        return bias_act(y.to(self.bias.dtype), self.bias, clamp=self.clamp)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``[B, in, H, W]`` and ``w [B, w_dim]`` to ``[B, out, H, W]``."""
        return self.finish(pointwise(x, self.weights(w).to(x.dtype)))


class SynthesisBlock(nn.Module):
    """Features of one resolution, and the image that is summed up over the resolutions ("skip" architecture).

    The first block, of 4 x 4, begins with a learnt constant; the others upsample.

    Args:
        in_channels: Of the block before; not used by the first.
        out_channels: Of this one.
        w_dim: Length of the styles' latents.
        resolution: Side of the output.
        clamp: Largest magnitude of the layers' outputs; None: not clamped.
        low_precision: What features are computed in (float16 or bfloat16); None: as the weights are.
    """

    f: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        clamp: float | None = None,
        low_precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.resolution, self.low_precision = resolution, low_precision
        self.first = resolution == 4
        if self.first:
            self.const = nn.Parameter(torch.randn(out_channels, 4, 4))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, up=2, clamp=clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, clamp=clamp)
        self.torgb = ToRGB(out_channels, 3, w_dim, clamp)
        self.register_buffer("f", fir_filter(TAPS), persistent=False)

    @property
    def layers(self) -> int:
        """Convolutions, each of which takes a w of its own."""
        return 1 if self.first else 2

    def features(
        self,
        x: Tensor | None,
        ws: Tensor,
        noise_mode: str = "random",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Features of this resolution.

        Args:
            x: ``[B, in, H / 2, W / 2]``; None for the first block.
            ws: ``[B, layers + 1, w_dim]``, the last for the image.
            noise_mode: See :class:`SynthesisLayer`.
            generator: Source of random noise.

        Returns:
            ``[B, out, H, W]``.
        """
        if self.first:
            x = self.const[None].expand(len(ws), -1, -1, -1)
        assert x is not None
        x = x.to(self.low_precision or self.conv1.weight.dtype)
        if not self.first:
            # On a GPU the order of memory follows the weights'.
            x = arranged(x) if x.device.type == "cpu" and self.resolution > x.shape[-1] else x
            x = self.conv0(x, ws[:, 0], noise_mode, generator)
        x = arranged(x) if x.device.type == "cpu" else x
        out: Tensor = self.conv1(x, ws[:, self.layers - 1], noise_mode, generator)
        return out

    def upsampled(self, image: Tensor | None, added: Tensor | None) -> Tensor | None:
        """The image of the block before at twice its size, and this one's added; None stands for zero."""
        if image is None:
            return added
        larger = upsample2d(image, self.f)
        return larger if added is None else larger + added

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Tensor,
        noise_mode: str = "random",
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Features and image ``[B, 3, H, W]`` of this resolution; arguments as in :meth:`features`."""
        x = self.features(x, ws, noise_mode, generator)
        image = self.upsampled(image, self.torgb(x, ws[:, self.layers]))
        assert image is not None
        return x, image


def latents_of_blocks(ws: Tensor, blocks: list[SynthesisBlock]) -> list[Tensor]:
    """Cut ``ws [B, num_ws, w_dim]`` for the blocks; the w of a block's image is that of the next one's first layer."""
    cuts, start = [], 0
    for block in blocks:
        cuts.append(ws[:, start : start + block.layers + 1])
        start += block.layers
    return cuts


class Synthesis(nn.Module):
    """StyleGAN2's synthesis network: latents of its layers to images.

    Args:
        blocks: The coarsest first; kept as ``b4``, ``b8``, ...

    Attributes:
        num_ws: Latents that a sample needs.
    """

    def __init__(self, blocks: Sequence[SynthesisBlock]) -> None:
        super().__init__()
        self.resolutions = [block.resolution for block in blocks]
        for block in blocks:
            self.add_module(f"b{block.resolution}", block)
        self.num_ws = 2 * len(blocks)

    @property
    def blocks(self) -> list[SynthesisBlock]:
        """The blocks, the coarsest first."""
        found: list[SynthesisBlock] = [getattr(self, f"b{side}") for side in self.resolutions]
        return found

    def forward(
        self, ws: Tensor, *, noise_mode: str = "random", generator: torch.Generator | None = None
    ) -> Tensor:
        """``ws [B, num_ws, w_dim]`` to images ``[B, 3, R, R]``; noise as in :class:`SynthesisLayer`."""
        x = image = None
        for block, own in zip(self.blocks, latents_of_blocks(ws, self.blocks), strict=True):
            x, image = block(x, image, own, noise_mode, generator)
        assert image is not None
        return image.contiguous()

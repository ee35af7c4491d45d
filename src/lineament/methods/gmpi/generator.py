"""StyleGAN2's generator with skip connections, and GMPI's, which makes multiplane images of it.

Karras et al., "Analyzing and improving the image quality of StyleGAN" (2020); Zhao et al., "Generative multiplane
images" (2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lineament.errors import UsageError, unknown_name
from lineament.methods.gmpi.alpha import (
    PlaneEmbedding,
    PlaneTokens,
    Variant,
    centred_and_std,
    check_planes,
    depth_to_alpha,
    resolve_variant,
    side_columns,
    side_width,
    stretch_sides,
)
from lineament.nn.stylegan2.mapping import MappingNetwork
from lineament.nn.stylegan2.modulation import pointwise
from lineament.nn.stylegan2.synthesis import (
    SynthesisBlock,
    ToRGB,
    channels_at,
    latents_of_blocks,
    low_precision_from,
    resolutions_up_to,
)

FINAL_ACTIVATIONS = ("tanh", "sigmoid", "none")


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
        """``ws [B, num_ws, w_dim]`` to images ``[B, 3, R, R]``; arguments as in :class:`StyleGAN2Generator`."""
        x = image = None
        for block, own in zip(self.blocks, latents_of_blocks(ws, self.blocks), strict=True):
            x, image = block(x, image, own, noise_mode, generator)
        assert image is not None
        return image.contiguous()


class StyleGAN2Generator(nn.Module):
    """Latents to images.

    Args:
        resolution: Side of the images, a power of two.
        z_dim: Length of z.
        w_dim: Length of w.
        channel_base: A block has this over its resolution channels (published: 16384 at 256 px, 32768 above) ...
        channel_max: ... but at most this many.
        mapping_layers: Fully connected layers from z to w.
        conv_clamp: Largest magnitude of the layers' outputs (published: 256 with float16); None: not clamped.
        low_precision: What the last blocks are computed in: float16, which was published, or bfloat16; None: all as
            their weights are.
        low_precision_blocks: How many these blocks are.

    Attributes:
        mapping: z to w; :class:`MappingNetwork`.
        synthesis: w to images; :class:`Synthesis`.
    """

    def __init__(
        self,
        resolution: int,
        *,
        z_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        conv_clamp: float | None = None,
        low_precision: torch.dtype | None = None,
        low_precision_blocks: int = 4,
    ) -> None:
        super().__init__()
        self.resolution, self.z_dim, self.w_dim = resolution, z_dim, w_dim
        sizes = block_sizes(resolution, channel_base, channel_max, low_precision, low_precision_blocks)
        self.synthesis = Synthesis(
            [SynthesisBlock(w_dim=w_dim, clamp=conv_clamp, **vars(size)) for size in sizes]
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, w_dim, self.num_ws, layers=mapping_layers)

    # What a training calls besides forward: styles of two latents are mixed, and lengths of paths begin at styles.
    forward_methods = ("styles", "images")

    def styles(self, z: Tensor) -> Tensor:
        """Latents ``[B, z_dim]`` to ``ws [B, num_ws, w_dim]``."""
        ws: Tensor = self.mapping(z)
        return ws

    def images(self, ws: Tensor) -> Tensor:
        """``ws [B, num_ws, w_dim]`` to images ``[B, 3, R, R]``, with random noise."""
        made: Tensor = self.synthesis(ws)
        return made

    def forward(
        self,
        z: Tensor,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Make images.

        Args:
            z: ``[B, z_dim]`` unit normal.
            truncation_psi: See :class:`MappingNetwork`, as the next one.
            truncation_cutoff: Layers that truncation holds for.
            noise_mode: ``"random"``, ``"const"`` or ``"none"``.
            generator: Source of random noise; None: torch's own.

        Returns:
            ``[B, 3, R, R]``, about -1..1.
        """
        ws = self.mapping(z, truncation_psi, truncation_cutoff)
        image: Tensor = self.synthesis(ws, noise_mode=noise_mode, generator=generator)
        return image


class MultiplaneImages(NamedTuple):
    """Multiplane images; all values 0..1.

    Attributes:
        alpha: ``[B, P, R, R]`` opacity, the nearest plane first.
        colour: ``[B, 3, R, R]`` that all planes but the last share.
        background: ``[B, 3, R, R]`` colour of the last plane.
    """

    alpha: Tensor
    colour: Tensor
    background: Tensor

    def rgba(self) -> Tensor:
        """All planes with their colours, ``[B, P, 4, R, R]``: four times the memory of alpha."""
        batch, planes, *size = self.alpha.shape
        full = self.alpha.new_empty(batch, planes, 4, *size)
        full[:, :-1, :3] = self.colour[:, None]
        full[:, -1, :3] = self.background
        full[:, :, 3] = self.alpha
        return full


class MultiplaneBlock(SynthesisBlock):
    """A block of StyleGAN2 that also makes the background's colour and what alpha is made of.

    Args:
        in_channels: See :class:`SynthesisBlock`, as the next four.
        out_channels: Of this block.
        w_dim: Length of the styles' latents.
        resolution: Side of the output.
        clamp: Largest magnitude of the layers' outputs.
        low_precision: What features are computed in.
        variant: How alpha comes about; None where this block makes none.
        plane_depths: ``[P]`` normalised depths of the planes of training.
        background_ratio: Share of the image's width that the background keeps at each side.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        clamp: float | None,
        low_precision: torch.dtype | None,
        variant: Variant | None,
        plane_depths: Tensor,
        background_ratio: float,
    ) -> None:
        super().__init__(
            in_channels, out_channels, w_dim, resolution, clamp=clamp, low_precision=low_precision
        )
        self.side = side_width(resolution, background_ratio)
        self.plane_embedding: PlaneEmbedding | PlaneTokens | None = None
        self.toalpha: ToRGB | None = None
        self.todepth: ToRGB | None = None
        if variant is None:
            return
        if variant.name == "predicted-depth":
            self.todepth = ToRGB(out_channels, 1, w_dim, clamp)
            return
        if variant.name == "plane-depth":
            self.plane_embedding = PlaneEmbedding(out_channels, w_dim, clamp)
        elif variant.name == "plane-token":
            self.plane_embedding = PlaneTokens(out_channels, plane_depths)
        outputs = len(plane_depths) if self.plane_embedding is None else 1
        self.toalpha = ToRGB(out_channels, outputs, w_dim, clamp)

    def multiplane(
        self,
        x: Tensor | None,
        colours: Tensor | None,
        opacity: Tensor | None,
        ws: Tensor,
        depths: Tensor,
        noise_mode: str,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Add what this resolution makes.

        Args:
            x: Features of the block before; None for the first, as the next two.
            colours: ``[B, 6, H / 2, W / 2]`` colour and background up to the block before.
            opacity: ``[B, P, H / 2, W / 2]`` likewise before the final activation; ``[B, 1, ...]`` a depth.
            ws: ``[B, layers + 1, w_dim]``.
            depths: ``[P]`` normalised depths of the planes.
            noise_mode: See :class:`SynthesisLayer`.
            generator: Source of random noise.

        Returns:
            The three of this resolution.
        """
        x = self.features(x, ws, noise_mode, generator)
        for_layer, for_image = ws[:, self.layers - 1], ws[:, self.layers]
        colours = self.upsampled(colours, self._colours(x, for_image))
        opacity = self.upsampled(opacity, self._opacity(x, for_layer, for_image, depths))
        assert colours is not None
        return x, colours, opacity

    def _colours(self, x: Tensor, w: Tensor) -> Tensor:
        """Colour and background. The convolution of stretched features is the stretched convolution of them."""
        weights = self.torgb.weights(w).to(x.dtype)
        colour = pointwise(x, weights)
        if torch.is_grad_enabled() and x.requires_grad:
            # The background teaches the weights and not the features.
            sides = pointwise(side_columns(x.detach(), self.side), weights)
        else:
            sides = side_columns(colour, self.side)
        background = stretch_sides(sides, self.resolution, self.side)
        return torch.cat([self.torgb.finish(colour), self.torgb.finish(background)], dim=1)

    def _opacity(self, x: Tensor, for_layer: Tensor, for_image: Tensor, depths: Tensor) -> Tensor | None:
        """What alpha or depth is made of, before the final activation."""
        if self.todepth is not None:
            depth: Tensor = self.todepth(x, for_image)
            return depth
        if self.toalpha is None:
            return None
        if self.plane_embedding is None:
            alpha: Tensor = self.toalpha(x, for_image)
            return alpha
        return self.summed(*self._opacity_parts(x, for_layer, for_image, depths))

    def _opacity_parts(
        self, x: Tensor, for_layer: Tensor, for_image: Tensor, depths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What all planes share, ``[B, 1, H, W]``, and what is added for each, ``[B, P, 1, 1]``."""
        assert self.toalpha is not None and self.plane_embedding is not None
        # toalpha(normalised x + e_p) is linear: one map for all planes and one number for each.
        weights = self.toalpha.weights(for_image)
        centred, std = centred_and_std(x.to(weights.dtype))
        shared = pointwise(centred, weights / std[:, None])
        vectors = self.plane_embedding(for_layer, depths)
        of_planes = (vectors @ weights.transpose(1, 2) + self.toalpha.bias)[..., None]
        return shared, of_planes

    def summed(self, shared: Tensor, of_planes: Tensor) -> Tensor:
        """What both parts make for each plane: ``[B, P, H, W]``."""
        assert self.toalpha is not None
        summed, clamp = shared + of_planes, self.toalpha.clamp
        return summed if clamp is None else summed.clamp_(-clamp, clamp)

    def opacity_parts(
        self,
        x: Tensor | None,
        ws: Tensor,
        depths: Tensor,
        noise_mode: str,
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Features of this resolution and, where it makes alpha, its parts; arguments as of :meth:`multiplane`."""
        x = self.features(x, ws, noise_mode, None)
        if self.plane_embedding is None:
            return x, None
        return x, self._opacity_parts(x, ws[:, self.layers - 1], ws[:, self.layers], depths)


class MultiplaneSynthesis(Synthesis):
    """Latents of the layers to multiplane images.

    Args:
        blocks: The coarsest first.
        variant: How alpha comes about.
        final_activation: What takes colours and alpha to 0..1: ``"tanh"`` (published), ``"sigmoid"`` or ``"none"``.
        background_alpha_full: Whether the last plane is opaque, in the variants with a vector for each plane.
        depth_ramp: Half the ramp of alpha around a predicted depth.

    Raises:
        UsageError: If the activation is unknown.
    """

    def __init__(
        self,
        blocks: Sequence[MultiplaneBlock],
        *,
        variant: Variant,
        final_activation: str,
        background_alpha_full: bool,
        depth_ramp: float,
    ) -> None:
        super().__init__(blocks)
        if final_activation not in FINAL_ACTIVATIONS:
            raise unknown_name("final activation", final_activation, FINAL_ACTIVATIONS)
        self.variant, self.final_activation = variant, final_activation
        self.background_alpha_full, self.depth_ramp = background_alpha_full and variant.per_plane, depth_ramp

    def forward(  # type: ignore[override]
        self,
        ws: Tensor,
        depths: Tensor,
        *,
        noise_mode: str = "random",
        generator: torch.Generator | None = None,
    ) -> MultiplaneImages:
        """``ws [B, num_ws, w_dim]`` and ``depths [P]`` to P planes; arguments as in :class:`GMPIGenerator`."""
        colours, opacity = self._summed_maps(ws, depths, noise_mode, generator)
        if self.background_alpha_full:
            # Every activation takes it to exactly 1, with no gradient.
            opacity[:, -1] = torch.inf
        colour, background = self._activated(colours).chunk(2, dim=1)
        opacity = self._activated(opacity)
        if self.variant.name == "predicted-depth":
            opacity = depth_to_alpha(opacity, depths, self.depth_ramp)
        return MultiplaneImages(opacity.contiguous(), colour.contiguous(), background.contiguous())

    def _summed_maps(
        self, ws: Tensor, depths: Tensor, noise_mode: str, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Colours, and what alpha is made of, of all resolutions, before the final activation."""
        x = colours = opacity = None
        for block, own in zip(self.blocks, latents_of_blocks(ws, self.blocks), strict=True):
            assert isinstance(block, MultiplaneBlock)
            x, colours, opacity = block.multiplane(x, colours, opacity, own, depths, noise_mode, generator)
        assert colours is not None and opacity is not None
        return colours, opacity

    def opacities(self, ws: Tensor, depths: Tensor, batch: int, noise_mode: str) -> Iterator[Tensor]:
        """Opacities of many planes, ``batch`` at a time, from one pass of the features; no plane is made opaque.

        Args:
            ws: ``[B, num_ws, w_dim]``.
            depths: ``[P]`` normalised depths.
            batch: Planes of a part.
            noise_mode: See :class:`SynthesisLayer`.

        Yields:
            ``[B, n, R, R]`` in 0..1.
        """
        if not self.variant.per_plane:
            maps = self._activated(self._summed_maps(ws, depths, noise_mode, None)[1])
            if self.variant.name == "predicted-depth":
                yield from (depth_to_alpha(maps, some, self.depth_ramp) for some in depths.split(batch))
            else:
                yield from maps.split(batch, dim=1)
            return
        x, parts = None, []
        for block, own in zip(self.blocks, latents_of_blocks(ws, self.blocks), strict=True):
            assert isinstance(block, MultiplaneBlock)
            x, part = block.opacity_parts(x, own, depths, noise_mode)
            parts.append((block, part))
        del x
        for first in range(0, len(depths), batch):
            opacity: Tensor | None = None
            for block, part in parts:
                here = None if part is None else block.summed(part[0], part[1][:, first : first + batch])
                opacity = block.upsampled(opacity, here)
            assert opacity is not None
            yield self._activated(opacity)

    def _activated(self, y: Tensor) -> Tensor:
        """Values to 0..1; overwrites y."""
        if self.final_activation == "none":
            return (y.clamp(-1, 1) + 1) / 2
        # (tanh(y) + 1) / 2 is the logistic function of 2 y.
        return y.mul_(2 if self.final_activation == "tanh" else 1).sigmoid_()


class GMPIGenerator(nn.Module):
    """Latents to multiplane images.

    Args:
        resolution: See :class:`StyleGAN2Generator`, as all others that are not named here.
        plane_depths: ``[P]`` normalised depths (0 near, 1 far, ascending) of the planes of training.
        variant: How alpha comes about; see :data:`lineament.methods.gmpi.alpha.VARIANTS`.
        alpha_resolution: Largest resolution at which the variants with a vector for each plane make alpha.
        background_ratio: Share of the image's width that the background keeps at each side.
        final_activation: See :class:`MultiplaneSynthesis`, as the next one.
        background_alpha_full: Whether the last plane is opaque.
        depth_bins: The ramp of ``predicted-depth`` reaches a depth of 1 over this in front and behind.

    Attributes:
        plane_depths: As given.
        mapping: z to w.
        synthesis: w and depths to planes.

    Raises:
        UsageError: If a name is unknown, the resolution no power of two or the depths not ascending.
    """

    plane_depths: Tensor

    def __init__(
        self,
        resolution: int,
        plane_depths: Tensor | Sequence[float],
        *,
        variant: str = "plane-depth",
        z_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        conv_clamp: float | None = 256.0,
        alpha_resolution: int = 256,
        background_ratio: float = 0.05,
        final_activation: str = "tanh",
        background_alpha_full: bool = True,
        depth_bins: float = 256.0,
        low_precision: torch.dtype | None = None,
        low_precision_blocks: int = 4,
    ) -> None:
        super().__init__()
        places = [float(depth) for depth in plane_depths]
        if not places or any(after <= before for before, after in pairwise(places)):
            raise UsageError(f"depths of the planes must be [P] and ascend, got {places}.")
        depths = torch.tensor(places)
        chosen = resolve_variant(variant)
        self.resolution, self.z_dim, self.w_dim, self.variant = resolution, z_dim, w_dim, chosen.name
        self.register_buffer("plane_depths", depths, persistent=False)
        blocks = [
            MultiplaneBlock(
                w_dim=w_dim,
                clamp=conv_clamp,
                variant=chosen if not chosen.per_plane or size.resolution <= alpha_resolution else None,
                plane_depths=depths,
                background_ratio=background_ratio,
                **vars(size),
            )
            for size in block_sizes(
                resolution, channel_base, channel_max, low_precision, low_precision_blocks
            )
        ]
        self.synthesis = MultiplaneSynthesis(
            blocks,
            variant=chosen,
            final_activation=final_activation,
            background_alpha_full=background_alpha_full,
            depth_ramp=1 / depth_bins,
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, w_dim, self.num_ws, layers=mapping_layers)

    def forward(
        self,
        z: Tensor,
        depths: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        generator: torch.Generator | None = None,
    ) -> MultiplaneImages:
        """Make multiplane images.

        Args:
            z: ``[B, z_dim]`` unit normal.
            depths: ``[P]`` normalised depths of the planes to make; None: those of training.
            truncation_psi: See :class:`MappingNetwork`, as the next one.
            truncation_cutoff: Layers that truncation holds for.
            noise_mode: ``"random"``, ``"const"`` or ``"none"``.
            generator: Source of random noise; None: torch's own.

        Raises:
            UsageError: If the variant makes no such number of planes.
        """
        depths = self.plane_depths if depths is None else depths.to(self.plane_depths)
        check_planes(resolve_variant(self.variant), len(self.plane_depths), depths)
        ws = self.mapping(z, truncation_psi, truncation_cutoff)
        images: MultiplaneImages = self.synthesis(ws, depths, noise_mode=noise_mode, generator=generator)
        return images

    def opacities(
        self,
        z: Tensor,
        depths: Tensor,
        *,
        batch: int = 32,
        truncation_psi: float = 1.0,
        noise_mode: str = "const",
    ) -> Iterator[Tensor]:
        """Opacities of many planes, a part at a time; see :meth:`MultiplaneSynthesis.opacities`.

        Raises:
            UsageError: If the variant makes no such number of planes.
        """
        depths = depths.to(self.plane_depths)
        check_planes(resolve_variant(self.variant), len(self.plane_depths), depths)
        yield from self.synthesis.opacities(self.mapping(z, truncation_psi), depths, batch, noise_mode)

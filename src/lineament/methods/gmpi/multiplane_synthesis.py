"""Multiplane images out of StyleGAN2's synthesis network: colours that planes share, and an alpha for each plane.

Zhao et al., "Generative multiplane images" (ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lineament.errors import unknown_name
from lineament.methods.gmpi.alpha import (
    PlaneEmbedding,
    PlaneTokens,
    Variant,
    centred_and_std,
    depth_to_alpha,
    side_columns,
    side_width,
    stretch_sides,
)
from lineament.nn.stylegan2.modulation import pointwise
from lineament.nn.stylegan2.synthesis import Synthesis, SynthesisBlock, ToRGB, latents_of_blocks

FINAL_ACTIVATIONS = ("tanh", "sigmoid", "none")


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
        """``ws [B, num_ws, w_dim]`` and ``depths [P]`` to P planes; noise as in :class:`SynthesisLayer`."""
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

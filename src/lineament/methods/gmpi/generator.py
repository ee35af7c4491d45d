"""StyleGAN2's generator with skip connections, and GMPI's, which makes multiplane images of it.

Karras et al., "Analyzing and improving the image quality of StyleGAN" (2020); Zhao et al., "Generative multiplane
images" (2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lineament.errors import UsageError
from lineament.methods.gmpi.alpha import check_planes, resolve_variant
from lineament.methods.gmpi.multiplane_synthesis import (
    MultiplaneBlock,
    MultiplaneImages,
    MultiplaneSynthesis,
)
from lineament.nn.stylegan2.mapping import MappingNetwork
from lineament.nn.stylegan2.synthesis import Synthesis, SynthesisBlock, block_sizes


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

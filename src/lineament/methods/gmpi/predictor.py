"""What trained runs of this method can be asked for."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lineament.capabilities import check_float32
from lineament.methods.gmpi.generator import GMPIGenerator, StyleGAN2Generator
from lineament.methods.gmpi.renderer import Mpi, Renderer


class StyleGAN2Predictor:
    """Draws images.

    Args:
        generator: Of the run.
        device: Where to compute; None leaves it where it is.
        dtype: None or float32.

    Raises:
        UsageError: On another number type.
    """

    holds = "a generator of images (StyleGAN2), without views"

    def __init__(
        self, generator: nn.Module, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        check_float32(dtype, "a generator of images")
        self.generator = cast(StyleGAN2Generator, generator if device is None else generator.to(device))

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        return self.generator.z_dim

    @torch.no_grad()
    def images(self, latents: Tensor, psi: float = 1.0, batch: int = 8) -> Tensor:
        """Draw images.

        Args:
            latents: ``[B, latent_size]``, unit normal.
            psi: Share of the way from the mean style; less is more alike and more often good.
            batch: Images drawn at once.

        Returns:
            ``[B, 3, R, R]`` RGB in 0..1 on the CPU, the same for the same latents.
        """
        device = self.generator.mapping.w_avg.device
        made = [
            self.generator(part.to(device), truncation_psi=psi, noise_mode="const").float().cpu()
            for part in latents.split(batch)
        ]
        return ((torch.cat(made) + 1) / 2).clamp(0, 1)


class GMPIPredictor:
    """Draws images and their depths from cameras of a scene.

    Args:
        generator: Of the run.
        renderer: Of its scene, with the planes of its training.
        device: Where to compute; None leaves it where it is.
        dtype: None or float32.

    Raises:
        UsageError: On another number type.
    """

    holds = "a generator of multiplane images (GMPI)"

    def __init__(
        self,
        generator: GMPIGenerator,
        renderer: Renderer,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_float32(dtype, "a generator of multiplane images")
        self.generator = generator if device is None else generator.to(device)
        self.renderer = renderer

    @property
    def latent_size(self) -> int:
        """Length of a latent vector."""
        return self.generator.z_dim

    @torch.no_grad()
    def views(
        self, latents: Tensor, pitch_yaw: Tensor, psi: float = 1.0, batch: int = 4
    ) -> tuple[Tensor, Tensor]:
        """Draw each latent from every camera.

        Args:
            latents: ``[B, latent_size]``, unit normal.
            pitch_yaw: ``[V, 2]`` radians.
            psi: Share of the way from the mean style.
            batch: Multiplane images made at once.

        Returns:
            RGB ``[B, V, 3, R, R]`` in 0..1 and distance along the optical axis ``[B, V, 1, R, R]``, on the CPU, the
            same for the same latents.
        """
        device, images, depths = self.generator.mapping.w_avg.device, [], []
        for part in latents.split(batch):
            mpi = Mpi(*self.generator(part.to(device), truncation_psi=psi, noise_mode="const"))
            seen = self.renderer.render(mpi, pitch_yaw.repeat(len(part), 1))
            images.append(seen.image.float().cpu().unflatten(0, (len(part), -1)))
            depths.append(seen.depth.float().cpu().unflatten(0, (len(part), -1)))
        return ((torch.cat(images) + 1) / 2).clamp(0, 1), torch.cat(depths)

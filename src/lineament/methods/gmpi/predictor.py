"""What trained runs of this method can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from lineament.capabilities import check_float32
from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.methods.gmpi.alpha import resolve_variant
from lineament.methods.gmpi.generator import GMPIGenerator, StyleGAN2Generator
from lineament.methods.gmpi.planes import make_planes, normalised_depths
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

    @property
    def resolution(self) -> int:
        """Pixels of a side."""
        return self.generator.resolution

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

    @property
    def resolution(self) -> int:
        """Texels of a side."""
        return self.generator.resolution

    @property
    def planes(self) -> Tensor:
        """``[P, 3]`` z, height and width of the planes of training."""
        return self.renderer.planes

    @property
    def any_planes(self) -> bool:
        """Whether it draws any number of planes, or those of training alone."""
        return resolve_variant(self.generator.variant).any_planes

    @property
    def cameras(self) -> SphereCameras:
        """From where its images are seen."""
        scene = self.renderer.scene
        poses = scene.poses
        return SphereCameras(scene.fov, scene.centre_z, scene.radius, poses.yaw_range, poses.pitch_range)

    @property
    def poses(self) -> PoseDistribution:
        """How the cameras of its training were spread."""
        return self.renderer.scene.poses

    @torch.no_grad()
    def multiplane(self, latent: Tensor, planes: int | None = None, psi: float = 1.0) -> MultiplaneImage:
        """Draw one multiplane image, the same for the same latent.

        Args:
            latent: ``[latent_size]``, unit normal.
            planes: Their number; None: as in training.
            psi: Share of the way from the mean style.

        Raises:
            UsageError: If it draws no such number of planes.
        """
        table = self.renderer.planes if planes is None else make_planes(self.renderer.scene, planes)
        depths = self.generator.plane_depths if planes is None else normalised_depths(table)
        latent = latent.to(self.generator.mapping.w_avg.device)
        made = self.generator(latent[None], depths, truncation_psi=psi, noise_mode="const")
        alpha, colour, background = (each[0].float() for each in made)
        return MultiplaneImage(colour, background, alpha, table, self.cameras)

    @torch.no_grad()
    def opacities(self, latent: Tensor, planes: int, psi: float = 1.0, batch: int = 32) -> Iterator[Tensor]:
        """Opacities of evenly spaced planes, a part at a time.

        Args:
            latent: ``[latent_size]``, unit normal.
            planes: Their number, from the first to the last z of the scene.
            psi: Share of the way from the mean style.
            batch: Planes of a part.

        Yields:
            ``[n, R, R]`` on the CPU, the nearest first; the last plane is not made opaque.

        Raises:
            UsageError: If it draws no such number of planes.
        """
        latent = latent.to(self.generator.mapping.w_avg.device)
        depths = torch.linspace(0, 1, planes)
        for part in self.generator.opacities(latent[None], depths, batch=batch, truncation_psi=psi):
            yield part[0].float().cpu()

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

"""The plain twin of GMPI's training step: what the paper describes, without anything that saves time.

Filters by zeros that are really inserted, features of every plane, textures and rays copied for each plane of each
view, torch's own derivatives of second order. The weights are those of networks of ours.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.geometry.sphere_camera import invert_rigid
from lineament.methods.gmpi.cameras import cameras_of, ray_directions
from lineament.methods.gmpi.discriminator import Discriminator, DiscriminatorBlock
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.loss import discriminator_loss, generator_loss, squared_gradient
from lineament.methods.gmpi.renderer import Renderer
from lineament.methods.gmpi.train_step import BETAS, LEARNING_RATE, StepSettings
from lineament.nn.stylegan2.bias_act import DEFAULT_GAINS, bias_act_reference
from lineament.nn.stylegan2.layers import EqualizedConv2d, minibatch_std, normalize_2nd_moment
from lineament.pipeline.bench.gmpi_twin import filtered, multiplane


class TwinStep:
    """A step on networks of ours; each call moves their weights.

    Args:
        networks: ``generator`` and ``discriminator``.
        renderer: Whose planes and scene are rendered.
        settings: Weight of R1, views and noise; parts are not cut.
    """

    def __init__(self, networks: dict[str, nn.Module], renderer: Renderer, settings: StepSettings) -> None:
        self.networks, self.renderer, self.settings = networks, renderer, settings
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), LEARNING_RATE, BETAS, 1e-8)
            for name, network in networks.items()
        }

    def images(self, z: Tensor, pitch_yaw: Tensor) -> tuple[Tensor, Tensor]:
        """Images of latents ``[B, z]`` from ``[B * views, 2]``, and their cameras ``[B * views, 16]``."""
        network = cast(GMPIGenerator, self.networks["generator"])
        planes = multiplane(
            network, z, network.plane_depths, fused=False, noise_mode=self.settings.noise_mode
        )
        return render(planes, self.renderer, pitch_yaw)

    def judge(self, real: Tensor, cameras: Tensor, z: Tensor, pitch_yaw: Tensor) -> Tensor:
        """The discriminator's half; returns the loss."""
        with torch.no_grad():
            fake, fake_cameras = self.images(z, pitch_yaw)
        real = real.detach().requires_grad_()
        scores = self._scores(real, cameras.flatten(1))
        penalty = 0.5 * self.settings.r1_weight * squared_gradient(scores, real)
        loss = discriminator_loss(scores, self._scores(fake, fake_cameras)) + penalty
        self._step("discriminator", loss)
        return loss.detach()

    @torch.no_grad()
    def choose(self, z: Tensor, candidates: Tensor) -> Tensor:
        """The least real of the views ``[B, views, 2]`` of each latent, ``[B, 2]``."""
        scores = self._scores(*self.images(z, candidates.flatten(0, 1))).view(candidates.shape[:2])
        return candidates[torch.arange(len(z)), scores.argmin(dim=1).cpu()]

    def learn(self, z: Tensor, pitch_yaw: Tensor) -> Tensor:
        """The generator's half; returns the loss."""
        loss = generator_loss(self._scores(*self.images(z, pitch_yaw)))
        self._step("generator", loss)
        return loss.detach()

    def _scores(self, images: Tensor, poses: Tensor) -> Tensor:
        return scores_of(cast(Discriminator, self.networks["discriminator"]), images, poses)

    def _step(self, name: str, loss: Tensor) -> None:
        parameters = list(self.networks[name].parameters())
        self.optimisers[name].zero_grad()
        loss.backward(inputs=parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        self.optimisers[name].step()


def scores_of(network: Discriminator, images: Tensor, poses: Tensor) -> Tensor:
    """Scores ``[B, 1]`` of images ``[B, 3, R, R]`` with poses ``[B, pose_dim]``."""
    x = images
    for side in network.sides:
        block = cast(DiscriminatorBlock, network.get_submodule(f"b{side}"))
        if block.fromrgb is not None:
            x = _conv(block.fromrgb, x)
        beside = _conv(block.skip, x, 0.5**0.5)
        x = beside + _conv(block.conv1, _conv(block.conv0, x), 0.5**0.5)
    last = network.b4
    x = _conv(last.conv, minibatch_std(x, last.group))
    vector: Tensor = last.out(last.fc(x.flatten(1)))
    assert network.mapping is not None
    embedding = normalize_2nd_moment(network.mapping(poses.to(vector)))
    return (vector * embedding).sum(dim=1, keepdim=True) * embedding.shape[1] ** -0.5


def _conv(layer: EqualizedConv2d, x: Tensor, gain: float = 1.0) -> Tensor:
    weight = layer.weight * layer.weight[0].numel() ** -0.5
    if layer.down == 1:
        x = F.conv2d(x, weight, padding=layer.padding)
    elif layer.padding == 0:
        x = F.conv2d(filtered(x, layer.f, down=2, padding=(1, 1)), weight)
    else:
        x = F.conv2d(filtered(x, layer.f, padding=(2, 2)), weight, stride=2)
    clamp = None if layer.clamp is None else layer.clamp * gain
    return bias_act_reference(
        x, layer.bias, layer.activation, gain=DEFAULT_GAINS[layer.activation] * gain, clamp=clamp
    )


def render(rgba: Tensor, renderer: Renderer, pitch_yaw: Tensor) -> tuple[Tensor, Tensor]:
    """Views of ``[B, P, 4, R, R]`` from ``[V, 2]``, V a multiple of B: ``[V, 3, S, S]`` in -1..1, cameras ``[V, 16]``.

    Every plane of every view gets its own copy of texture and rays, and all are sampled at once.
    """
    scene, size = renderer.scene, renderer.scene.resolution
    cameras = cameras_of(pitch_yaw, radius=scene.radius, centre_z=scene.centre_z)
    views, planes = len(cameras), rgba.shape[1]
    with torch.no_grad():
        rays = ray_directions(cameras, scene.fov, size).float().to(rgba)
        eye, axis = (cameras[:, :3, column].float().to(rgba) for column in (3, 2))
        z, tall, wide = renderer.planes.to(rgba).unbind(1)
        # Whether all rays meet the last plane is found out by a pass of its own.
        for which in (slice(planes - 1, planes), slice(0, planes)):
            of_plane = rays[:, None].expand(-1, len(z[which]), -1, -1, -1).contiguous()
            along = (z[which] - eye[:, 2:])[..., None, None] / of_plane[:, :, 2]
            place = eye[:, None, :2, None, None] + along[:, :, None] * of_plane[:, :, :2]
            half = torch.stack([wide[which], tall[which]], -1)[None, :, :, None, None] / 2
            grid = (place / half).movedim(2, -1)
            if len(z[which]) == 1 and bool((grid.abs() > 1 + 1e-5).any()):
                raise ValueError("rays pass the last plane by.")
        depth = along * (of_plane * axis[:, None, :, None, None]).sum(2)
    textures = rgba.repeat_interleave(views // len(rgba), dim=0).flatten(0, 1)
    found = F.grid_sample(textures, grid.flatten(0, 1), padding_mode="zeros", align_corners=True)
    found = found.unflatten(0, (views, planes))
    alpha, colour = found[:, :, 3:], found[:, :, :3]
    through = torch.cumprod(1 - alpha + 1e-10, dim=1)
    weights = alpha * torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=1)
    image = (weights * colour).sum(1)
    (weights[:, :, 0] * depth).sum(1)
    return 2 * image - 1, invert_rigid(cameras.double()).float().flatten(1).to(rgba)

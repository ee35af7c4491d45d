"""One step of GMPI's training: a discriminator that sees the camera's pose, then the generator.

Zhao et al., "Generative multiplane images" (ECCV 2022), in the order of the published program. Latents, cameras and
lights are given or drawn by a generator that is given, so that a step depends on nothing else but the networks and,
where noise is random, torch's own generator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lineament.errors import UsageError
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.lighting import LightRenderer
from lineament.methods.gmpi.loss import discriminator_loss, generator_loss, squared_gradient
from lineament.methods.gmpi.real_loss import applies, real_loss
from lineament.methods.gmpi.renderer import Mpi, Rendered, Renderer
from lineament.nn.frozen import frozen
from lineament.training.context import EVALUATED_AVERAGE, AverageSpec, Update
from lineament.training.ema import ramped

# Published: Adam's rate and decays, decays of the two averages, and the last step whose images are not lit.
LEARNING_RATE, BETAS = 0.002, (0.0, 0.9)
AVERAGE_DECAYS = {EVALUATED_AVERAGE: 0.999, "ema2": 0.9999}
LIGHTS_AFTER = 1000


@dataclass(frozen=True)
class StepSettings:
    """What a step does, as published.

    Attributes:
        r1_weight: Weight of R1, which takes part in every step: the penalty is half of it times the squared gradient.
        views: Views of each multiplane image of which the generator learns from the one that the discriminator finds
            least real; 1 takes the only one.
        split: Parts that images are made in, and that the generator learns in.
        view_split: Parts that the views are chosen in.
        noise_mode: See :class:`lineament.methods.gmpi.generator.GMPIGenerator`.

    Raises:
        UsageError: If a number is impossible.
    """

    r1_weight: float = 10.0
    views: int = 4
    split: int = 1
    view_split: int = 1
    noise_mode: str = "random"

    def __post_init__(self) -> None:
        if self.r1_weight < 0 or min(self.views, self.split, self.view_split) < 1:
            raise UsageError(
                f"r1_weight={self.r1_weight} must not be negative; views={self.views}, split={self.split} and "
                f"view_split={self.view_split} must be at least 1."
            )


class DiscriminatorLosses(NamedTuple):
    """What the discriminator learns from.

    Attributes:
        loss: Logistic loss and R1 together; to be differentiated by the weights. What follows is to be read alone.
        logistic: The logistic loss alone.
        r1: The penalty, its weight in it.
        real: ``[B, 1]`` scores of real images.
        fake: ``[B, 1]`` scores of generated ones.
    """

    loss: Tensor
    logistic: Tensor
    r1: Tensor
    real: Tensor
    fake: Tensor


class ChosenViews(NamedTuple):
    """Views among which the least real one was chosen.

    Attributes:
        pitch_yaw: ``[B, 2]`` of the chosen views, radians.
        scores: ``[B, views]`` of all.
        images: ``[B * views, 3, S, S]`` of all, -1..1; each image's views follow one another.
    """

    pitch_yaw: Tensor
    scores: Tensor
    images: Tensor


def clipped_adam(
    parameters: Iterable[nn.Parameter], rate: float = LEARNING_RATE, clip: float = 10.0
) -> torch.optim.Adam:
    """Adam that first shortens the gradient of all its parameters together to a norm of at most ``clip``.

    It is shortened when the optimiser steps, thus after gradients were averaged over processes.

    Args:
        parameters: To train.
        rate: Learning rate.
        clip: Largest norm; 0 leaves gradients as they are.
    """
    optimiser = torch.optim.Adam(parameters, lr=rate, betas=BETAS, eps=1e-8, fused=True)

    def shorten(of: torch.optim.Optimizer, *_: Any) -> None:
        torch.nn.utils.clip_grad_norm_([p for group in of.param_groups for p in group["params"]], clip)

    if clip:
        optimiser.register_step_pre_hook(shorten)
    return optimiser


def average_specs() -> dict[str, AverageSpec]:
    """The two moving averages of the generator, the quicker of which is evaluated.

    Their buffers are the generator's own, so that truncation pulls towards its mean style; the published program keeps
    none of them.
    """

    def spec(decay: float) -> AverageSpec:
        return AverageSpec(("generator",), lambda step: ramped(decay, step))

    return {name: spec(decay) for name, decay in AVERAGE_DECAYS.items()}


def pose_vectors(world_to_camera: Tensor, length: int) -> Tensor | None:
    """What the discriminator is told of cameras ``[V, 4, 4]``.

    Args:
        world_to_camera: The cameras.
        length: 16: the matrix, 9: its rotation, row by row; 0: nothing.

    Raises:
        UsageError: If the length is another.
    """
    if length not in (0, 9, 16):
        raise UsageError(f"poses have 16 numbers, 9 (rotation) or 0 (none), not {length}.")
    if length == 0:
        return None
    return (world_to_camera[:, :3, :3] if length == 9 else world_to_camera).flatten(1)


def scores_of(discriminator: Discriminator, images: Tensor, cameras: Tensor) -> Tensor:
    """Scores ``[B, 1]`` of images in -1..1 seen by cameras ``[B, 4, 4]`` from world to camera."""
    found: Tensor = discriminator(images, pose_vectors(cameras.to(images), discriminator.pose_dim))
    return found


def draw_latents(count: int, length: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``[2, count, length]``: latents of a step's discriminator and of its generator."""
    return torch.randn(2, count, length, generator=generator)


def draw_views(renderer: Renderer, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``[count, 2]`` (pitch, yaw) from the scene's distribution, radians."""
    yaw, pitch = renderer.scene.poses.sample(count, generator)
    return torch.stack([pitch, yaw], dim=1)


def render_latents(
    generator: GMPIGenerator,
    renderer: Renderer,
    z: Tensor,
    pitch_yaw: Tensor,
    *,
    lights: LightRenderer | None = None,
    draws: torch.Generator | None = None,
    noise_mode: str = "random",
) -> Rendered:
    """Images of latents from cameras.

    Args:
        generator: Makes the multiplane images.
        renderer: Renders them.
        z: ``[B, z_dim]``.
        pitch_yaw: ``[B * views, 2]`` radians; the views of each latent follow one another.
        lights: Light the multiplane images first; each call counts. None: as they are.
        draws: Of the CPU, of the lights' directions.
        noise_mode: Of the generator.
    """
    mpi = Mpi(*generator(z, noise_mode=noise_mode))
    if lights is not None:
        mpi = lights(mpi, generator=draws)
    return renderer.render(mpi, pitch_yaw)


@torch.no_grad()
def fake_images(
    generator: GMPIGenerator,
    renderer: Renderer,
    z: Tensor,
    pitch_yaw: Tensor,
    settings: StepSettings,
    *,
    lights: LightRenderer | None = None,
    draws: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Images for the discriminator, one view ``[B, 2]`` of each latent; arguments as in :func:`render_latents`.

    Returns:
        ``[B, 3, S, S]`` in -1..1, and their cameras ``[B, 4, 4]`` from world to camera.
    """
    render = partial(
        render_latents, generator, renderer, lights=lights, draws=draws, noise_mode=settings.noise_mode
    )
    parts = [render(z[part], pitch_yaw[part]) for part in parts_of(len(z), settings.split)]
    return torch.cat([part.image for part in parts]), torch.cat([part.world_to_camera for part in parts])


def discriminator_losses(
    discriminator: Discriminator,
    real: Tensor,
    real_cameras: Tensor,
    fake: Tensor,
    fake_cameras: Tensor,
    r1_weight: float,
) -> DiscriminatorLosses:
    """Losses of images ``[B, 3, S, S]`` in -1..1 with their cameras ``[B, 4, 4]`` from world to camera.

    R1 is the gradient by the real images alone, not by their poses.
    """
    fakes = scores_of(discriminator, fake.detach(), fake_cameras)
    if applies(discriminator, real):
        pose = pose_vectors(real_cameras.to(real), discriminator.pose_dim)
        scores, penalty, slope = real_loss(discriminator, real, pose, r1_weight)
        logistic = discriminator_loss(scores, fakes)
        return DiscriminatorLosses(logistic + penalty + slope, logistic, penalty, scores, fakes)
    real = real.detach().requires_grad_()
    scores = scores_of(discriminator, real, real_cameras)
    penalty = 0.5 * r1_weight * squared_gradient(scores, real)
    logistic = discriminator_loss(scores, fakes)
    return DiscriminatorLosses(logistic + penalty, logistic, penalty, scores, fakes)


@torch.no_grad()
def choose_views(
    networks: dict[str, nn.Module], renderer: Renderer, z: Tensor, candidates: Tensor, settings: StepSettings
) -> ChosenViews:
    """For each latent the view that the discriminator finds least real, unlit.

    Args:
        networks: ``generator`` and ``discriminator``.
        renderer: Renders the views.
        z: ``[B, z_dim]``.
        candidates: ``[B, views, 2]`` (pitch, yaw), radians.
        settings: Number of parts, and noise.
    """
    generator, discriminator = pair(networks)
    scores, images = [], []
    for part in parts_of(len(z), settings.view_split):
        seen = render_latents(
            generator, renderer, z[part], candidates[part].flatten(0, 1), noise_mode=settings.noise_mode
        )
        found = scores_of(discriminator, seen.image, seen.world_to_camera)
        scores.append(found.view(-1, candidates.shape[1]))
        images.append(seen.image)
    every = torch.cat(scores)
    least = every.argmin(dim=1).to(candidates.device)
    chosen = candidates[torch.arange(len(z), device=candidates.device), least]
    return ChosenViews(chosen, every, torch.cat(images))


def train_discriminator(
    networks: dict[str, nn.Module],
    update: Update,
    renderer: Renderer,
    real: Tensor,
    real_cameras: Tensor,
    z: Tensor,
    pitch_yaw: Tensor,
    settings: StepSettings,
    *,
    lights: LightRenderer | None = None,
    draws: torch.Generator | None = None,
) -> DiscriminatorLosses:
    """Step the optimiser ``discriminator`` once.

    Args:
        networks: ``generator`` and ``discriminator``.
        update: Applies the gradient.
        renderer: Renders the generator's images.
        real: ``[B, 3, S, S]`` in -1..1.
        real_cameras: ``[B, 4, 4]`` from world to camera.
        z: ``[B, z_dim]``.
        pitch_yaw: ``[B, 2]``, one view of each latent.
        settings: See :class:`StepSettings`.
        lights: See :func:`render_latents`, as the next.
        draws: Of the lights' directions.
    """
    generator, discriminator = pair(networks)
    fake, cameras = fake_images(generator, renderer, z, pitch_yaw, settings, lights=lights, draws=draws)
    update.zero("discriminator")
    losses = discriminator_losses(discriminator, real, real_cameras, fake, cameras, settings.r1_weight)
    update.backward(losses.loss, "discriminator")
    update.step("discriminator")
    return DiscriminatorLosses(*(value.detach() for value in losses))


def train_generator(
    networks: dict[str, nn.Module],
    update: Update,
    renderer: Renderer,
    z: Tensor,
    pitch_yaw: Tensor,
    settings: StepSettings,
    *,
    lights: LightRenderer | None = None,
    draws: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Step the optimiser ``generator`` once, on one view ``[B, 2]`` of each latent, those of :func:`choose_views`.

    The multiplane images are made anew, with other noise than the views were chosen with. Arguments as in
    :func:`train_discriminator`.

    Returns:
        The loss, and the scores ``[B, 1]``.
    """
    generator, discriminator = pair(networks)
    update.zero("generator")
    render = partial(
        render_latents, generator, renderer, lights=lights, draws=draws, noise_mode=settings.noise_mode
    )
    losses, scores = [], []
    for part in parts_of(len(z), settings.split):
        seen = render(z[part], pitch_yaw[part])
        with frozen(discriminator):
            found = scores_of(discriminator, seen.image, seen.world_to_camera)
        loss = (part.stop - part.start) / len(z) * generator_loss(found)
        update.backward(loss, "generator")
        losses.append(loss.detach())
        scores.append(found.detach())
    update.step("generator")
    return torch.stack(losses).sum(), torch.cat(scores)


def parts_of(count: int, split: int) -> Iterator[slice]:
    """Cut a batch into at most so many parts, of equal size but for the last."""
    size = -(-count // split)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def pair(networks: dict[str, nn.Module]) -> tuple[GMPIGenerator, Discriminator]:
    """Generator and discriminator; what wraps them for training has their attributes."""
    return cast(GMPIGenerator, networks["generator"]), cast(Discriminator, networks["discriminator"])

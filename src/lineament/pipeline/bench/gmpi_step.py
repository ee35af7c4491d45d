"""A training step of GMPI beside its bare convolutions, and beside a twin as the published program is described."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lineament.geometry.sphere_camera import invert_rigid
from lineament.methods.gmpi.cameras import cameras_of
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.planes import normalised_depths
from lineament.methods.gmpi.renderer import Renderer
from lineament.methods.gmpi.train_step import (
    StepSettings,
    choose_views,
    clipped_adam,
    draw_views,
    train_discriminator,
    train_generator,
)
from lineament.pipeline.bench.floor import measure_floor
from lineament.pipeline.bench.gmpi_step_twin import TwinStep
from lineament.pipeline.bench.timing import measure_in_turn, report
from lineament.training.distributed import make_fabric
from lineament.training.memory import keep_freed_memory
from lineament.training.update import GradientUpdate

SIZE, PLANES, BATCH, CHANNEL_BASE, CHANNEL_MAX = 64, 8, 4, 16384, 512
LATENT = 512


class Step:
    """Networks with random weights and what one step of them learns from.

    Args:
        device: Where to compute.
        size: Side of the images.
        channel_base: Channels of a block times its resolution.
        channel_max: Most channels of a block.

    Attributes:
        spent: Processor time in seconds of the three parts of each step so far.
    """

    def __init__(
        self,
        device: str = "cpu",
        size: int = SIZE,
        channel_base: int = CHANNEL_BASE,
        channel_max: int = CHANNEL_MAX,
    ) -> None:
        self.spent: list[tuple[float, float, float]] = []
        draws = torch.Generator().manual_seed(0)
        self.renderer = Renderer(replace(SCENES["ffhq256"], resolution=size), PLANES)
        depths = normalised_depths(self.renderer.planes)
        sizes: dict[str, Any] = {
            "channel_base": channel_base,
            "channel_max": channel_max,
            "conv_clamp": 256.0,
        }
        self.networks: dict[str, nn.Module] = {
            "generator": GMPIGenerator(size, depths, **sizes).to(device).train(),
            "discriminator": Discriminator(size, pose_dim=16, std_group=1, **sizes).to(device).train(),
        }
        optimisers: dict[str, torch.optim.Optimizer] = {
            name: clipped_adam(network.parameters()) for name, network in self.networks.items()
        }
        self.update = GradientUpdate(
            make_fabric("cuda" if device.startswith("cuda") else "cpu", "32-true"), optimisers, 1
        )
        self.settings = StepSettings()
        self.real = (2 * torch.rand(BATCH, 3, size, size, generator=draws) - 1).to(device)
        scene = self.renderer.scene
        to_world = cameras_of(
            draw_views(self.renderer, BATCH, draws), radius=scene.radius, centre_z=scene.centre_z
        )
        self.cameras = invert_rigid(to_world).float().to(device)
        self.z = torch.randn(2, BATCH, LATENT, generator=draws).to(device)
        self.poses = draw_views(self.renderer, BATCH, draws)
        self.candidates = draw_views(self.renderer, BATCH * self.settings.views, draws).view(BATCH, -1, 2)

    def judge(self) -> Tensor:
        """The discriminator learns from fakes and, with R1, from real images; its loss."""
        losses = train_discriminator(
            self.networks,
            self.update,
            self.renderer,
            self.real,
            self.cameras,
            self.z[0],
            self.poses,
            self.settings,
        )
        return losses.loss

    def choose(self) -> Tensor:
        """The least real of the views of each latent."""
        return choose_views(self.networks, self.renderer, self.z[1], self.candidates, self.settings).pitch_yaw

    def learn(self, pitch_yaw: Tensor) -> Tensor:
        """The generator learns from one view of each latent; its loss."""
        loss, _ = train_generator(
            self.networks, self.update, self.renderer, self.z[1], pitch_yaw, self.settings
        )
        return loss

    def __call__(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three in their order: the discriminator's loss, the views, the generator's loss."""
        begun = time.process_time()
        judged = self.judge()
        judged_at = time.process_time()
        chosen = self.choose()
        chosen_at = time.process_time()
        learnt = self.learn(chosen)
        self.spent.append((judged_at - begun, chosen_at - judged_at, time.process_time() - chosen_at))
        return judged, chosen, learnt


def twin_of(step: Step) -> TwinStep:
    """The twin that learns the same from the same, on the same networks."""
    return TwinStep(step.networks, step.renderer, step.settings)


def take(twin: TwinStep, step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """One step of the twin, as :meth:`Step.__call__`."""
    judged = twin.judge(step.real, step.cameras, step.z[0], step.poses)
    chosen = twin.choose(step.z[1], step.candidates)
    return judged, chosen, twin.learn(step.z[1], chosen)


def run(*, device: str = "cpu", repeats: int = 20) -> dict[str, Any]:
    """Measure steps of 64 px, 8 planes, batch 4 and the published widths of 256 px, float32.

    Fakes, the discriminator with R1, the pass over four views of each latent, the generator.

    Args:
        device: Where to compute.
        repeats: Timed steps; the twin has as many, in turn with ours.

    Returns:
        Headline: one step, beside the plain twin. ``cpu_s`` and ``twin_cpu_s``: the least processor time in seconds
        (wall-clock time on a GPU), and ``times_faster`` their ratio; ``judge_ms``, ``choose_ms`` and ``learn_ms``: the
        least processor time of the three parts; ``floor_ms`` and ``times_floor``: the bare convolutions and products of
        a step of ours, forward, backward and of second order, resampling filters left out, each repeated by itself, and
        the ratio to them.
    """
    started = time.perf_counter()
    keep_freed_memory()
    ours = Step(device)
    twin = twin_of(ours)
    timing, plain = measure_in_turn(
        [ours, lambda: take(twin, ours)], repeats=repeats, warm_up=1, device=device
    )
    least, twins = (
        each.min_ms if device.startswith("cuda") else each.process_min_ms for each in (timing, plain)
    )
    parts = [1e3 * min(times) for times in zip(*ours.spent, strict=True)]
    floor = measure_floor(ours, max(2, repeats // 4), device, filters=False).figures(least)
    return report(
        f"a training step of {SIZE} px, {PLANES} planes, batch {BATCH}, float32",
        timing,
        plain,
        cpu_s=least / 1e3,
        twin_cpu_s=twins / 1e3,
        times_faster=twins / least,
        times_floor=1 / floor["share"],
        **dict(zip(("judge_ms", "choose_ms", "learn_ms"), parts, strict=True)),
        **floor,
        seconds=time.perf_counter() - started,
    )

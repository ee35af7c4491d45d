"""A step of GMPI's training: clipping, views, parts, poses and lights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lineament.errors import UsageError
from lineament.geometry.sphere_camera import invert_rigid
from lineament.methods.gmpi.cameras import cameras_of
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.lighting import LightRenderer, LightSettings
from lineament.methods.gmpi.planes import normalised_depths
from lineament.methods.gmpi.renderer import Renderer
from lineament.methods.gmpi.train_step import (
    StepSettings,
    average_specs,
    choose_views,
    clipped_adam,
    draw_views,
    fake_images,
    pose_vectors,
    train_discriminator,
    train_generator,
)
from lineament.training.distributed import make_fabric
from lineament.training.update import GradientUpdate

QUIET = StepSettings(noise_mode="none")


def renderer_of(size: int = 16) -> Renderer:
    return Renderer(replace(SCENES["ffhq256"], resolution=size), 4)


def networks_of(pose_dim: int = 16, renderer: Renderer | None = None) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"channel_base": 128, "channel_max": 8}
    depths = normalised_depths((renderer or renderer_of()).planes)
    made = GMPIGenerator(16, depths, z_dim=8, w_dim=8, mapping_layers=2, **sizes)
    return {
        "generator": made.train(),
        "discriminator": Discriminator(16, pose_dim=pose_dim, std_group=1, **sizes).train(),
    }


def updating(networks: dict[str, nn.Module]) -> GradientUpdate:
    optimisers: dict[str, torch.optim.Optimizer] = {
        name: clipped_adam(net.parameters()) for name, net in networks.items()
    }
    return GradientUpdate(make_fabric("cpu", "32-true"), optimisers, 1)


def latents(count: int = 4) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(1))


def views(renderer: Renderer, count: int) -> Tensor:
    return draw_views(renderer, count, torch.Generator().manual_seed(2))


def matrices(renderer: Renderer, pitch_yaw: Tensor) -> Tensor:
    scene = renderer.scene
    return invert_rigid(cameras_of(pitch_yaw, radius=scene.radius, centre_z=scene.centre_z)).float()


def test_gradients_are_shortened_together_when_the_optimiser_steps():
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    for clip, expected in [(10.0, 10.0), (0.0, 50.0), (60.0, 50.0)]:
        optimiser = clipped_adam([first, second], clip=clip)
        first.grad, second.grad = torch.tensor([30.0, 0.0]), torch.tensor([40.0])
        optimiser.step()
        assert float(torch.cat([first.grad, second.grad]).norm()) == pytest.approx(expected, rel=1e-5)
        assert float(second.grad[0] / first.grad[0]) == pytest.approx(4 / 3)


def test_the_least_real_view_is_chosen_whatever_the_parts():
    renderer = renderer_of()
    networks = networks_of(renderer=renderer)
    candidates = views(renderer, 16).view(4, 4, 2)
    whole = choose_views(networks, renderer, latents(), candidates, QUIET)
    parts = choose_views(networks, renderer, latents(), candidates, replace(QUIET, view_split=3))
    torch.testing.assert_close(parts.scores, whole.scores)
    for number, scores in enumerate(whole.scores):
        assert torch.equal(whole.pitch_yaw[number], candidates[number, int(scores.argmin())])
    assert len({int(scores.argmin()) for scores in whole.scores}) > 1
    assert whole.images.shape == (16, 3, 16, 16)


@pytest.mark.parametrize("pose_dim", [0, 9, 16])
def test_a_split_batch_has_the_gradient_of_the_whole(pose_dim: int):
    renderer, found = renderer_of(), []
    for split in (1, 3):
        networks = networks_of(pose_dim, renderer)
        update = updating(networks)
        losses = train_generator(
            networks, update, renderer, latents(), views(renderer, 4), replace(QUIET, split=split)
        )
        assert not any(p.grad is not None for p in networks["discriminator"].parameters())
        found.append([*losses, *(p.grad for p in networks["generator"].parameters() if p.grad is not None)])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


def test_the_discriminator_learns_to_tell_real_images():
    renderer = renderer_of()
    networks = networks_of(renderer=renderer)
    update, poses = updating(networks), views(renderer, 4)
    real = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    kept = {name: p.clone() for name, p in networks["generator"].named_parameters()}
    losses = [
        train_discriminator(
            networks, update, renderer, real, matrices(renderer, poses), latents(), poses, QUIET
        )
        for _ in range(12)
    ]
    assert float(losses[-1].logistic) < 0.8 * float(losses[0].logistic)
    assert all(float(each.loss) == pytest.approx(float(each.logistic + each.r1)) for each in losses)
    assert all(torch.equal(p, kept[name]) for name, p in networks["generator"].named_parameters())


def test_the_first_lit_images_are_black_and_each_part_counts():
    renderer = renderer_of()
    networks, scene = networks_of(renderer=renderer), renderer.scene
    lights = LightRenderer(
        renderer.planes, radius=scene.radius, centre_z=scene.centre_z, settings=LightSettings(calls=4)
    )
    poses, settings = views(renderer, 4), replace(QUIET, split=2)

    def images() -> Tensor:
        draws = torch.Generator().manual_seed(4)
        return fake_images(
            networks["generator"], renderer, latents(), poses, settings, lights=lights, draws=draws
        )[0]

    first = images()
    assert lights.calls == 2
    torch.testing.assert_close(first[:2], torch.full_like(first[:2], -1.0))
    assert float(first[2:].mean()) > -1
    images()
    full = images()
    assert lights.calls == 6 and float(full.mean()) > float(first.mean())


def test_poses_are_told_as_the_discriminator_takes_them():
    renderer = renderer_of()
    cameras = matrices(renderer, views(renderer, 3))
    assert pose_vectors(cameras, 0) is None
    whole, turned = pose_vectors(cameras, 16), pose_vectors(cameras, 9)
    assert whole is not None and turned is not None
    assert torch.equal(whole.view(3, 4, 4), cameras) and torch.equal(turned.view(3, 3, 3), cameras[:, :3, :3])
    with pytest.raises(UsageError, match=r"or 0 \(none\), not 4"):
        pose_vectors(cameras, 4)


def test_averages_and_impossible_settings():
    decays = {name: [spec.decay(step) for step in (1, 10**6)] for name, spec in average_specs().items()}
    assert decays == {"ema": [2 / 11, 0.999], "ema2": [2 / 11, 0.9999]}
    for fields in ({"split": 0}, {"views": 0}, {"view_split": 0}, {"r1_weight": -1.0}):
        with pytest.raises(UsageError, match="at least 1"):
            StepSettings(**fields)

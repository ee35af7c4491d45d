"""The light renderer: closed forms of its stages, its two ramps, and what it leaves alone."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from lineament.errors import UsageError
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.lighting import LightRenderer, LightSettings, blur, normals_of
from lineament.methods.gmpi.planes import make_planes
from lineament.methods.gmpi.renderer import Mpi

SCENE = SCENES["ffhq256"]


def lights(planes: int = 6, **settings: object) -> LightRenderer:
    return LightRenderer(
        make_planes(SCENE, planes),
        radius=SCENE.radius,
        centre_z=SCENE.centre_z,
        settings=LightSettings(**settings),  # type: ignore[arg-type]
    )


def images(seed: int = 0, planes: int = 6, background: bool = True) -> Mpi:
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.rand(2, planes, 16, 16, generator=generator) ** 3
    alpha[:, -1] = 1
    colour, behind = torch.rand(2, 2, 3, 16, 16, generator=generator)
    return Mpi(alpha, colour, behind if background else None)


def test_the_published_ramp_begins_black_and_the_smooth_one_does_not():
    published, smooth = LightSettings(), LightSettings(ramp="smooth")
    assert published.strengths(0) == (0, 0) and smooth.strengths(0) == (1, 0)
    assert published.strengths(500) == pytest.approx((0.45, 0.05))
    assert smooth.strengths(500) == pytest.approx((0.95, 0.05))
    assert published.strengths(1000) == smooth.strengths(5000) == pytest.approx((0.9, 0.1))


def test_a_first_published_call_is_black_and_calls_are_counted():
    renderer, mpi = lights(), images()
    first, second = renderer(mpi), renderer(mpi)
    assert not first.colour.any() and not first.background.any()
    assert second.colour.any() and renderer.calls == 2
    assert torch.equal(first.alpha, mpi.alpha)
    smooth = lights(ramp="smooth")(mpi)
    assert torch.equal(smooth.colour, mpi.colour) and torch.equal(smooth.background, mpi.background)


def test_a_wall_that_faces_the_light_is_fully_lit_and_one_at_an_angle_by_its_cosine():
    renderer = lights()
    alpha = torch.zeros(1, 6, 9, 9)
    alpha[:, 2] = 1
    surface = renderer.surface(alpha)
    torch.testing.assert_close(surface.depth, renderer.planes[2, 0].expand(1, 1, 9, 9))
    torch.testing.assert_close(
        surface.normals, torch.tensor([0.0, 0, -1]).expand(1, 9, 9, 3), atol=1e-4, rtol=0
    )
    for angle in (0.0, 0.5):
        toward = renderer.light_directions(torch.tensor([angle]), torch.zeros(1))
        share = renderer.lit_share(surface.normals, toward)
        torch.testing.assert_close(share, torch.full((1, 9, 9), math.cos(angle)), atol=1e-4, rtol=0)


def test_normals_of_a_slope():
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    points = torch.stack([x, y, 0.5 * x - 0.25 * y], -1)[None]
    expected = torch.tensor([0.5, -0.25, -1.0])
    found = normals_of(points)
    torch.testing.assert_close(found, (expected / expected.norm()).expand(1, 5, 6, 3))


def test_the_blur_is_a_gaussian_that_reflects_at_the_border():
    depth = torch.rand(1, 1, 20, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = gaussian_filter(depth[0, 0].numpy(), sigma=1.7, radius=4, mode="mirror")
    torch.testing.assert_close(blur(depth, 9)[0, 0], torch.from_numpy(expected))
    assert torch.equal(blur(depth, 1), depth)


def test_shading_is_the_same_for_all_planes_and_gradients_reach_the_alphas():
    renderer, mpi = lights(calls=1, diffuse=0.5, ambient=0.4), images()
    alpha = mpi.alpha.clone().requires_grad_()
    renderer.calls = 5
    angles = torch.tensor([0.2, -0.1]), torch.tensor([0.3, 0.1])
    lit = renderer(Mpi(alpha, mpi.colour, mpi.background), yaw_pitch=angles)
    renderer.calls = 5
    each = Mpi(
        mpi.alpha, torch.cat([mpi.colour[:, None].expand(-1, 5, -1, -1, -1), mpi.background[:, None]], 1)
    )
    spread = renderer(each, yaw_pitch=angles)
    torch.testing.assert_close(spread.colour[:, 2], lit.colour.detach())
    torch.testing.assert_close(spread.colour[:, -1], lit.background.detach())
    (gradient,) = torch.autograd.grad(lit.colour.sum(), alpha)
    assert bool(gradient.isfinite().all()) and float(gradient.abs().max()) > 0
    assert float(lit.colour.max()) <= 1 and float(lit.colour.min()) >= 0


def test_lights_are_drawn_from_their_distribution_and_repeat_with_a_seed():
    renderer, mpi = lights(), images()
    drawn = []
    for seed in (1, 1, 2):
        renderer.calls = 1000
        drawn.append(renderer(mpi, generator=torch.Generator().manual_seed(seed)).colour)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="did you mean 'smooth'"):
        LightSettings(ramp="smoth")
    with pytest.raises(UsageError, match="odd"):
        LightSettings(blur=8)

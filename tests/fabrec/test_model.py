"""Networks, losses and heatmaps: sizes, the plain twin, closed forms, round trips."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import UsageError
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.methods.fabrec.augment import LEVELS, sample_affine
from lineament.methods.fabrec.crop import View, region_side
from lineament.methods.fabrec.heatmaps import confidences, draw_heatmaps, read_heatmaps, smooth
from lineament.methods.fabrec.loss import (
    contrast_structure,
    discriminator_loss,
    generator_adversarial_loss,
    heatmap_loss,
    pixel_loss,
    reconstruction_loss,
    structural_loss,
    value_ranges,
    window_means,
)
from lineament.methods.fabrec.model import Layout, heatmaps_of, interpolate_codes, reconstruct
from lineament.pipeline.bench.fabrec_twin import structural_loss as dense_structural_loss


@pytest.mark.parametrize("size", [64, 128, 256])
def test_every_size_runs_with_any_number_of_landmarks(size: int):
    layout = Layout(size, width=2, code=3)
    networks = {**layout.autoencoder(), "transfer": layout.transfer(7)}
    for network in networks.values():
        network.eval()
    images = torch.rand(2, 3, size, size)
    assert reconstruct(networks, images).shape == images.shape
    assert heatmaps_of(networks, images).shape == (2, 7, layout.heatmap, layout.heatmap)
    assert networks["image_discriminator"](images).shape == (2,)
    assert networks["code_discriminator"](torch.zeros(2, 3)).shape == (2, 1)


@pytest.mark.parametrize("fields", [{"size": 100}, {"width": 3}, {"code": 0}])
def test_sizes_without_networks_are_refused(fields: dict[str, int]):
    with pytest.raises(UsageError):
        Layout(**fields)


def test_the_structural_loss_equals_its_plain_twin():
    generator = torch.Generator().manual_seed(0)
    targets = 0.3 * torch.randn(2, 3, 40, 48, generator=generator)
    images = (targets + 0.1 * torch.randn(2, 3, 40, 48, generator=generator)).requires_grad_()
    ours, plain = structural_loss(targets, images, "paper"), dense_structural_loss(targets, images)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-6)
    mine, theirs = (torch.autograd.grad(loss, images)[0] for loss in (ours, plain))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("window", [5, 31])
def test_window_means_equal_a_dense_convolution(window: int):
    """Across the borders of the blocks in which the products are computed, with gradients."""
    values = torch.randn(2, 3, 60, 85, dtype=torch.float64, requires_grad=True)
    offsets = torch.arange(window, dtype=torch.float64) - window // 2
    profile = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    kernel = (profile[:, None] * profile) / profile.sum() ** 2
    dense = torch.nn.functional.conv2d(values.view(6, 1, 60, 85), kernel[None, None]).view(
        2, 3, -1, 86 - window
    )
    means = window_means(values, window)
    torch.testing.assert_close(means, dense, rtol=0, atol=1e-14)
    weights = torch.randn_like(means)
    mine, theirs = (torch.autograd.grad((maps * weights).sum(), values)[0] for maps in (means, dense))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14)


def test_the_structural_term_by_hand():
    flat = torch.full((1, 3, 33, 33), 0.2)
    torch.testing.assert_close(window_means(flat), torch.full((1, 3, 3, 3), 0.2))
    picture = torch.rand(1, 3, 33, 33)
    torch.testing.assert_close(contrast_structure(picture, picture), torch.ones(1, 3, 3, 3))
    # Luminance does not count, contrast does: for y = a x the term is (2 a v + c) / (v + a^2 v + c).
    assert float(structural_loss(picture, picture + 0.25)) == pytest.approx(0, abs=1e-3)
    with pytest.raises(UsageError, match="31 px"):
        window_means(torch.zeros(1, 30, 40))


def test_gradients_of_the_losses():
    torch.manual_seed(0)
    x, y = torch.rand(1, 1, 31, 32).double(), torch.rand(1, 1, 31, 32).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: contrast_structure(x, v).mean(), y)
    scores = torch.rand(4).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: discriminator_loss(s, 0.5 * s) + generator_adversarial_loss(s), scores
    )


def test_losses_by_hand():
    assert float(pixel_loss(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.1))) == pytest.approx(25.5)
    half = torch.full((3,), 0.5)
    assert float(discriminator_loss(half, half)) == pytest.approx(2 * math.log(2))
    assert float(generator_adversarial_loss(half)) == pytest.approx(math.log(2))
    maps, targets = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    maps[0, 0] = 0.1
    assert float(heatmap_loss(maps, targets)) == pytest.approx(300 * 0.01 / 2)
    assert float(heatmap_loss(maps, targets, torch.tensor([[True, False]]))) == pytest.approx(3)
    assert float(heatmap_loss(maps, targets, torch.tensor([[False, True]]))) == 0


@settings(max_examples=20, deadline=None)
@given(st.floats(40, 210), st.floats(40, 210))
def test_exact_heatmaps_return_the_point(x: float, y: float):
    point = torch.tensor([[[x, y]]])
    maps = draw_heatmaps(point, 256, 128)
    torch.testing.assert_close(read_heatmaps(maps, 256), point, atol=0.02, rtol=0)
    assert float(confidences(maps)) > 0.99
    # The published way is off by up to a heatmap pixel and a half.
    published = draw_heatmaps(point, 256, 128, style="paper")
    assert float((read_heatmaps(published, 256, style="paper") - point).abs().max()) <= 2.01


def test_unknown_points_have_empty_heatmaps():
    maps = draw_heatmaps(torch.tensor([[[float("nan"), 3.0], [5.0, 5.0]]]), 64, 64)
    assert float(maps[0, 0].abs().max()) == 0
    assert float(maps[0, 1].max()) == 1


@pytest.mark.parametrize("style", ["exact", "paper"])
def test_points_move_with_the_picture(style: str):
    """A bright dot in the photograph lies where its landmark says, after crop, mirror and move."""
    image, point = torch.zeros(3, 90, 90), torch.tensor([[40.0, 52.0]]).repeat(5, 1)
    image[:, 50:55, 38:43] = 1
    view = View(64, style=style)
    region = view.region_of_box(torch.tensor([20.0, 20.0, 70.0, 75.0]), (90, 90))
    for seed in range(6):
        move = sample_affine(LEVELS[6], region_side(64), torch.Generator().manual_seed(seed))
        seen = view.image(image, region, move)[0]
        placed = view.points(point, scheme("5"), region, move)[0]
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        found = torch.stack([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum()
        # The published points leave out half pixels: of the crop, and of the mirror.
        assert float((found - placed).abs().max()) < (0.25 if style == "exact" else 1.2)


def test_views_come_back():
    view = View(64)
    crop = view.inner(view.region_of_box(torch.tensor([10.0, 20.0, 60.0, 80.0]), (100, 100)))
    points = torch.rand(9, 2) * 100
    torch.testing.assert_close(crop.inverse().apply(crop.apply(points)), points, atol=1e-4, rtol=0)
    assert isinstance(crop, Affine2D)


def test_codes_between_two_codes():
    first, last = torch.zeros(2), torch.ones(2)
    torch.testing.assert_close(interpolate_codes(first, last, 3)[:, 0], torch.tensor([0.0, 0.5, 1.0]))


def test_the_range_of_values_is_guessed_as_published():
    """2 for a target that holds a value below -0.5, else 1; 254 more for one above 128."""
    targets = torch.zeros(4, 3, 2, 2)
    targets[1, 0, 0, 0], targets[2, 1, 1, 1] = -0.6, 200.0
    targets[3, 0, 0, 0], targets[3, 2, 0, 0] = -0.6, 200.0
    assert value_ranges(targets).shape == (4, 1, 1, 1)
    assert value_ranges(targets).flatten().tolist() == [1.0, 2.0, 255.0, 256.0]
    assert value_ranges(torch.full((1, 3, 2, 2), -0.5)).item() == 1.0


def test_pixels_and_structure_share_the_reconstruction_loss():
    pixels, structure = torch.tensor(8.0), torch.tensor(0.25)
    assert float(reconstruction_loss(pixels, None)) == 8.0
    assert float(reconstruction_loss(pixels, structure)) == 0.5 * 8.0 + 0.5 * 60.0 * 0.25


def test_the_published_reading_blurs_nine_pixels_each_way():
    point = torch.zeros(1, 1, 15, 15)
    point[0, 0, 7, 6] = 81.0
    made = smooth(point)[0, 0]
    torch.testing.assert_close(made[3:12, 2:11], torch.ones(9, 9))
    assert float(made.sum()) == pytest.approx(81.0)
    # At the border the mean counts zeros outside.
    corner = torch.zeros(1, 1, 15, 15)
    corner[0, 0, 0, 0] = 81.0
    assert float(smooth(corner).sum()) == pytest.approx(25.0)

"""Augmentation of what the discriminator sees: closed forms of each change, how often they happen, derivatives."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lineament.methods.gmpi.augment import (
    PARTS,
    SYM6,
    Augmentation,
    adjust_probability,
    augment,
    draw_augmentation,
    no_augmentation,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(size: int = 32, count: int = 1) -> Tensor:
    """Images whose values are known between the pixels too."""
    return wave(*pixel_grid(size), size).repeat(count, 1, 1, 1)


def pixel_grid(size: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def wave(x: Tensor, y: Tensor, size: int) -> Tensor:
    u, v = 2 * math.pi * x / size, 2 * math.pi * y / size
    return torch.stack([(u + 0.4).sin() * v.cos(), (2 * v - u).cos(), (1.5 * u).sin() + 0.2 * (2 * v).sin()])[
        None
    ]


def test_nothing_changes_at_probability_0():
    images = torch.randn(5, 3, 16, 16, generator=seeded())
    assert torch.equal(augment(images, draw_augmentation(5, 0.0, seeded(1))), images)
    assert torch.equal(augment(images, no_augmentation(5)), images)


def test_images_without_a_change_keep_their_bits():
    images = torch.randn(40, 3, 8, 8, generator=seeded())
    drawn = draw_augmentation(40, 0.1, seeded(2))
    same = (augment(images, drawn) == images).flatten(1).all(1)
    assert 0 < int(same.sum()) < 40
    each = torch.cat([augment(images[i : i + 1], one(drawn, i)) for i in range(40)])
    assert torch.allclose(each, augment(images, drawn), atol=1e-6)


def one(drawn: Augmentation, index: int) -> Augmentation:
    return Augmentation(*(value[index : index + 1] for value in vars(drawn).values()))


@pytest.mark.parametrize("parts", [(part,) for part in PARTS])
def test_parts_are_drawn_alike_with_or_without_the_others(parts: tuple[str, ...]):
    alone, all_parts = draw_augmentation(9, 0.7, seeded(), parts), draw_augmentation(9, 0.7, seeded())
    fields = {"blit": ("mirror", "quarters", "shift"), "geometry": ("warp",), "colour": ("colour",)}[parts[0]]
    for name, value in vars(alone).items():
        assert torch.equal(value, getattr(all_parts if name in fields else no_augmentation(9), name)), name


def test_mirrors_and_quarter_turns_are_those_of_torch():
    images = torch.randn(8, 3, 7, 7, generator=seeded())
    mirror = torch.tensor([False, True] * 4)
    quarters = torch.arange(8) // 2
    found = augment(images, replace(no_augmentation(8), mirror=mirror, quarters=quarters))
    for i in range(8):
        expected = images[i].flip(2) if mirror[i] else images[i]
        assert torch.equal(found[i], torch.rot90(expected, int(quarters[i]), (1, 2)))


@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, -2), (-1, 2)])
def test_whole_pixel_shifts_bring_in_the_mirrored_image(x: int, y: int):
    images = torch.randn(1, 3, 16, 16, generator=seeded())
    # Rounded to whole pixels.
    shift = torch.tensor([[(x + 0.3) / 16, (y - 0.3) / 16]])
    found = augment(images, replace(no_augmentation(1), shift=shift))
    wide = torch.cat([images.flip(3), images, images.flip(3)], 3)
    wide = torch.cat([wide.flip(2), wide, wide.flip(2)], 2)
    assert torch.equal(found, wide[:, :, 16 - y : 32 - y, 16 - x : 32 - x])


def warped(images: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    warp = torch.cat([matrix, shift[:, None]], 1)[None]
    return augment(images, replace(no_augmentation(1), warp=warp))


@given(
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.85, 1.3),
    stretch=st.floats(0.85, 1.2),
    shift=st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
)
@settings(max_examples=25, deadline=None)
def test_a_warp_reads_a_smooth_image_between_its_pixels(
    angle: float, scale: float, stretch: float, shift: tuple[float, float]
):
    size = 32
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = scale * turn @ torch.diag(torch.tensor([stretch, 1 / stretch]))
    found = warped(smooth(size), matrix, torch.tensor(shift))
    x, y = pixel_grid(size)
    points = torch.stack([x - size * shift[0], y - size * shift[1]], -1) @ torch.linalg.inv(matrix).T
    # Where the image itself is read, and not what is mirrored around it.
    inside = (points.abs() < size / 2 - 3).all(-1)
    expected = wave(points[..., 0], points[..., 1], size)
    assert bool(inside.any())
    assert float((found - expected)[..., inside].abs().max()) < 0.02


def test_the_plane_around_an_image_is_its_mirror_image():
    """A shift by a whole side leaves the mirrored image, by two sides the image."""
    images = smooth(16)
    near = {"atol": 0.03}
    inner = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(
        warped(images, torch.eye(2), torch.tensor([1.0, 0.0]))[inner], images.flip(3)[inner], **near
    )
    assert torch.allclose(
        warped(images, torch.eye(2), torch.tensor([0.0, 2.0]))[inner], images[inner], **near
    )


def test_the_filter_is_an_orthonormal_wavelet_with_six_vanishing_moments():
    taps = torch.tensor(SYM6, dtype=torch.float64)
    for shift in range(6):
        product = float(taps[: 12 - 2 * shift] @ taps[2 * shift :])
        assert product == pytest.approx(float(shift == 0), abs=1e-11)
    assert float(taps.sum()) == pytest.approx(math.sqrt(2), abs=1e-12)
    places = torch.arange(12, dtype=torch.float64)
    for moment in range(6):
        assert float(((-1) ** places * places**moment * taps).sum()) == pytest.approx(0, abs=1e-9)


COLOURS = torch.tensor([[0.3, -0.6, 0.1], [1.0, 1.0, 1.0], [-0.2, -0.2, -0.2]])


def recoloured(drawn: Augmentation, colours: Tensor = COLOURS) -> Tensor:
    return augment(colours.view(-1, 3, 1, 1), drawn)[..., 0, 0]


def test_colours_change_as_their_matrix_says():
    drawn = draw_augmentation(3, 1.0, seeded(3), ("colour",))
    expected = torch.einsum("bij,bj->bi", drawn.colour[:, :, :3], COLOURS) + drawn.colour[:, :, 3]
    assert torch.allclose(recoloured(drawn), expected, atol=1e-6)


def test_colour_matrices_are_brightness_contrast_luma_hue_and_saturation():
    """Grey stays grey; the part off the grey axis is turned about it and scaled."""
    drawn = draw_augmentation(400, 1.0, seeded(4), ("colour",)).colour
    linear, shift = drawn[:, :, :3], drawn[:, :, 3]
    grey = torch.full((3,), 1 / math.sqrt(3))
    assert torch.allclose(shift, shift.mean(1, keepdim=True).expand(-1, 3), atol=1e-5)
    along = linear @ grey
    assert torch.allclose(along, along.mean(1, keepdim=True).expand(-1, 3), rtol=1e-4, atol=1e-5)
    # A rotation about grey, times contrast and saturation.
    off = linear - along[:, :, None] * grey
    product = off @ off.mT
    flat = torch.eye(3) - torch.outer(grey, grey)
    gain = product.diagonal(dim1=1, dim2=2).sum(1) / 2
    assert torch.allclose(product, gain[:, None, None] * flat, rtol=1e-3, atol=1e-4)
    contrast = along.mean(1) * math.sqrt(3)
    assert 0.4 < float((contrast < 0).float().mean()) < 0.6  # luma is flipped in half of them
    assert float(contrast.abs().log2().std()) == pytest.approx(0.5, abs=0.06)
    assert float((gain.sqrt() / contrast.abs()).log2().std()) == pytest.approx(1.0, abs=0.12)
    assert float((shift.mean(1) / contrast).std()) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.8])
def test_changes_happen_as_often_as_they_are_meant_to(probability: float):
    count = 20000
    drawn = draw_augmentation(count, probability, seeded(5))
    std = math.sqrt(0.25 / count)

    def near(share: Tensor, expected: float) -> None:
        assert float(share.float().mean()) == pytest.approx(expected, abs=4 * std)

    near(drawn.mirror, probability / 2)
    near(drawn.quarters != 0, 0.75 * probability)
    near((drawn.shift != 0).any(1), probability)
    near((drawn.warp[:, :, 2] != 0).any(1), probability)
    # Of the two rotations at least one with p; the stretch between them changes nothing about that.
    unscaled = drawn.warp[:, 0, 1].abs() + drawn.warp[:, 1, 0].abs()
    near(unscaled > 0, probability)
    near(
        (drawn.colour != torch.eye(3, 4)).flatten(1).any(1),
        1 - (1 - probability) ** 4 * (1 - probability / 2),
    )
    for quarter in range(1, 4):
        near(drawn.quarters == quarter, probability / 4)


def test_no_direction_is_preferred():
    drawn = draw_augmentation(20000, 1.0, seeded(6))
    linear = drawn.warp[:, :, :2]
    assert float(linear.mean(0).abs().max()) < 0.03
    assert float(drawn.warp[:, :, 2].mean(0).abs().max()) < 0.004
    assert torch.allclose(drawn.warp[:, :, 2].std(0), torch.full((2,), 0.125), atol=0.003)
    assert float(drawn.shift.abs().max()) <= 0.125
    assert float(drawn.shift.mean(0).abs().max()) < 0.003
    # Areas: the isotropic scale alone.
    area = torch.linalg.det(linear)
    assert float(area.log2().mean()) == pytest.approx(0, abs=0.02)
    assert float(area.log2().std()) == pytest.approx(0.4, abs=0.01)


def test_gradients_of_gradients_reach_the_images():
    """R1 goes through the augmentation: the second derivative, too, is that of finite differences."""
    drawn = draw_augmentation(3, 1.0, seeded(7))
    drawn = Augmentation(*(v.double() if v.is_floating_point() else v for v in vars(drawn).values()))
    images = torch.randn(3, 3, 5, 5, generator=seeded(8), dtype=torch.float64, requires_grad=True)

    def score(values: Tensor) -> Tensor:
        return augment(values, drawn).tanh()

    assert torch.autograd.gradcheck(score, (images,))
    assert torch.autograd.gradgradcheck(score, (images,))


def test_drawing_uses_as_many_random_numbers_whatever_the_probability():
    states = []
    for probability, parts in [(0.0, PARTS), (0.5, ("blit",)), (1.0, ())]:
        generator = seeded(9)
        draw_augmentation(4, probability, generator, parts)
        states.append(generator.get_state())
    assert all(torch.equal(states[0], state) for state in states)


def test_the_probability_follows_the_sign_and_stays_in_its_range():
    assert adjust_probability(0.5, 0.9, 0.6, 256, 512) == 1.0
    assert adjust_probability(0.5, 0.9, 0.6, 256, 5120) == pytest.approx(0.55)
    assert adjust_probability(0.5, 0.1, 0.6, 256, 5120) == pytest.approx(0.45)
    assert adjust_probability(0.01, -1.0, 0.6, 256, 5120) == 0.0
    assert adjust_probability(0.3, 0.6, 0.6, 256, 5120) == 0.3

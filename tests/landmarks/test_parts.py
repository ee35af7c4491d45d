"""Crops, degradations, losses and the network of the method, each by itself."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.faces.schemes import scheme
from lineament.methods.landmarks.augment import Bank, degrade
from lineament.methods.landmarks.crop import Spread, cut, inverted, moved, moved_square, square_of_box
from lineament.methods.landmarks.draws import Draws
from lineament.methods.landmarks.folded import PackedBackbone, PackedHead, folded
from lineament.methods.landmarks.loss import carried_targets, placement_loss, visibility_loss
from lineament.methods.landmarks.model import build_networks, predict
from lineament.methods.landmarks.occlude import occlude
from lineament.methods.landmarks.points import drawn_points, mirror_among
from lineament.methods.landmarks.predictor import confidence
from lineament.methods.landmarks.recipe import _in_shares

BOX = torch.tensor([20.0, 10.0, 60.0, 62.0])

# The first photo of a process: what it imports is what it waits for.
FIRST = """
import sys, torch
import lineament
model = lineament.load("face-68")
photo = torch.full((3, 96, 128), 0.5)
model(photo)
faces = model(photo, boxes=torch.tensor([[20.0, 10.0, 80.0, 80.0]]))
assert faces[0].landmarks.shape == (68, 2)
print([name for name in ("numba", "scipy", "matplotlib", "torch._dynamo") if name in sys.modules])
"""


def draws(seed: int) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


def test_a_square_that_does_not_move_is_that_of_prediction() -> None:
    still = moved_square(BOX, 112, Spread(0, 0, 0), draws(0), False)
    torch.testing.assert_close(still, square_of_box(BOX, 112).matrix)
    mirrored = moved_square(BOX, 112, Spread(0, 0, 0), draws(0), True)
    points = torch.rand(7, 2, dtype=torch.float64) * 60
    flipped = moved(points, still)
    flipped[:, 0] = 111 - flipped[:, 0]
    torch.testing.assert_close(moved(points, mirrored), flipped)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_cut_image_shows_what_lies_at_its_points(seed: int, mirrored: bool) -> None:
    # An image that says where each of its pixels lies.
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(80.0), indexing="ij")
    image = torch.stack([x, y, torch.zeros_like(x)])
    matrix = moved_square(BOX, 48, Spread(), draws(seed), mirrored)
    square = cut(image, matrix, 48)
    at = torch.tensor([[5.0, 40.0], [24.0, 24.0], [33.0, 11.0]], dtype=torch.float64)
    there = moved(at, inverted(matrix)).clamp(0, 79)
    shown = torch.stack([square[:2, int(row), int(column)] for column, row in at.tolist()])
    torch.testing.assert_close(shown.double(), there, atol=1e-3, rtol=0)


def test_cutting_is_torch_s_grid_sampling() -> None:
    image = torch.rand(3, 61, 83)
    matrix = moved_square(BOX, 40, Spread(), draws(3), True)
    row = torch.arange(40.0, dtype=torch.float64)
    pixels = torch.stack([row.repeat(40), row.repeat_interleave(40)], 1)
    grid = (2 * moved(pixels, inverted(matrix)) + 1) / torch.tensor([83.0, 61.0]) - 1
    expected = F.grid_sample(
        image[None], grid.view(1, 40, 40, 2).float(), padding_mode="border", align_corners=False
    )[0]
    torch.testing.assert_close(cut(image, matrix, 40), expected, atol=1e-4, rtol=0)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_degraded_images_stay_images_and_follow_their_seed(seed: int) -> None:
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(seed))
    bank = Bank.of(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    eyes = torch.tensor([[20.0, 30.0], [44.0, 28.0]])

    def changed() -> torch.Tensor:
        numbers, copied = draws(seed), image.clone()
        occlude(copied, eyes, bank.textures, numbers)
        return degrade(copied, bank, numbers)

    first = changed()
    assert first.shape == image.shape and first.dtype == torch.float32
    assert float(first.min()) >= 0 and float(first.max()) <= 1 and bool(torch.isfinite(first).all())
    assert torch.equal(first, changed())


def test_without_eyes_or_anything_to_borrow_images_are_changed_too() -> None:
    bank = Bank.of(torch.zeros(0, 3, 32, 32))
    for seed in range(20):
        image = torch.rand(3, 32, 32)
        occlude(image, torch.full((2, 2), math.nan), bank.textures, draws(seed))
        assert bool(torch.isfinite(degrade(image, bank, draws(seed))).all())


def test_the_placement_loss_has_its_minimum_at_the_mean_error() -> None:
    points, targets = torch.zeros(1, 2, 2), torch.tensor([[[0.3, 0.4], [math.nan, 0.0]]])
    weights = torch.tensor([[1.0, 0.0]])
    scales = torch.linspace(0.1, 1.0, 91)
    losses = [float(placement_loss(points, scale.expand(1, 2), targets, weights)) for scale in scales]
    assert scales[losses.index(min(losses))] == pytest.approx(0.5, abs=0.011)
    assert min(losses) == pytest.approx(1 + math.log(0.5), abs=1e-3)
    # A target that is itself off by as much as it is far away: the best scale grows by the root of two.
    doubt = torch.full((1, 2), 0.5)
    losses = [float(placement_loss(points, scale.expand(1, 2), targets, weights, doubt)) for scale in scales]
    assert scales[losses.index(min(losses))] == pytest.approx(math.sqrt(0.5), abs=0.011)
    assert float(placement_loss(points, torch.ones(1, 2), targets, 0 * weights)) == 0.0


def test_a_missing_target_has_no_gradient() -> None:
    points = torch.rand(1, 2, 2, requires_grad=True)
    scale = torch.full((1, 2), 0.1, requires_grad=True)
    targets = torch.tensor([[[0.5, 0.5], [math.nan, math.nan]]])
    placement_loss(points, scale, targets, torch.tensor([[1.0, 0.0]])).backward()
    assert points.grad is not None and scale.grad is not None
    assert bool(torch.isfinite(points.grad).all()) and points.grad[0, 1].tolist() == [0, 0]
    assert scale.grad[0, 1] == 0 and scale.grad[0, 0] != 0


def test_visibility_counts_only_what_is_said() -> None:
    logits = torch.tensor([[2.0, -1.0, 5.0]])
    told = torch.tensor([[1.0, 0.0, math.nan]])
    expected = F.binary_cross_entropy_with_logits(logits[:, :2], told[:, :2])
    torch.testing.assert_close(visibility_loss(logits, told), expected)
    assert float(visibility_loss(logits, torch.full((1, 3), math.nan))) == 0.0


@pytest.mark.parametrize("mirrored", [False, True])
def test_carried_points_are_where_the_moved_image_has_them(mirrored: bool) -> None:
    layout = scheme("5")
    plain = moved_square(BOX, 32, Spread(0.03, 0.02, 4.0), draws(1), False)
    other = moved_square(BOX, 32, Spread(0.05, 0.02, 9.0), draws(2), mirrored)
    marks = torch.tensor([[30.0, 30], [50, 31], [40, 38], [33, 48], [47, 49]], dtype=torch.float64)
    back = torch.cat([inverted(plain), torch.tensor([[0.0, 0.0, 1.0]])])
    carry = _in_shares(back, other, 32)
    shares = (moved(marks, plain) + 0.5) / 32
    targets, scales, weights = carried_targets(
        shares[None], torch.full((1, 5), 0.02), carry[None], torch.tensor([mirrored]), layout.mirror
    )
    expected = (moved(marks, other) + 0.5) / 32
    if mirrored:
        expected = expected[list(layout.mirror)]
    torch.testing.assert_close(targets[0], expected)
    growth = float(other[:, :2].det().abs().sqrt() / plain[:, :2].det().abs().sqrt())
    torch.testing.assert_close(scales[0].float(), torch.full((5,), 0.02 * growth))
    assert bool((weights > 0.3).all()) and bool((weights < 1).all())
    outside, _, weights = carried_targets(
        shares[None] + 3.0, torch.full((1, 5), 0.02), carry[None], torch.tensor([mirrored]), layout.mirror
    )
    assert bool((outside > 1).any(-1).all()) and float(weights.abs().max()) == 0.0


@pytest.mark.parametrize("count", [1, 3])
def test_folded_networks_give_the_same(count: int) -> None:
    torch.manual_seed(0)
    networks = build_networks(5, (4, 6, 8, 10), (1, 1, 2), 8)
    for _ in range(3):
        predict(networks, torch.rand(6, 3, 48, 48))
    for network in networks.values():
        network.eval()
    for parameter in networks["head"].parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.rand(count, 3, 48, 48)
    with torch.no_grad():
        expected = predict(networks, images)
        backbone = folded(copy.deepcopy(networks["backbone"]))  # type: ignore[arg-type]
        assert isinstance(backbone, PackedBackbone)
        head = PackedHead(networks["head"])  # type: ignore[arg-type]
        for _ in range(2):
            for used in (networks["head"], head):
                found = predict({"backbone": backbone, "head": used}, images)
                for one, two in zip(found, expected, strict=True):
                    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_a_packed_head_drops_tails_and_follows_the_size_of_its_maps() -> None:
    head = build_networks(3, features=2)["head"].eval()
    torch.nn.init.normal_(head.maps.weight, std=40.0)  # type: ignore[union-attr, arg-type]
    packed = PackedHead(head)  # type: ignore[arg-type]
    for height, width in ((4, 8), (8, 4), (8, 8)):
        fine, coarse = 9 * torch.randn(2, 2, height, width), torch.randn(2, 128)
        with torch.no_grad():
            expected = head(fine, coarse)
        for one, two in zip(packed(fine, coarse), expected, strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_a_peak_of_a_map_is_the_place() -> None:
    networks = build_networks(2, features=2)
    head = networks["head"]
    with torch.no_grad():
        head.maps.weight.copy_(torch.eye(2).view(2, 2, 1, 1))  # type: ignore[union-attr, operator]
        fine = torch.zeros(1, 2, 8, 8)
        fine[0, 0, 2, 5] = 60.0
        fine[0, 1, 7, 0] = 60.0
        said = head(fine, torch.zeros(1, 128))
    torch.testing.assert_close(said.points[0], torch.tensor([[5.5, 2.5], [0.5, 7.5]]) / 8)
    assert said.scale.shape == (1, 2) and float(said.scale.min()) > 0


def test_confidence_is_a_probability_that_falls_with_the_deviation() -> None:
    told = confidence(torch.tensor([0.001, 0.01, 0.037, 0.2, 10.0]))
    assert bool((told[:-1] > told[1:]).all()) and float(told.max()) <= 1 and float(told.min()) >= 0
    # Drawn errors of one deviation: as many are near as the confidence says.
    errors = (0.03 * torch.randn(20000, 2, generator=torch.Generator().manual_seed(0))).norm(dim=-1)
    near = float((errors < 0.05 / 1.35).float().mean())
    assert float(confidence(torch.tensor(0.03))) == pytest.approx(near, abs=0.01)


def test_a_step_learns_some_points_with_their_mirror_images() -> None:
    mirror, generator = scheme("400-dense").mirror, torch.Generator().manual_seed(0)
    counted = torch.zeros(400)
    for _ in range(60):
        chosen = drawn_points(mirror, 129, generator)
        assert 128 <= len(set(chosen.tolist())) == len(chosen) <= 129
        order = mirror_among(chosen, mirror)
        assert [mirror[index] for index in chosen.tolist()] == chosen[list(order)].tolist()
        counted[chosen] += 1
    assert float(counted.min()) >= 5
    assert drawn_points(mirror, 0, generator).tolist() == list(range(400))
    assert drawn_points((1, 0, 2), 1, generator).tolist() in ([0, 1], [2])


def test_some_points_are_what_they_are_among_all() -> None:
    networks = build_networks(9, (4, 6, 8, 10), (1, 1, 1), 8)
    for network in networks.values():
        network.eval()
    chosen, images = torch.tensor([1, 4, 8]), torch.rand(2, 3, 32, 32)
    whole, some = predict(networks, images), predict(networks, images, chosen)
    for one, other in zip(whole, some, strict=True):
        torch.testing.assert_close(one[:, chosen], other)


def test_the_first_photo_waits_for_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"

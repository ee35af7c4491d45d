"""The unpublished parts: codes that begin linear, lateral layers, the loss about places."""

from __future__ import annotations

import math

import pytest
import torch

from lineament.errors import UsageError
from lineament.methods.fabrec.decoder import Decoder
from lineament.methods.fabrec.encoder import LINEAR_GAIN, Encoder
from lineament.methods.fabrec.heatmaps import as_peaks, draw_heatmaps, read_heatmaps
from lineament.methods.fabrec.loss import heatmap_cross_entropy, structural_loss
from lineament.methods.fabrec.model import Layout, WholeNetworks, heatmaps_of
from lineament.methods.fabrec.recipe_modern import SupervisedConfig


def test_the_linear_map_sees_the_small_picture():
    encoder = Encoder(64, 4, 6, linear=True).eval()
    torch.nn.init.zeros_(encoder.fc.weight)
    torch.nn.init.zeros_(encoder.fc.bias)
    assert encoder.linear is not None
    picture = torch.rand(2, 3, 64, 64)
    # Means of 2 x 2 pixels are all that the linear map sees.
    expected = encoder.linear(LINEAR_GAIN * torch.nn.functional.avg_pool2d(picture, 2).flatten(1))
    torch.testing.assert_close(encoder(picture), expected)


def test_the_decoder_draws_its_linear_map_at_first():
    decoder = Decoder(128, 4, 6, linear=True).eval()
    assert decoder.linear is not None
    torch.nn.init.zeros_(decoder.linear.weight)
    torch.nn.init.constant_(decoder.linear.bias, 1.5)
    # Flat, and not bounded by a hyperbolic tangent.
    torch.testing.assert_close(decoder(torch.randn(2, 6)).image, torch.full((2, 3, 128, 128), 1.5))
    assert decoder(torch.randn(2, 6), with_image=False).image is None


@pytest.mark.parametrize("size", [64, 128, 256])
def test_lateral_layers_are_nothing_at_first_and_then_reach_past_the_code(size: int):
    layout = Layout(size, 4, 6)
    parts = layout.autoencoder()
    networks = {
        "encoder": parts["encoder"],
        "decoder": parts["decoder"],
        "transfer": layout.transfer(3, lateral=True),
    }
    for network in networks.values():
        network.eval()
    plain = layout.transfer(3).eval()
    plain.load_state_dict({k: v for k, v in networks["transfer"].state_dict().items() if "laterals" not in k})
    images = torch.rand(2, 3, size, size) - 0.5
    expected = heatmaps_of({**networks, "transfer": plain}, images)
    torch.testing.assert_close(WholeNetworks(networks)(images), expected)
    # With the code cut off, only the lateral layers carry what differs between two pictures.
    torch.nn.init.zeros_(networks["decoder"].fc.weight)
    blind = heatmaps_of(networks, images)
    torch.testing.assert_close(blind[0], blind[1])
    for layer in networks["transfer"].laterals:
        torch.nn.init.normal_(layer.weight, std=0.3)
    seeing = heatmaps_of(networks, images)
    assert float((seeing[0] - seeing[1]).detach().abs().max()) > 1e-4


def test_the_place_loss_is_the_entropy_at_its_minimum():
    points = torch.tensor([[[20.3, 30.6], [40.0, 11.2]]])
    targets = draw_heatmaps(points, 64, 64, 3.5)
    perfect = targets.clamp(min=1e-30).log()
    entropy = math.log(2 * math.pi * math.e * 3.5**2)
    assert float(heatmap_cross_entropy(perfect, targets)) == pytest.approx(entropy, abs=2e-3)
    assert float(heatmap_cross_entropy(torch.zeros_like(targets), targets)) == pytest.approx(
        math.log(64 * 64), rel=1e-5
    )
    # Unknown landmarks and targets far outside teach nothing, and no NaN comes of them.
    outside = draw_heatmaps(torch.tensor([[[20.3, 30.6], [400.0, 11.2]]]), 64, 64, 3.5)
    assert float(heatmap_cross_entropy(perfect, outside)) == pytest.approx(entropy, abs=2e-3)
    known = torch.tensor([[False, False]])
    assert float(heatmap_cross_entropy(perfect, targets, known)) == 0.0
    scores = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    small = draw_heatmaps(torch.tensor([[[3.3, 4.6], [2.0, 5.2]]]).double(), 8, 8, 1.0)
    assert torch.autograd.gradcheck(lambda v: heatmap_cross_entropy(v, small), scores)


def test_a_sharp_softmax_has_the_height_one_and_the_right_place():
    points = torch.tensor([[[20.3, 30.6]]])
    scores = draw_heatmaps(points, 64, 64, 3.5).clamp(min=1e-30).log() + 5.0
    peaks = as_peaks(scores, 3.5)
    assert float(peaks.amax()) == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(read_heatmaps(peaks, 64, 3.5), points, atol=0.05, rtol=0)
    assert float(as_peaks(torch.zeros(1, 1, 64, 64), 3.5).amax()) < 0.02


def test_the_structural_loss_at_several_sizes_feels_a_shift_from_farther_away():
    place = torch.arange(64.0)
    bump = torch.exp(-0.5 * ((place - 32) / 1.5) ** 2)
    edge = (bump[:, None] * bump).expand(1, 3, 64, 64)

    def gain(scales: int) -> float:
        near, far = (structural_loss(edge, edge.roll(by, -1), "unit", 11, scales) for by in (8, 11))
        return float(far - near)

    assert gain(3) > gain(1) + 1e-3
    torch.testing.assert_close(structural_loss(edge, edge, "unit", 11, 3), torch.zeros(()), atol=1e-6, rtol=0)


def test_a_supervised_run_has_no_base():
    with pytest.raises(UsageError, match="starts from nothing: leave --base runs/a out"):
        SupervisedConfig(base="runs/a")

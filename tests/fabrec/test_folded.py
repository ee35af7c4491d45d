"""The networks as prediction runs them give what the trained networks give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lineament.methods.fabrec.folded import FoldedNetworks
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.model import Layout, heatmaps_of, normalise_images
from lineament.methods.fabrec.predictor import LandmarkPredictor


def networks_of(layout: Layout, landmarks: int) -> dict[str, nn.Module]:
    """Random networks whose norms have weights and statistics of their own."""
    torch.manual_seed(3)
    networks = {**layout.autoencoder(), "transfer": layout.transfer(landmarks)}
    for network in networks.values():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 1.5)
                module.weight.data.uniform_(0.5, 1.2)
                module.bias.data.normal_(0, 0.3)
        network.eval()
    return networks


def folded(networks: dict[str, nn.Module], dtype: torch.dtype = torch.float32) -> FoldedNetworks:
    return FoldedNetworks(networks["encoder"], networks["decoder"], networks["transfer"], dtype)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize(("size", "width"), [(64, 8), (128, 6), (256, 64), (512, 4)])
@torch.no_grad()
def test_heatmaps_are_the_networks_own(size: int, width: int, linear: bool):
    networks = networks_of(Layout(size, width, 12, linear), 7)
    before = {name: value.clone() for name, value in networks["encoder"].state_dict().items()}
    images = 0.2 * torch.randn(2 if size > 64 else 5, 3, size, size)
    expected = heatmaps_of(networks, images)
    found = folded(networks)(images)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert float(expected.std()) > 1e-2
    assert all(torch.equal(value, before[name]) for name, value in networks["encoder"].state_dict().items())


@torch.no_grad()
def test_half_precision_is_near_and_comes_back_in_full():
    networks = networks_of(Layout(64, 8, 12), 5)
    images = 0.2 * torch.randn(2, 3, 64, 64)
    expected = heatmaps_of(networks, images)
    found = folded(networks, dtype=torch.bfloat16)(images)
    assert found.dtype == torch.float32
    error = float((found - expected).abs().max() / expected.abs().max())
    assert 1e-6 < error < 0.05, "bfloat16 has eight binary digits"


def test_a_predictor_reads_the_same_points():
    config = LandmarkConfig(size=64, width=8, code=12, scheme="5", base="random", flip_tta=False)
    networks = networks_of(config.layout, 5)
    pictures = torch.rand(2, 3, 64, 64)
    points, confidence = LandmarkPredictor(config, networks).read(pictures)
    with torch.no_grad():
        peaks = heatmaps_of(networks, normalise_images(pictures)).amax((-2, -1)).clamp(0, 1)
    torch.testing.assert_close(confidence, peaks, atol=1e-5, rtol=0)
    assert points.shape == (2, 5, 2)
    near = LandmarkPredictor(config, networks, dtype=torch.bfloat16).read(pictures)[1]
    torch.testing.assert_close(near, confidence, atol=0.05, rtol=0.05)

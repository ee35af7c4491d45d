"""The networks: published sizes, shapes, stride, initialisation."""

from __future__ import annotations

import pytest
import torch

from lineament.errors import DataError, UsageError
from lineament.methods.dve.hourglass import Hourglass
from lineament.methods.dve.model import SmallNet, build_backbone, describe, describe_frozen, normalise_images
from lineament.methods.dve.regressor import LandmarkRegressor, to_pixels, to_unit
from lineament.methods.dve.unet import UNet


@pytest.mark.parametrize(("channels", "count"), [(3, 334_875), (16, 338_216), (32, 342_328), (64, 350_552)])
def test_smallnet_has_the_published_number_of_parameters(channels: int, count: int):
    assert sum(p.numel() for p in SmallNet(channels).parameters()) == count


def test_hourglass_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = Hourglass(64)
    assert sum(p.numel() for p in network.parameters()) == 12_609_472
    assert len(network.state_dict()) == 1259


def test_descriptors_lie_on_a_lattice_of_stride_two():
    images = torch.rand(2, 3, 70, 70)
    assert describe(SmallNet(16), images).shape == (2, 16, 35, 35)
    assert describe(SmallNet(3, max_pool=False), images[:, :, :20]).shape == (2, 3, 20, 70)


@pytest.mark.parametrize("side", [32, 44, 64, 70])
def test_the_unet_lies_on_the_same_lattice_as_smallnet(side: int):
    images = torch.rand(2, 3, side, side)
    assert (
        describe(UNet(16), images).shape
        == describe(SmallNet(16), images).shape
        == (2, 16, side // 2, side // 2)
    )


def test_every_parameter_of_the_unet_gets_a_gradient():
    network = UNet(8)
    network(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_unet_follows_a_shift_of_the_picture():
    # A shift by sixteen pixels, the coarsest step of the network, moves descriptors by eight lattice points.
    network = UNet(8).eval()
    wide = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        first, second = network(wide[..., :144, :144]), network(wide[..., 16:, 16:])
    middle = slice(28, 44)
    shifted = slice(20, 36)
    away = (first[..., middle, middle] - second[..., middle, middle]).norm()
    assert (first[..., middle, middle] - second[..., shifted, shifted]).norm() < 0.05 * away


def test_smallnet_starts_with_zero_biases():
    network = SmallNet(4)
    assert all(not m.bias.any() for m in network.modules() if isinstance(m, torch.nn.Conv2d))


def test_normalised_faces_are_centred():
    mean = torch.tensor([0.5084, 0.4224, 0.3769]).view(1, 3, 1, 1)
    assert float(normalise_images(mean.expand(1, 3, 2, 2)).abs().max()) < 1e-6


def test_frozen_descriptors_do_not_move_the_statistics():
    network = SmallNet(3).train()
    before = network.conv1[1].running_mean.clone()
    features = describe_frozen(network, torch.rand(2, 3, 20, 20))
    assert network.training
    assert not features.requires_grad
    assert torch.equal(network.conv1[1].running_mean, before)


def test_unknown_networks_and_wrong_sizes_are_refused():
    with pytest.raises(UsageError, match="did you mean 'smallnet'"):
        build_backbone("smalnet", 16)
    with pytest.raises(DataError, match="70x70"):
        Hourglass(3, blocks=1)(torch.zeros(1, 3, 70, 70))


def test_every_parameter_of_the_hourglass_gets_a_gradient():
    network = Hourglass(3, blocks=1, scaled_norm_output=True)
    weights = torch.rand(2, 3, 16, 16)
    (network(torch.rand(2, 3, 32, 32)) * weights).sum().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A bias right before batch normalisation has no effect and so no gradient beyond rounding.
    assert not [name for name in missing if not name.endswith(("conv1.bias", "conv2.bias", "0.1.bias"))]


def test_unit_coordinates_round_trip():
    points = torch.tensor([[0.0, 0.0], [69.0, 47.0], [10.5, 3.25]])
    unit = to_unit(points, 70, 48)
    assert unit[:2].tolist() == [[-1, -1], [1, 1]]
    torch.testing.assert_close(to_pixels(unit, 70, 48), points)


def test_the_regressor_keeps_gradients_from_the_descriptors():
    features = torch.rand(2, 4, 6, 6, requires_grad=True)
    regressor = LandmarkRegressor(4, 3, intermediate=5)
    landmarks, points = regressor(features)
    assert landmarks.shape == (2, 3, 2)
    assert points.shape == (2, 3, 5, 2)
    landmarks.sum().backward()
    assert features.grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in regressor.parameters())

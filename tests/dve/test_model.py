"""The networks: published sizes, shapes, stride, initialisation."""

from __future__ import annotations

import pytest
import torch

from lineament.errors import DataError, UsageError
from lineament.methods.dve.hourglass import Hourglass
from lineament.methods.dve.model import (
    SmallNet,
    build_backbone,
    describe,
    describe_frozen,
    grey_input,
    normalise_images,
)
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


def test_descriptors_lie_on_a_grid_of_stride_two():
    images = torch.rand(2, 3, 70, 70)
    assert describe(SmallNet(16), images).shape == (2, 16, 35, 35)
    assert describe(SmallNet(3, max_pool=False), images[:, :, :20]).shape == (2, 3, 20, 70)


@pytest.mark.parametrize("side", [32, 44, 64, 70])
def test_the_unet_lies_on_the_same_grid_as_smallnet(side: int):
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
    # A shift by sixteen pixels, the coarsest step of the network, moves descriptors by eight grid points.
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


def test_a_descriptor_of_smallnet_sees_as_far_as_its_dilations_reach():
    """Lattice steps: 2 of conv2, 4 of conv3, 4 of conv4, 2 of conv5; then 2 and 1 pixels before the pooling."""
    network = SmallNet(4).eval()
    picture = torch.rand(1, 3, 81, 81, generator=torch.Generator().manual_seed(0)).requires_grad_()
    network(picture)[0, :, 20, 20].sum().backward()
    assert picture.grad is not None
    touched = picture.grad[0].abs().sum(0)
    # Lattice point 20 pools pixels 40 and 41; twelve steps of two pixels and two pixels of the first layer about it.
    rows = touched.sum(1).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (40 - 24 - 2, 41 + 24 + 2)
    assert torch.equal(rows, touched.sum(0).nonzero().flatten())


def test_a_network_for_luma_is_shown_the_same_luma_normalised_as_ever():
    network = SmallNet(4).eval()
    seen: list[torch.Tensor] = []
    network.register_forward_pre_hook(grey_input)
    network.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network(normalise_images(pictures))
    luma = (pictures * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(seen[0], normalise_images(luma.expand(-1, 3, -1, -1)))


def test_the_published_statistics_of_pictures():
    white = normalise_images(torch.ones(1, 3, 1, 1)).flatten().tolist()
    assert white == pytest.approx([0.4916 / 0.2599, 0.5776 / 0.2371, 0.6231 / 0.2323])

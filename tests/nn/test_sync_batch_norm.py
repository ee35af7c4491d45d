"""Batch norm over all processes, in one process: the same numbers, names and modes as torch's own.

Two processes: tests/training/test_distributed.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lineament.nn.sync_batch_norm import SynchronisedBatchNorm, all_reduce_sum, synchronise_batch_norm


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(("affine", "tracked"), [(True, True), (False, True), (True, False)])
def test_alone_it_is_plain_batch_norm(momentum: float | None, affine: bool, tracked: bool):
    torch.manual_seed(0)
    plain = nn.BatchNorm1d(4, momentum=momentum, affine=affine, track_running_stats=tracked)
    synchronised = SynchronisedBatchNorm(4, momentum=momentum, affine=affine, track_running_stats=tracked)
    for _ in range(3):
        x = torch.randn(5, 4)
        torch.testing.assert_close(synchronised(x), plain(x))
    assert synchronised.state_dict().keys() == plain.state_dict().keys()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(synchronised.state_dict()[key], value)
    x = torch.randn(5, 4)
    torch.testing.assert_close(synchronised.eval()(x), plain.eval()(x))
    with pytest.raises(ValueError, match="expected"):
        synchronised.train()(torch.randn(4))


def test_a_channel_that_does_not_vary_is_divided_by_the_stabiliser_alone():
    norm = SynchronisedBatchNorm(1, eps=0.25)
    # Zero spread; the weight is 1 and the bias 3.
    nn.init.constant_(norm.bias, 3.0)
    assert norm(torch.full((4, 1), 7.0)).flatten().tolist() == [3.0] * 4
    # Spread 1 about 0: 1 / sqrt(1 + 0.25).
    pair = norm(torch.tensor([[-1.0], [1.0]]))
    torch.testing.assert_close(pair.flatten(), torch.tensor([-1.0, 1.0]) / 1.25**0.5 + 3.0)


def test_maps_are_normalised_over_pixels_and_gradients_are_torchs():
    torch.manual_seed(0)
    plain, synchronised = nn.BatchNorm2d(3), SynchronisedBatchNorm(3)
    maps = 5.0 + 2.0 * torch.randn(2, 3, 4, 5)
    upstream = torch.randn_like(maps)
    gradients = []
    for norm in (plain, synchronised):
        leaf = maps.clone().requires_grad_()
        norm(leaf).backward(upstream)
        gradients.append((leaf.grad, norm.weight.grad, norm.bias.grad))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(synchronised.running_var, plain.running_var)
    assert synchronised(maps.bfloat16()).dtype == torch.bfloat16


def test_a_process_alone_sums_nothing():
    value = torch.arange(3.0)
    assert all_reduce_sum(value) is value


def test_conversion_keeps_names_parameters_and_mode():
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(3, 4, 1))
    net.add_module("inner", nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.3), nn.ReLU()))
    net.eval()
    plain = net.inner[0]
    names = list(net.state_dict())
    converted = synchronise_batch_norm(net)
    norm = converted.inner[0]
    assert isinstance(norm, SynchronisedBatchNorm)
    assert list(converted.state_dict()) == names
    assert norm.weight is plain.weight and norm.running_mean is plain.running_mean
    assert (norm.eps, norm.momentum, norm.training) == (1e-3, 0.3, False)
    # A network that is itself a norm is replaced, too.
    assert isinstance(synchronise_batch_norm(nn.BatchNorm1d(2)), SynchronisedBatchNorm)

"""Large maps with the channels of a pixel beside each other: the same values and gradients, whatever the order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import lineament.nn.channels_last as memory
from lineament.methods.fabrec.model import Layout
from lineament.nn.channels_last import LargeConv2d, LargeConvTranspose2d, arranged


def test_large_maps_are_kept_channels_last():
    large, small = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 16, 16)
    assert arranged(large).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(arranged(large), large, rtol=0, atol=0)
    assert arranged(small.to(memory_format=torch.channels_last)).is_contiguous()


@pytest.mark.parametrize("transposed", [False, True])
def test_the_gradients_of_a_large_convolution_are_those_of_a_plain_one(
    transposed: bool, monkeypatch: pytest.MonkeyPatch
):
    torch.manual_seed(0)
    kernel = (3, 4, 4, 2, 1) if transposed else (3, 4, 3, 1, 1)
    ours: nn.Module = (LargeConvTranspose2d if transposed else LargeConv2d)(*kernel, bias=False)
    plain: nn.Module = (nn.ConvTranspose2d if transposed else nn.Conv2d)(*kernel, bias=False)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    weights = torch.randn_like(plain(x))

    def gradients(layer: nn.Module, maps: Tensor) -> tuple[Tensor, ...]:
        output = layer(maps)
        assert ("_LargeConvolution" in type(output.grad_fn).__name__) == (layer is ours)
        return torch.autograd.grad((output * weights).sum(), (maps, *layer.parameters()))

    monkeypatch.setattr(memory, "LARGE_GRADIENT", 32)
    first = gradients(ours, arranged(x).requires_grad_())
    second = gradients(plain, x.clone().requires_grad_())
    for mine, theirs in zip(first, second, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    # Frozen weights, and maps too small for it to pay, take the plain way.
    monkeypatch.setattr(memory, "LARGE_GRADIENT", 65)
    assert "_LargeConvolution" not in type(ours(x).grad_fn).__name__
    monkeypatch.setattr(memory, "LARGE_GRADIENT", 32)
    ours.requires_grad_(False)
    frozen = arranged(x).requires_grad_()
    (alone,) = torch.autograd.grad((ours(frozen) * weights).sum(), frozen)
    torch.testing.assert_close(alone, second[0], rtol=1e-4, atol=1e-4)


def _gradients(run: Callable[[dict[str, nn.Module]], Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    networks = Layout(256, width=4, code=5).autoencoder()
    for network in networks.values():
        network.double()
    run(networks).backward()
    return {
        f"{name}/{key}": parameter.grad
        for name, network in networks.items()
        for key, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def test_networks_learn_the_same_in_either_order(monkeypatch: pytest.MonkeyPatch):
    images = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(1)).double()

    def run(networks: dict[str, nn.Module]) -> Tensor:
        decoded = networks["decoder"](networks["encoder"](images)).image
        return (decoded - images).square().mean() + networks["image_discriminator"](decoded).log().mean()

    channels_last = _gradients(run)
    monkeypatch.setattr(memory, "LARGE", 1000)
    usual = _gradients(run)
    assert channels_last.keys() == usual.keys()
    for name, gradient in channels_last.items():
        torch.testing.assert_close(gradient, usual[name], rtol=1e-7, atol=1e-10, msg=name)

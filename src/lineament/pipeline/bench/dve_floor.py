"""The least a training step on dense descriptors can take: its convolutions and matrix products, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lineament.ops.exchange.blocked import row_blocks

# Products of N x N x C of the loss with its gradients.
LOSS_PRODUCTS = 9


@dataclass(frozen=True)
class Convolution:
    """One convolution of a network as it met one batch.

    Attributes:
        layer: Its weights and settings.
        images: ``[B, C, H, W]`` what it was given.
        first: Whether it stands at the input, where no gradient is wanted.
    """

    layer: nn.Conv2d
    images: Tensor
    first: bool

    @property
    def operations(self) -> float:
        """Multiplications and additions of the forward pass and both gradients."""
        with torch.no_grad():
            height, width = self.layer(self.images).shape[2:]
        each = 2 * self.layer.weight.numel() * len(self.images) * height * width
        return each * (2 if self.first else 3)

    def bare(self, layout: torch.memory_format) -> Callable[[], object]:
        """A call that does the convolution forward and backward on tensors in this memory layout."""
        layer = self.layer
        images = self.images.contiguous(memory_format=layout)
        weight = layer.weight.detach().contiguous(memory_format=layout)
        bias = layer.bias.detach() if layer.bias is not None else None
        assert isinstance(layer.padding, tuple)
        settings = (layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)

        def call() -> object:
            result = torch.ops.aten.convolution(images, weight, bias, *settings)
            wanted = (not self.first, True, bias is not None)
            size = None if bias is None else [len(bias)]
            return torch.ops.aten.convolution_backward(result, images, weight, size, *settings, wanted)

        return call


def convolutions_of(network: nn.Module, images: Tensor) -> list[Convolution]:
    """All convolutions of a network with what they meet in one forward pass of ``images [B, 3, H, W]``."""
    found: list[Convolution] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        found.append(Convolution(layer, given[0].detach().clone(), first=not found))

    hooks = [m.register_forward_pre_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def loss_products(pairs: int, points: int, channels: int, device: str) -> Callable[[], object]:
    """A call that does the nine products of the exchange loss and its gradients, block by block, and nothing else."""
    generator = torch.Generator().manual_seed(0)
    source, other, goal = torch.randn(3, channels, points, generator=generator).to(device)
    blocks = list(row_blocks(points, points))
    tallest = max(block.stop - block.start for block in blocks)
    # What is multiplied stays as it is, or numbers would grow from product to product; results go elsewhere.
    weights = torch.rand(2 * tallest, points, generator=generator).to(device)
    scores, rebuilt = torch.empty_like(weights), torch.empty(channels, tallest, device=device)
    pair = torch.randn(channels, 2 * tallest, generator=generator).to(device)
    sums = torch.zeros(2, channels, points, device=device)

    def block_products(block: slice) -> None:
        height = block.stop - block.start
        query, narrow = source[:, block], rebuilt[:, :height]
        upper, lower = weights[:height], weights[height : 2 * height]
        torch.mm(query.t(), other, out=scores[:height])
        torch.mm(other, upper.t(), out=narrow)
        torch.mm(query.t(), goal, out=scores[height : 2 * height])
        sums[0].addmm_(query, lower)
        torch.mm(goal, lower.t(), out=narrow)
        torch.mm(query.t(), other, out=scores[height : 2 * height])
        torch.mm(other, upper.t(), out=narrow)
        sums[1].addmm_(pair[:, : 2 * height], weights[: 2 * height])  # two in one

    def call() -> object:
        for _ in range(pairs):
            for block in blocks:
                block_products(block)
        return sums

    return call

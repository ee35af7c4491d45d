"""The training step and the pair warp of Descriptor Vector Exchange, written out plainly: what the bench compares with.

Every N x N matrix is kept for autograd, images are warped one by one, and a search tree over all pixels of each image
carries the landmarks. The numbers equal those of the fast code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor

from lineament.methods.dve.model import SmallNet


def exchange_loss(features: Tensor, grid: Tensor, stride: int, power: float, *, outer: bool) -> Tensor:
    """Loss of raw descriptors of interleaved pairs.

    Args:
        features: ``[2B, C, h, w]``.
        grid: ``[B, H, W, 2]`` between the images of each pair.
        stride: Pixels per feature grid step.
        power: Exponent of the distance.
        outer: Rebuild the source through its C x N x N terms, as the published code does, not by a matrix product.
    """
    height, width = features.shape[2:]
    size = grid.new_tensor([grid.shape[2] - 1, grid.shape[1] - 1])
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = stride * torch.stack([xs, ys], dim=-1).reshape(-1, 2).to(grid)  # [N, 2]
    total = features.new_zeros(())
    pairs = len(grid)
    for b in range(pairs):
        source, target = features[2 * b].flatten(1), features[2 * b + 1].flatten(1)  # [C, N]
        other = features[2 * ((b + 1) % pairs)].flatten(1)
        weights = (source.t() @ other).softmax(1)  # [N, N]
        rebuilt = (other[:, None] * weights).sum(2) if outer else other @ weights.t()
        match = (rebuilt.t() @ target).softmax(1)  # [N, N]
        belongs = ((grid[b] + 1) / 2 * size)[::stride, ::stride].reshape(-1, 2)
        distance = (belongs[:, None] - places).square().sum(2).pow(power / 2)
        total = total + (match * distance).sum(1).mean()
    return total / pairs


def plain_features(network: SmallNet, images: Tensor) -> Tensor:
    """Its layers one after the other, images in torch's usual memory layout."""
    x = network.mp(network.conv1(images))
    for layer in (network.conv2, network.conv3, network.conv4, network.conv5, network.conv6):
        x = layer(x)
    return x


def training_step(
    network: SmallNet,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    grid: Tensor,
    stride: int,
    power: float,
    *,
    outer: bool,
) -> Tensor:
    """Forward, loss, backward and optimiser of normalised views ``[2B, 3, H, W]`` by a SmallNet; returns the loss."""
    loss = exchange_loss(plain_features(network, images), grid, stride, power, outer=outer)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


def sampling_grid(weights: Tensor, height: int, width: int, control: int = 10) -> Tensor:
    """Grid ``[H, W, 2]`` of one warp ``[103, 2]``."""
    pixels = _grid(height, width)
    squared = (pixels[:, None] - _grid(control, control)).square().sum(2)
    basis = torch.cat([squared * torch.log(squared + 1e-5), torch.ones(len(pixels), 1), pixels], dim=1)
    return (basis @ weights).view(height, width, 2)


def _grid(height: int, width: int) -> Tensor:
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([xs, ys], dim=-1).view(-1, 2)


def carry(points: Tensor, grid: Tensor) -> Tensor:
    """Whole pixels ``[K, 2]`` whose grid value is nearest to each of ``points [K, 2]``, by a search tree."""
    height, width = grid.shape[:2]
    size = torch.tensor([width - 1, height - 1])
    _, index = cKDTree(grid.view(-1, 2).double().numpy()).query((points.double() * 2 / size - 1).numpy())
    found = torch.as_tensor(index)
    return torch.stack([found % width, found // width], dim=1).to(points.dtype)


def warp_pair(
    image: Tensor, first: Tensor, second: Tensor, crop: int, points: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Twice- and once-warped image and landmarks of one image ``[3, H, W]``, cropped."""
    height, width = image.shape[1:]
    grid1, grid2 = (sampling_grid(weights, height, width) for weights in (first, second))
    once = F.grid_sample(image[None], grid1[None], align_corners=True)
    twice = F.grid_sample(once, grid2[None], align_corners=True)
    once_points = carry(points, grid1)
    twice_points = carry(once_points, grid2)
    inside = slice(crop, -crop)
    return (
        twice[0, :, inside, inside],
        once[0, :, inside, inside],
        twice_points - crop,
        once_points - crop,
    )

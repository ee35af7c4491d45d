"""The dense correlation loss and the descriptor-exchange loss (equations 2 to 5 of the paper).

Layout: a batch of B pairs is given as ``[2B, C, h, w]`` with the source images (twice-warped) at even places and the
targets at odd ones. ``grid`` says for each pixel of a source image where it lies in its target. Distances are in pixels
of the input images. All scores are raw dot products: with ``normalize`` the vectors get length 20, else the network
decides the temperature by the lengths it gives them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.geometry.tps_warp import pixels_from_grid
from lineament.ops.exchange import dense_correlation_loss, exchange_loss


def grid_targets(grid: Tensor, stride: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixel positions on the descriptor feature grid.

    Args:
        grid: ``[B, H, W, 2]`` in -1..1: where each source pixel lies in the target.
        stride: Pixels per feature grid step.
        height: Grid height h, must be ceil(H / stride).
        width: Grid width w, must be ceil(W / stride).

    Returns:
        ``[B, N, 2]`` the places g(u) where the source points belong, and ``[N, 2]`` the places v of the target points.

    Raises:
        DataError: If grid and feature grid do not fit.
    """
    rows, columns = grid.shape[1:3]
    belongs = pixels_from_grid(grid, rows, columns)[:, ::stride, ::stride]
    if belongs.shape[1:3] != (height, width):
        raise DataError(
            f"a {rows}x{columns} grid at stride {stride} has {belongs.shape[1]}x{belongs.shape[2]} points "
            f"but the descriptors have {height}x{width}: give the stride of the network."
        )
    ys = torch.arange(height, device=grid.device, dtype=grid.dtype) * stride
    xs = torch.arange(width, device=grid.device, dtype=grid.dtype) * stride
    places = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)
    return belongs.flatten(1, 2), places.view(-1, 2)


def descriptor_loss(
    features: Tensor,
    grid: Tensor,
    *,
    stride: int = 2,
    normalize: bool = False,
    power: float = 0.5,
    exchanged: bool = True,
    rows: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """Expected distance between where a source point is matched and where it belongs.

    L = mean_b mean_u sum_v softmax_v(q_u . t_v) |g(u) - v| ** power, where q is the source vector itself or, with
    ``exchanged``, its soft reconstruction from the source image of the next pair (from itself when B = 1).

    Args:
        features: ``[2B, C, h, w]`` interleaved pairs.
        grid: ``[B, H, W, 2]``.
        stride: Pixels per feature grid step.
        normalize: Give all vectors the length 20 first.
        power: Exponent of the Euclidean pixel distance; 0.5 in all published runs.
        exchanged: Descriptor exchange on.
        rows: ``[M]`` feature grid indices of the source points to use; all when None. A random subset is an unbiased
            estimate at M / N of the cost.
        impl: Who computes, see :func:`lineament.ops.exchange.exchange_loss`.

    Returns:
        Scalar loss.

    Raises:
        DataError: If grid and feature grid do not fit.
    """
    height, width = features.shape[2:]
    belongs, places = grid_targets(grid, stride, height, width)
    vectors = features.flatten(2)
    sources, targets = vectors[0::2], vectors[1::2]
    auxiliary = sources.roll(-1, dims=0)
    if rows is not None:
        sources, belongs = sources[:, :, rows], belongs[:, rows]
    if exchanged:
        return exchange_loss(
            sources, targets, auxiliary, belongs, places, normalize=normalize, power=power, impl=impl
        )
    return dense_correlation_loss(
        sources, targets, belongs, places, normalize=normalize, power=power, impl=impl
    )

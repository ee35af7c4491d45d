"""The networks of DepthNets (Moniz et al., NeurIPS 2018): depth from two sets of keypoints, and the critic on depths.

Keypoints are divided by the size of their image: x by its width, y by its height, without centring. Depths are in
half the sum of width and height, larger away from the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from lineament.errors import UsageError
from lineament.faces.schemes import scheme
from lineament.geometry.affine_fit import apply_affine, fit_affine

KEYPOINTS = len(scheme("66"))
"""Points of a 3DFAW face; the scheme "66" of faces/schemes.py."""
WIDTHS = (512, 512, 512, 256, 256, 256, 128)
CRITIC_WIDTHS = (512, 512, 256, 256)
INITIAL_STD = 0.02

Solve = Literal["fixed", "detached", "damped", "legacy", "learnt"]
"""How the affine map is found: closed form; closed form without gradient through its depths; with Tikhonov damping;
with the damping and the faulty columns of the oldest published runs; predicted by the network."""


class DepthNet(nn.Module):
    """Depth of the source keypoints, given source and target (the published ``shallowd5``).

    Args:
        keypoints: Points of a face.
        widths: Units of the hidden layers.
    """

    def __init__(self, keypoints: int = KEYPOINTS, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.fc = nn.Sequential(*blocks([4 * keypoints, *widths]), nn.Linear(widths[-1], keypoints))
        self.apply(_initialise)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Predict.

        Args:
            source: ``[B, K, 2]`` xy over the image's size.
            target: ``[B, K, 2]``.

        Returns:
            Depth ``[B, K]``, and None in place of the affine map.
        """
        return self.fc(joined(source, target)), None


class LearntAffineDepthNet(nn.Module):
    """Depth and affine map of the source keypoints (the published ``sd5_learnm``); arguments as :class:`DepthNet`."""

    def __init__(self, keypoints: int = KEYPOINTS, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.extractor = nn.Sequential(*blocks([4 * keypoints, *widths]))
        self.fc_z = nn.Linear(widths[-1], keypoints)
        self.fc_m = nn.Linear(widths[-1], 8)
        self.apply(_initialise)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Predict depth ``[B, K]`` and the affine map ``[B, 2, 4]`` from ``[B, K, 2]`` each."""
        features = self.extractor(joined(source, target))
        return self.fc_z(features), self.fc_m(features).view(-1, 2, 4)


class Critic(nn.Module):
    """Tells real depths from predicted ones, given the keypoints (section 3.2); also judges AIGN's 3-D points.

    Args:
        keypoints: Points of a face.
        widths: Units of the hidden layers.
    """

    def __init__(self, keypoints: int = KEYPOINTS, widths: Sequence[int] = CRITIC_WIDTHS) -> None:
        super().__init__()
        self.disc = nn.Sequential(*blocks([3 * keypoints, *widths]), nn.Linear(widths[-1], 1))

    def forward(self, points: Tensor) -> Tensor:
        """Score ``[B, 1]``, higher for real; ``points`` is ``[B, 3, K]`` as :func:`critic_input` lays it out."""
        return self.disc(points.flatten(1))


def critic_input(depth: Tensor, source: Tensor) -> Tensor:
    """Lay depth ``[B, K]`` and keypoints ``[B, K, 2]`` out as the critic reads them: ``[B, 3, K]``, order z, x, y."""
    return torch.cat([depth[:, None], source.transpose(1, 2)], dim=1)


def joined(source: Tensor, target: Tensor) -> Tensor:
    """Input of the networks: source x, source y, target x, target y, ``[B, 4 K]``."""
    return torch.cat([source.transpose(1, 2), target.transpose(1, 2)], dim=1).flatten(1)


def build_network(solve: Solve, keypoints: int = KEYPOINTS, widths: Sequence[int] = WIDTHS) -> nn.Module:
    """The network that a way of finding the affine map needs."""
    return (LearntAffineDepthNet if solve == "learnt" else DepthNet)(keypoints, widths)


def predict_depth(network: nn.Module, source_keypoints: Tensor, target_keypoints: Tensor) -> Tensor:
    """Depth of the source keypoints; arguments ``[B, K, 2]`` over the image's size, result ``[B, K]``.

    Raises:
        UsageError: If the number of keypoints is not the network's.
    """
    check_keypoints(network, source_keypoints, target_keypoints)
    return network(source_keypoints, target_keypoints)[0]


def check_keypoints(network: nn.Module, *points: Tensor) -> None:
    """Raise ``UsageError`` unless every argument holds keypoints ``[B, K, 2]`` as the network takes them."""
    for given in points:
        if given.ndim != 3 or given.shape[1:] != (network.keypoints, 2):
            raise UsageError(
                f"the network takes keypoints [B, {network.keypoints}, 2], not {list(given.shape)}."
            )


def find_affine(
    solve: Solve,
    source: Tensor,
    depth: Tensor,
    target: Tensor,
    *,
    sigma: float = 0.0,
    learnt: Tensor | None = None,
) -> Tensor:
    """The affine map of one way of solving.

    Args:
        solve: The way.
        source: ``[B, K, 2]``.
        depth: ``[B, K]``.
        target: ``[B, K, 2]``.
        sigma: Damping of ``damped`` and ``legacy``.
        learnt: ``[B, 2, 4]`` map that the network predicted, for ``learnt``.

    Returns:
        ``[B, 2, 4]``.
    """
    if solve == "learnt":
        if learnt is None:
            raise UsageError("this network predicts no affine map: choose another solve than 'learnt'.")
        return learnt
    if solve == "detached":
        return fit_affine(source, depth.detach(), target)
    if solve == "fixed":
        return fit_affine(source, depth, target)
    return fit_affine(
        source, depth, target, damping=sigma, layout="legacy" if solve == "legacy" else "affine"
    )


def transfer(matrix: Tensor, source: Tensor, depth: Tensor) -> Tensor:
    """Predicted target keypoints ``[B, K, 2]``: equation 1 of the paper."""
    return apply_affine(matrix, source, depth)


def blocks(sizes: Sequence[int]) -> list[nn.Module]:
    """Linear layers of these sizes, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return layers


def _initialise(module: nn.Module) -> None:
    """Published start: small linear weights (biases stay at the framework's default), norms near one."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, INITIAL_STD)
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, INITIAL_STD)
        nn.init.zeros_(module.bias)

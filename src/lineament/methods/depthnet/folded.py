"""A trained network made ready for scoring all pairs of many faces: norms folded in, the first layer split.

Half of the first layer sees the source alone and half the target alone, so both are computed once per face, not per
pair; what is left of a pair are the later layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_weights

from lineament.methods.depthnet.model import LearntAffineDepthNet


class FoldedNetwork:
    """The later layers of a network for pairs; equal to it in eval mode but for rounding.

    Args:
        network: :class:`DepthNet` or :class:`LearntAffineDepthNet`.
        keypoints: ``[N, K, 2]`` faces over their images' size.
    """

    def __init__(self, network: nn.Module, keypoints: Tensor) -> None:
        learnt = isinstance(network, LearntAffineDepthNet)
        layers: list[Any] = list(network.extractor if learnt else network.fc)  # type: ignore[arg-type]
        heads: list[Any] = [network.fc_z, network.fc_m] if learnt else [layers.pop()]
        hidden = [_folded(linear, norm) for linear, norm, _ in zip(*[iter(layers)] * 3, strict=True)]
        weight, bias = hidden.pop(0)
        points = keypoints.transpose(1, 2).flatten(1)
        half = points.shape[1]
        self.source_part = torch.addmm(bias, points, weight[:, :half].t())  # [N, units]
        self.target_part = points @ weight[:, half:].t()
        self.hidden = [(w.t().contiguous(), b) for w, b in hidden]
        self.head_weight = torch.cat([head.weight for head in heads]).detach().t().contiguous()
        self.head_bias = torch.cat([head.bias for head in heads]).detach()
        self.keypoints = keypoints.shape[1]

    def __call__(self, source: int, targets: slice) -> tuple[Tensor, Tensor | None]:
        """Depths ``[n, K]`` of one source face given each target, and the predicted affine maps or None."""
        x = (self.target_part[targets] + self.source_part[source]).relu_()
        for weight, bias in self.hidden:
            x = torch.addmm(bias, x, weight).relu_()
        out = torch.addmm(self.head_bias, x, self.head_weight)
        depth, rest = out[:, : self.keypoints], out[:, self.keypoints :]
        return depth, rest.reshape(-1, 2, 4) if rest.shape[1] else None


def _folded(linear: nn.Linear, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer and the eval-mode batch norm after it, as one linear layer."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_linear_bn_weights(
        linear.weight.double(),
        linear.bias.double(),
        norm.running_mean.double(),
        norm.running_var.double(),
        norm.eps,
        norm.weight.double(),
        norm.bias.double(),
    )
    return weight.detach().to(linear.weight.dtype), bias.detach().to(linear.weight.dtype)

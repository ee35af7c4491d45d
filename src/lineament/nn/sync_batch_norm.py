"""Batch normalisation whose statistics cover the batches of all processes, on any device.

``torch.nn.SyncBatchNorm`` works on GPUs only; this one also serves CPU processes (gloo), and equals ordinary batch
normalisation over the joined batch to rounding. On GPUs torch's fused one is used.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _AllReduceSum(torch.autograd.Function):
    """Sum over processes. Every process's loss depends on the sum, so the gradient is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def all_reduce_sum(value: Tensor) -> Tensor:
    """Sum a tensor over all processes, differentiably; the tensor itself where there is one process only."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    return _AllReduceSum.apply(value)


class SynchronisedBatchNorm(_BatchNorm):
    """Batch normalisation over dimension 1 with statistics over all processes; takes ``[N, C, ...]``.

    Parameter and buffer names are those of ``torch.nn.BatchNorm*d``, so that weights move freely between them.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected [N, C, ...], got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``input [N, C, ...]``; in eval mode with the running statistics."""
        use_batch = self.training or self.running_mean is None
        if not use_batch:
            return super().forward(input)
        self._check_input_dim(input)
        axes = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        values = input.float()
        local = torch.full((1,), values.numel() / values.shape[1], device=values.device)
        sums = all_reduce_sum(torch.cat([values.sum(axes), local]))
        count = sums[-1].detach()
        mean = sums[:-1] / count  # [C]
        centred = values - mean.view(shape)
        # A second collective rather than E[x^2] - E[x]^2, which cancels when the mean is large.
        variance = all_reduce_sum(centred.square().sum(axes)) / count  # [C]
        if self.training and self.track_running_stats:
            self._update_running(mean.detach(), variance.detach(), count)
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1.0).clamp(min=1.0))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)


def synchronise_batch_norm(network: nn.Module) -> nn.Module:
    """Return the network with every batch norm replaced by a synchronised one that keeps its parameters and buffers.

    A module on a GPU, or one that is about to move there, gets torch's own ``SyncBatchNorm`` when nccl is in use.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if isinstance(network, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        return _replacement(network)
    for name, child in network.named_children():
        setattr(network, name, synchronise_batch_norm(child))
    return network


def _replacement(plain: _BatchNorm) -> SynchronisedBatchNorm:
    synchronised = SynchronisedBatchNorm(
        plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats
    )
    for name, parameter in plain.named_parameters(recurse=False):
        setattr(synchronised, name, parameter)
    for name, buffer in plain.named_buffers(recurse=False):
        synchronised.register_buffer(name, buffer)
    synchronised.training = plain.training
    return synchronised

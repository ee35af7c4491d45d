"""Trains the toy recipe in each of the processes that torchrun starts (run by test_distributed.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from training_toy import ToyRecipe, toy, train_toy

from lineament.nn.sync_batch_norm import SynchronisedBatchNorm, all_reduce_sum, synchronise_batch_norm


class Checking(ToyRecipe):
    name = "toy"

    def step(self, networks, batch, context):
        assert isinstance(networks["net"].norm, SynchronisedBatchNorm)
        return super().step(networks, batch, context)


def compare_norms(folder: Path) -> None:
    """Synchronised batch norm over unequal shares against plain batch norm over the whole batch."""
    rank = dist.get_rank()
    torch.manual_seed(0)
    # A large mean against a small spread: E[x^2] - E[x]^2 would cancel.
    values = (100.0 + torch.randn(6, 3, 4, 5)).requires_grad_()
    target = torch.randn(6, 3, 4, 5)
    plain = nn.BatchNorm2d(3)
    nn.init.normal_(plain.weight)
    synchronised = synchronise_batch_norm(nn.Sequential(plain))[0]
    assert isinstance(synchronised, SynchronisedBatchNorm)
    reference = nn.BatchNorm2d(3)
    reference.load_state_dict(synchronised.state_dict())
    mine = slice(0, 2) if rank == 0 else slice(2, 6)
    expected = reference(values)
    ((expected - target) ** 2).sum().backward()
    whole, values.grad = values.grad.clone(), None
    found = synchronised(values[mine])
    ((found - target[mine]) ** 2).sum().backward()
    torch.testing.assert_close(found, expected[mine], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(values.grad[mine], whole[mine], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        all_reduce_sum(synchronised.weight.grad), reference.weight.grad, rtol=1e-3, atol=1e-3
    )
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(synchronised.get_buffer(name), buffer, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(synchronised.eval()(values[mine]), reference.eval()(values[mine]))
    (folder / f"norm-{rank}").touch()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    same_noise = {"dropout": 0.0, "batch_size": 8, "evaluate_every": 4}
    train_toy(folder / "whole", Checking(toy(**same_noise).config))
    compare_norms(folder)
    # With dropout: the processes draw different noise, and a resumed run must draw the same again.
    train_toy(folder / "straight", toy(batch_size=8), workers=1)
    train_toy(folder / "cut", toy(batch_size=8), stop_after=5)
    train_toy(folder / "cut", toy(batch_size=8), resumed=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

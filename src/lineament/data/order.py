"""In which order samples are seen, and the random numbers each of them gets.

Everything here is a pure function of (seed, epoch, index): it does not depend on the number of workers or processes,
on the moment of a crash, or on the version of a random library. An epoch is a permutation of the source; epochs follow
one another without a gap, and a *position* counts the samples consumed since the start of training, over all processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from lineament.errors import DataError, UsageError

_MASK = (1 << 64) - 1
# Keeps the streams that order samples, augment them, replace them, and draw latents apart.
_ORDER, _AUGMENT, _REPLACE, _STEP = 1, 2, 3, 4


def _mix(value: int) -> int:
    """Finalise 64 bits (splitmix64, Steele et al. 2014): every input bit reaches every output bit."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def hash_integers(*values: int) -> int:
    """Hash integers into 64 well-mixed bits; the order of the values matters."""
    state = len(values)
    for value in values:
        state = _mix(state ^ _mix(value & _MASK))
    return state


@lru_cache(maxsize=4)
def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """Order the indices 0..count-1 for one epoch.

    Args:
        count: Number of samples of the source.
        seed: Seed of the run.
        epoch: Number of the pass through the source, from 0.

    Returns:
        ``[count]`` int64, read-only: each index exactly once.
    """
    key = hash_integers(_ORDER, seed, epoch)
    with np.errstate(over="ignore"):
        state = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    order = np.argsort(state, kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """Make the generator that draws all augmentation of one sample in one epoch.

    The generator of PyTorch keeps 32 of the 64 hashed bits, so two of some ten million draws may share a stream.

    Args:
        seed: Seed of the run.
        epoch: Number of the pass through the source, from 0.
        index: Index of the sample in its source.

    Returns:
        A new CPU generator; equal arguments give equal streams in every process.
    """
    generator = torch.Generator()
    generator.manual_seed(hash_integers(_AUGMENT, seed, epoch, index) >> 1)
    return generator


def step_generator(seed: int, step: int, part: int = 0, rank: int = 0) -> torch.Generator:
    """Make the generator that draws what belongs to no sample, such as the latents of one training step.

    Args:
        seed: Seed of the run.
        step: Optimiser steps done before.
        part: Part of an accumulated step, from 0.
        rank: Number of the process, from 0.

    Returns:
        A new CPU generator; equal arguments give equal streams.
    """
    generator = torch.Generator()
    generator.manual_seed(hash_integers(_STEP, seed, step, part, rank) >> 1)
    return generator


def replacement(count: int, seed: int, epoch: int, index: int, attempt: int) -> int:
    """Choose the sample that stands in for an unreadable one, the same on every run.

    Args:
        count: Number of samples of the source.
        seed: Seed of the run.
        epoch: Number of the pass, from 0.
        index: Index of the unreadable sample.
        attempt: 0 for the first stand-in, 1 when that one is unreadable too, and so on.
    """
    return hash_integers(_REPLACE, seed, epoch, index, attempt) % count


@dataclass(frozen=True)
class SampleIndex:
    """One sample to read: its index in the source, and the epoch it is read in."""

    epoch: int
    index: int


@dataclass(frozen=True)
class SampleOrder:
    """The endless sequence of batches over a source.

    Step ``s`` consumes the global positions ``s * batch_size .. (s + 1) * batch_size - 1``. It is cut into
    ``accumulate`` parts and each part into one contiguous slice per process, so that part ``a`` of step ``s`` holds
    the same samples however many processes share it.

    Attributes:
        count: Number of samples of the source.
        batch_size: Samples of one step over all processes and parts.
        seed: Seed of the run.
        rank: Number of this process, from 0.
        world: Number of processes.
        accumulate: Parts of one step.
        drop_last: True leaves the last ``count % batch_size`` samples of every epoch out, so that no batch holds
            samples of two epochs; False lets a batch run over into the next epoch, so that every sample is seen once
            per epoch and a source smaller than a batch works.

    Raises:
        UsageError: If the batch cannot be shared out evenly, or the rank does not exist.
        DataError: If the source is empty, or smaller than a batch with ``drop_last``.
    """

    count: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1
    accumulate: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise DataError("the data source holds no samples: check its folder and split.")
        if self.batch_size < 1 or self.world < 1 or self.accumulate < 1:
            raise UsageError(
                f"batch size, processes and accumulation must be at least 1, not {self.batch_size}, {self.world}, "
                f"{self.accumulate}."
            )
        if self.batch_size % (self.world * self.accumulate):
            raise UsageError(
                f"batch size {self.batch_size} cannot be shared by {self.world} processes x {self.accumulate} parts: "
                f"choose a multiple of {self.world * self.accumulate}."
            )
        if not 0 <= self.rank < self.world:
            raise UsageError(f"rank {self.rank} does not exist among {self.world} processes.")
        if self.drop_last and self.count < self.batch_size:
            raise DataError(
                f"the data source holds {self.count} samples, fewer than one batch of {self.batch_size}: lower the "
                "batch size or allow batches over the end of an epoch."
            )

    @property
    def epoch_length(self) -> int:
        """Samples consumed in one epoch."""
        return self.count - self.count % self.batch_size if self.drop_last else self.count

    @property
    def part_size(self) -> int:
        """Samples that this process reads for one part of a step."""
        return self.batch_size // (self.world * self.accumulate)

    def place(self, position: int) -> SampleIndex:
        """Find the sample at a global position."""
        epoch, offset = divmod(position, self.epoch_length)
        return SampleIndex(epoch, int(permutation(self.count, self.seed, epoch)[offset]))

    def part(self, step: int, part: int = 0) -> list[SampleIndex]:
        """List the samples that this process reads for one part of a step."""
        first = step * self.batch_size + (part * self.world + self.rank) * self.part_size
        return [self.place(first + offset) for offset in range(self.part_size)]

"""What the loop hands to a recipe's step besides networks and batch: progress, updates, latents, state, averages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from lineament.data.order import step_generator

# The moving average of this name takes the place of its networks in evaluations, figures and loaded runs.
EVALUATED_AVERAGE = "ema"


class Update(Protocol):
    """How a recipe applies gradients; hides precision, gradient accumulation and distributed training."""

    def __call__(self, loss: Tensor, *optimisers: str) -> None:
        """Zero the gradients of the named optimisers (all when none is named), back-propagate, and step them."""
        ...

    def zero(self, *optimisers: str) -> None:
        """Zero the gradients of the named optimisers; under accumulation only for the first part of a batch."""
        ...

    def backward(self, loss: Tensor, *optimisers: str, retain_graph: bool = False) -> None:
        """Back-propagate one loss, scaled for accumulation, into the parameters of the named optimisers only."""
        ...

    def step(self, *optimisers: str) -> None:
        """Step the named optimisers; under accumulation only for the last part of a batch."""
        ...


@dataclass(frozen=True)
class AverageSpec:
    """A moving average that a recipe asks for; the loop keeps it, updates it after every optimiser step, and saves it.

    Attributes:
        networks: Names of the networks it is the average of.
        decay: Decay ``d`` of optimiser step ``t``, counted from 1: ``average = d * average + (1 - d) * weight``.
        train: Keep its networks in training mode, so that their batch norms use the statistics of the batch: for an
            average that takes part in the step. Otherwise they are in eval mode.
    """

    networks: tuple[str, ...]
    decay: Callable[[int], float]
    train: bool = False


@dataclass(frozen=True)
class StepContext:
    """What one call of :meth:`~lineament.training.recipe.Recipe.step` knows and may use.

    Under gradient accumulation a step is called once for each part of its batch; all parts see the same ``step``.

    Attributes:
        update: Applies gradients.
        step: Optimiser steps done before this one.
        steps: Optimiser steps in all.
        generator: Source of random numbers, such as latents, on the CPU: seeded anew for each step from (seed, step,
            part, process), so that a resumed run draws what an uninterrupted one does.
        state: The tensors that :meth:`~lineament.training.recipe.Recipe.state` declared. A step changes them in place
            or puts detached tensors of the same shapes in their places; they are averaged over processes after every
            optimiser step, and saved.
        averages: The networks of each moving average, by name of the average and of the network, as they were after
            the step before.
    """

    update: Update
    step: int = 0
    steps: int = 1
    generator: torch.Generator = field(default_factory=lambda: step_generator(0, 0))
    state: dict[str, Tensor] = field(default_factory=dict)
    averages: Mapping[str, Mapping[str, nn.Module]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the steps done before this one, in 0..1."""
        return self.step / self.steps

"""What a method tells the loop: its configuration, networks, optimisers, one step, one evaluation, its figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from lineament.data.sample import Source
from lineament.errors import UsageError
from lineament.training.base_run import (
    BaseKind,
    fill_config,
    has_base_run,
    load_matching_weights,
    open_base,
    resolve_config,
)
from lineament.training.context import EVALUATED_AVERAGE, AverageSpec, StepContext
from lineament.training.ema import ramped
from lineament.training.registry import Origin
from lineament.training.run import Run

Batch = dict[str, Any]


@dataclass(frozen=True)
class RecipeConfig:
    """Fields that every recipe has; a recipe's own config inherits them and adds its own."""

    # Optimiser steps in all.
    steps: int = 1000
    # Samples of one step, over all processes and accumulation parts together.
    batch_size: int = 16
    # Seed of weights, data order and augmentation.
    seed: int = 0
    # Parts each batch is split into to save memory.
    accumulate: int = 1
    # Decay of the exponential moving average of the weights, 0..1 without 1; 0 switches it off.
    ema_decay: float = 0.0
    # Steps between two evaluations on the validation data; 0 evaluates only at the end.
    evaluate_every: int = 0
    # Evaluations without a better result after which training ends early; 0 trains all steps.
    patience: int = 0
    # Steps between two sets of figures; 0 draws them only at the end.
    figures_every: int = 0
    # Steps between two checkpoints; 0 writes one only at the end.
    checkpoint_every: int = 200


C = TypeVar("C", bound=RecipeConfig)
S = TypeVar("S")


@dataclass(frozen=True)
class Need:
    """Fields that have an effect only under a condition.

    Attributes:
        fields: Their names.
        when: The condition, on a config whose inherited fields are filled in.
        words: The condition for people, as what follows "without": "a critic (--critic)".
    """

    fields: tuple[str, ...]
    when: Callable[[Any], bool]
    words: str


# Least values of the fields that every recipe has.
_LEAST = {
    "steps": 1,
    "batch_size": 1,
    "accumulate": 1,
    "evaluate_every": 0,
    "patience": 0,
    "figures_every": 0,
    "checkpoint_every": 0,
}


class Recipe(ABC, Generic[C, S]):
    """One trainable experiment.

    The loop owns devices, precision, data order, logging, checkpoints and resume; a recipe owns the science. All
    randomness of a sample must come from the generator that :meth:`item` receives, so that the order of workers and
    the moment of a crash cannot change it.
    """

    # Its name where it is built without one.
    name: str
    # The family that owns this recipe's checkpoints, for example "dve".
    method: ClassVar[str]
    config_class: ClassVar[type[RecipeConfig]]
    # What its runs build on, where they build on a run.
    base_kind: ClassVar[BaseKind | None] = None
    # Networks that only a training needs: a run without their weights, imported ones among them, does without these.
    training_only: ClassVar[tuple[str, ...]] = ()
    # Fields that need others; one that is set and cannot have an effect is refused.
    needs: ClassVar[tuple[Need, ...]] = ()
    # Fields that change what a training takes in memory or time, and no bit of what it gives.
    resource_fields: ClassVar[tuple[str, ...]] = ()
    # The number of `evaluate` that decides which checkpoint is kept as the best; "" keeps none.
    best_metric: str = ""
    best_is: ClassVar[Literal["lowest", "highest"]] = "lowest"

    def __init__(self, config: C, origin: Origin | None = None) -> None:
        origin = origin or Origin()
        if origin.name:
            self.name = origin.name
        # The preset its config started from; which of its fields the base filled in; what the base had no weights for.
        self.preset = origin.preset
        self.inherited: tuple[str, ...] = ()
        self.not_taken: list[str] = []
        self._warm = not origin.restored and has_base_run(config)
        if self.base_kind and origin.restored:
            config = fill_config(config, self.base_kind)
        elif self.base_kind:
            config, self.inherited = resolve_config(config, self.base_kind, self.name)
        self.config = config
        if not origin.restored:
            self._check_numbers()
            self._check_needs(origin.start)
        if not 0 <= config.ema_decay < 1:
            raise UsageError(f"ema_decay is a number from 0 to below 1, not {config.ema_decay:g}.")
        if config.patience and not (config.evaluate_every and self.best_metric):
            raise UsageError(
                f"patience {config.patience} needs evaluations to wait for: give --evaluate-every, and a recipe with a "
                f"best metric ({self.name} has {self.best_metric or 'none'})."
            )

    def _check_numbers(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self.config, name)
            if value < least:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is a number of {least} or more, not {value}.")

    def _check_needs(self, start: Any) -> None:
        start = start if start is not None else type(self.config)()
        for need in self.needs:
            if need.when(self.config):
                continue
            for name in need.fields:
                value = getattr(self.config, name)
                if value != getattr(start, name) and name not in self.inherited:
                    flag = name.replace("_", "-")
                    raise UsageError(f"--{flag} ({value}) has no effect without {need.words}: leave it out.")

    def take_base_weights(
        self, networks: dict[str, nn.Module], names: Iterable[str], optional: Collection[str] = ()
    ) -> Run | None:
        """Start networks from the base run, if there is one; called in :meth:`networks`.

        A restored run has its weights in its own checkpoint, and its base may be gone: then nothing is done.

        Args:
            networks: Networks by name.
            names: Which of them.
            optional: Those of which the base may have less; what it lacks is noted in ``not_taken``.

        Returns:
            The base run, where weights were taken.
        """
        if not self._warm:
            return None
        assert self.base_kind is not None
        base = open_base(self.config.base, self.base_kind)  # type: ignore[attr-defined]
        self.not_taken = load_matching_weights(networks, base, names, optional=optional)
        return base

    @classmethod
    def fields_of_settings(cls, path: Path) -> dict[str, Any]:
        """Fields of the config that a file of settings of another program tells, for ``train --config``.

        Raises:
            UsageError: If this recipe reads none.
            CheckpointError: If the file cannot be read, or has settings that the recipe cannot follow.
        """
        raise UsageError(f"--config means nothing to recipes of {cls.method}: leave {path} out.")

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Build the networks by name; called once, after the seed is set.

        Every parameter that requires a gradient must belong to one optimiser; freeze the others.
        """

    @abstractmethod
    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Build the optimisers by name."""

    def schedules(
        self, optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """Build learning-rate schedules by name; each is stepped once after every optimiser step of the loop."""
        return {}

    def averages(self, networks: dict[str, nn.Module]) -> dict[str, AverageSpec]:
        """Declare moving averages by name; the loop updates them after every optimiser step and saves them.

        The one named ``ema`` is evaluated and loaded in place of its networks. By default ``ema_decay`` asks for it,
        over all networks; a recipe with averages of its own adds them to what this returns.
        """
        decay = self.config.ema_decay
        if decay == 0:
            return {}
        return {EVALUATED_AVERAGE: AverageSpec(tuple(networks), lambda step: ramped(decay, step))}

    def state(self) -> dict[str, Tensor]:
        """Declare floating-point tensors that steps change, such as running means, with their values at the start.

        They are averaged over processes after every optimiser step, and saved.
        """
        return {}

    def training_source(self, source: Source[S]) -> Source[S]:
        """Choose what of the given data is trained on, for example a few labelled samples; all of it by default."""
        return source

    @abstractmethod
    def item(self, sample: S, generator: torch.Generator) -> Batch:
        """Turn a sample into plain tensors, drawing all augmentation from ``generator``."""

    def collate(self, items: list[Batch]) -> Batch:
        """Stack items into a batch (tensors along a new first dimension)."""
        return torch.utils.data.default_collate(items)

    @abstractmethod
    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Do one training step through ``context.update``; return scalar tensors to log, ``"loss"`` among them."""

    def evaluate(self, networks: dict[str, nn.Module], source: Source[S]) -> dict[str, float]:
        """Measure on validation data; the networks (of the average ``ema`` where there is one) are in eval mode."""
        return {}

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Any:
        """What trained networks can do for others: an object with one capability or several.

        Args:
            networks: Networks of this recipe, whose weights of now are used.
            device: Where they are put; None leaves them where they are.
            dtype: What is computed in; None and ``torch.float32`` are the same.

        Returns:
            An object that answers protocols of :mod:`lineament.capabilities`.

        Raises:
            UsageError: If the recipe makes nothing that can be asked for, or cannot compute in the number type.
        """
        raise UsageError(
            f"the recipe {self.name} says nothing of what its runs can be asked for: it has no predictor."
        )

    def figures(self, networks: dict[str, nn.Module], source: Source[S], folder: Path) -> list[Path]:
        """Draw figures into ``folder``; return the PNG paths, each with its numbers beside it as JSON."""
        return []

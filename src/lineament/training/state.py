"""Everything that changes while a recipe trains, and its way into a checkpoint and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lineament.data.memory import align_memory
from lineament.data.order import step_generator
from lineament.errors import CheckpointError, LineamentError
from lineament.training.checkpoint import Checkpoint
from lineament.training.config import config_hash, config_to_dict, differing_fields
from lineament.training.context import StepContext, Update
from lineament.training.distributed import average_tensors, gather, place_network, rounding_facts
from lineament.training.ema import MovingAverage
from lineament.training.randomness import random_state, seed_everything, set_random_state
from lineament.training.recipe import EVALUATED_AVERAGE, Recipe
from lineament.training.weights import collect_weights, load_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric


# Names of files of a checkpoint that no moving average may take.
_RESERVED = ("networks", "state", "manifest")


class TrainingState:
    """Networks, their moving averages, optimisers, schedules, declared tensors, the step, the best evaluation so far.

    Args:
        recipe: Builds all of it.
        fabric: Device, precision and processes.
        precision: Name of the precision, which must be the same when a checkpoint is resumed.
        fingerprint: Of the training data, for which the same holds.
    """

    def __init__(self, recipe: Recipe[Any, Any], fabric: Fabric, precision: str, fingerprint: str) -> None:
        self.fabric = fabric
        self.recipe = recipe
        self.fingerprint = fingerprint
        self.settings = {"recipe": recipe.name, "precision": precision, **config_to_dict(recipe.config)}
        self.step = 0
        self.best: dict[str, Any] | None = None
        seed_everything(recipe.config.seed)
        built = recipe.networks()
        specs = recipe.averages(built)
        for name in specs:
            if name in _RESERVED:
                raise LineamentError(f"a moving average cannot be named {name!r}: choose another name.")
        self.averages = {name: MovingAverage(built, spec) for name, spec in specs.items()}
        self.networks = {name: place_network(fabric, network) for name, network in built.items()}
        for average in self.averages.values():
            average.networks = {
                name: place_network(fabric, network) for name, network in average.networks.items()
            }
        self.tensors = {name: tensor.detach().to(fabric.device) for name, tensor in recipe.state().items()}
        self._shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in self.tensors.items()}
        for name, tensor in self.tensors.items():
            if not tensor.is_floating_point():
                raise LineamentError(
                    f"the state {name!r} of recipe {recipe.name!r} holds {tensor.dtype}: only floating-point tensors "
                    "can be averaged over processes."
                )
        for network in self.networks.values():
            network.train()
        self.optimisers: dict[str, Optimizer] = recipe.optimisers(self.networks)
        self.schedules: dict[str, LRScheduler] = recipe.schedules(self.optimisers)
        _check_owners(self.networks, self.optimisers)
        # Processes draw different dropout and noise; process 0 draws what a single process would.
        if fabric.global_rank:
            seed_everything(recipe.config.seed + 1_000_003 * fabric.global_rank)

    def eval_networks(self) -> dict[str, nn.Module]:
        """Return the networks to evaluate: those of the average ``ema`` where there is one."""
        average = self.averages.get(EVALUATED_AVERAGE)
        return {**self.networks, **average.networks} if average else self.networks

    def context(self, update: Update, part: int = 0) -> StepContext:
        """Return what the recipe's next step, or one part of it, is told."""
        config = self.recipe.config
        return StepContext(
            update,
            self.step,
            config.steps,
            step_generator(config.seed, self.step, part, self.fabric.global_rank),
            self.tensors,
            {name: average.networks for name, average in self.averages.items()},
        )

    def finish_step(self) -> None:
        """Count an optimiser step that was done; bring schedules, declared tensors and averages up to it.

        Raises:
            LineamentError: If the step left other tensors than the recipe declared.
        """
        for schedule in self.schedules.values():
            schedule.step()
        self.step += 1
        found = {name: (tensor.shape, tensor.dtype) for name, tensor in self.tensors.items()}
        if found != self._shapes:
            raise LineamentError(
                f"a step of {self.recipe.name!r} left the state {found} where {self._shapes} was declared."
            )
        for name, tensor in average_tensors(self.tensors, self.fabric.world_size).items():
            self.tensors[name] = tensor
        for average in self.averages.values():
            average.update(self.networks, self.step)

    def to_checkpoint(self) -> Checkpoint:
        """Collect everything; every process must call this.

        Raises:
            LineamentError: If a weight is not finite: such a checkpoint would be of no use.
        """
        groups = {"networks": collect_weights(self.networks)}
        for name, average in self.averages.items():
            groups[name] = collect_weights(average.networks)
        for key, tensor in groups["networks"].items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise LineamentError(
                    f"weight {key!r} is not finite after step {self.step}: lower the learning rate; the checkpoint "
                    "before this step is kept."
                )
        batch_size = self.recipe.config.batch_size
        state = {
            "recipe": self.recipe.name,
            "method": self.recipe.method,
            "seed": self.recipe.config.seed,
            "position": self.step * batch_size,
            "settings": self.settings,
            "settings_hash": config_hash(self.settings),
            "data_fingerprint": self.fingerprint,
            "best": self.best,
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "schedules": {name: schedule.state_dict() for name, schedule in self.schedules.items()},
            "tensors": dict(self.tensors),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "random": gather(random_state(), self.fabric.world_size),
            "rounding": rounding_facts(self.fabric.device),
        }
        return Checkpoint(self.step, groups, state)

    def restore(self, checkpoint: Checkpoint) -> list[str]:
        """Set everything back to a checkpoint.

        Returns:
            Sentences to tell the user: what makes the resumed run not bitwise equal, if anything.

        Raises:
            CheckpointError: If it belongs to another recipe, configuration, precision or data.
        """
        state = checkpoint.state
        self._check_same(state)
        load_weights(self.networks, checkpoint, "networks")
        for name, average in self.averages.items():
            load_weights(average.networks, checkpoint, name)
        for name, tensor in state["tensors"].items():
            self.tensors[name] = tensor.to(self.fabric.device)
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(align_memory(state["optimisers"][name]))
        for name, schedule in self.schedules.items():
            schedule.load_state_dict(state["schedules"][name])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        self.step = checkpoint.step
        self.best = state["best"]
        rank, world = self.fabric.global_rank, self.fabric.world_size
        if len(state["random"]) != world:
            return [
                f"the run had {len(state['random'])} processes and now has {world}: it goes on with the same batches, "
                "but sums are rounded in another order."
            ]
        set_random_state(state["random"][rank])
        before, now = state.get("rounding"), rounding_facts(self.fabric.device)
        if before is None or before == now:
            return []
        return [
            f"the run was trained with {_describe(before)} and now goes on with {_describe(now)}: the batches stay the "
            "same, but results are rounded otherwise, so its bits will not be those of a run that never stopped."
        ]

    def _check_same(self, state: dict[str, Any]) -> None:
        differing = differing_fields(state["settings"], self.settings)
        if differing:
            raise CheckpointError(
                f"the checkpoint was written with another configuration ({'; '.join(differing)}): set the fields back "
                "to resume, or train a new run."
            )
        if state["data_fingerprint"] != self.fingerprint:
            raise CheckpointError(
                f"the checkpoint was trained on other data (fingerprint {state['data_fingerprint'][:12]}, now "
                f"{self.fingerprint[:12]}): give back the data it was trained on, or train a new run."
            )


def _describe(facts: dict[str, Any]) -> str:
    threads = facts["threads"]
    if threads is None:
        return str(facts["device"])
    # Runs of before this was noted kept subnormal numbers.
    zeroed = "taken for zero" if facts.get("flush_to_zero") else "kept"
    return f"{threads} CPU thread{'s' * (threads != 1)} and subnormal numbers {zeroed}"


def _check_owners(networks: dict[str, nn.Module], optimisers: dict[str, Optimizer]) -> None:
    owners: dict[int, str] = {}
    for name, optimiser in optimisers.items():
        for parameter in (p for group in optimiser.param_groups for p in group["params"]):
            if id(parameter) in owners:
                raise LineamentError(
                    f"one parameter belongs to the optimisers {owners[id(parameter)]!r} and {name!r}."
                )
            owners[id(parameter)] = name
    for name, network in networks.items():
        for key, parameter in network.named_parameters():
            if parameter.requires_grad and id(parameter) not in owners:
                raise LineamentError(
                    f"parameter {name}/{key} requires a gradient but belongs to no optimiser: freeze it with "
                    "requires_grad_(False), or give it to one."
                )

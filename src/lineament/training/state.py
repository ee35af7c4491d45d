"""Everything that changes while a recipe trains, and its way into a checkpoint and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lineament.data.alignment import aligned
from lineament.errors import CheckpointError, LineamentError
from lineament.training.checkpoint import Checkpoint
from lineament.training.config import config_hash, config_to_dict, differing_fields
from lineament.training.distributed import gather, place_network, rounding_facts
from lineament.training.ema import MovingAverage
from lineament.training.randomness import random_state, seed_everything, set_random_state
from lineament.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class TrainingState:
    """Networks, their moving average, optimisers, schedules, the step, and the best evaluation so far.

    Args:
        recipe: Builds all of it.
        fabric: Device, precision and processes.
        facts: What must be equal when a checkpoint is resumed, besides the config: precision and data fingerprint.
    """

    def __init__(self, recipe: Recipe[Any], fabric: Fabric, precision: str, fingerprint: str) -> None:
        self.fabric = fabric
        self.recipe = recipe
        self.fingerprint = fingerprint
        self.settings = {"recipe": recipe.name, "precision": precision, **config_to_dict(recipe.config)}
        self.step = 0
        self.best: dict[str, Any] | None = None
        seed_everything(recipe.config.seed)
        built = recipe.networks()
        decay = recipe.config.ema_decay
        self.average = MovingAverage(built, decay) if decay > 0 else None
        self.networks = {name: place_network(fabric, network) for name, network in built.items()}
        if self.average:
            placed = {name: place_network(fabric, network) for name, network in self.average.networks.items()}
            self.average.networks = placed
        for network in self.networks.values():
            network.train()
        self.optimisers: dict[str, Optimizer] = recipe.optimisers(self.networks)
        self.schedules: dict[str, LRScheduler] = recipe.schedules(self.optimisers)
        _check_owners(self.networks, self.optimisers)
        # Processes draw different dropout and noise; process 0 draws what a single process would.
        if fabric.global_rank:
            seed_everything(recipe.config.seed + 1_000_003 * fabric.global_rank)

    def evaluated(self) -> dict[str, nn.Module]:
        """Return the networks to evaluate: the moving average where there is one."""
        return self.average.networks if self.average else self.networks

    def to_checkpoint(self) -> Checkpoint:
        """Collect everything; every process must call this.

        Raises:
            LineamentError: If a weight is not finite: such a checkpoint would be of no use.
        """
        groups = {"networks": _weights(self.networks)}
        if self.average:
            groups["ema"] = _weights(self.average.networks)
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
        # run.py imports the registry and the checkpoint; importing it at the top would be a circle of names only.
        from lineament.training.run import load_weights

        state = checkpoint.state
        self._check_same(state)
        load_weights(self.networks, checkpoint, "networks")
        if self.average:
            load_weights(self.average.networks, checkpoint, "ema")
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(aligned(state["optimisers"][name]))
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


def _weights(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    weights = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            if not isinstance(value, Tensor):
                raise CheckpointError(
                    f"network {name!r} keeps {key!r}, which is not a tensor: register it as a buffer."
                )
            weights[f"{name}/{key}"] = value
    return weights


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

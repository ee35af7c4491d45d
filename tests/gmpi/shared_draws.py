"""Trains from the command line so that processes draw together what one process would (run by test_two_processes.py).

Each process draws for the whole batch and keeps its part; otherwise processes draw for themselves, and two of them
learn something else than one does. Layers have no noise, which torch's own generators draw. Adam's first steps have
the length of the learning rate whatever the gradient; a large epsilon lets them follow it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import lineament.methods.gmpi.recipe as recipe
import lineament.training.state as state
from lineament.cli.main import main
from lineament.data.order import step_generator
from lineament.methods.gmpi.train_step import StepSettings, clipped_adam, draw_latents, draw_views


def part(drawn: Tensor, axis: int) -> Tensor:
    """This process's part of what was drawn for all."""
    if not dist.is_initialized():
        return drawn
    return drawn.chunk(dist.get_world_size(), axis)[dist.get_rank()]


def shared_latents(count: int, length: int, generator: torch.Generator) -> Tensor:
    return part(draw_latents(count * processes(), length, generator), 1)


def shared_views(renderer: Any, count: int, generator: torch.Generator) -> Tensor:
    return part(draw_views(renderer, count * processes(), generator), 0)


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def smooth_adam(*arguments: Any) -> torch.optim.Adam:
    optimiser = clipped_adam(*arguments)
    for group in optimiser.param_groups:
        group["eps"] = 0.1
    return optimiser


REPLACED: list[tuple[Any, str, Callable[..., Any]]] = [
    (state, "step_generator", lambda seed, step, part, rank: step_generator(seed, step, part)),
    (recipe, "draw_latents", shared_latents),
    (recipe, "draw_views", shared_views),
    (recipe, "StepSettings", partial(StepSettings, noise_mode="none")),
    (recipe, "clipped_adam", smooth_adam),
]


if __name__ == "__main__":
    for place, name, value in REPLACED:
        setattr(place, name, value)
    sys.exit(main(sys.argv[1:]))

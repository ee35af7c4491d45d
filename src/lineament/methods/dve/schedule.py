"""The learning-rate schedules of the published runs, with their off-by-one, as functions of the epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StepDecay:
    """Multiply the rate by ``factor`` at each milestone (in epochs)."""

    milestones: tuple[int, ...]
    factor: float = 0.1


PUBLISHED_SCHEDULES = {
    "celeba_smallnet": StepDecay((70, 90)),
    "celeba_hourglass": StepDecay((50,)),
    "ft": StepDecay((30, 40)),
    "keypoints": StepDecay((100, 250)),
}

# The published trainer set its scheduler to step e - 1 at the *end* of epoch e, so milestone m acts from epoch m + 2.
PUBLISHED_DELAY = 2


def published_factor(schedule: StepDecay, epoch: int) -> float:
    """Factor on the learning rate used *in* an epoch of a published run.

    Args:
        schedule: Milestones as the published config states them.
        epoch: Epoch counted from 1.
    """
    passed = sum(epoch >= milestone + PUBLISHED_DELAY for milestone in schedule.milestones)
    return schedule.factor**passed


def step_factor(
    schedule: StepDecay, steps_per_epoch: float, *, off_by_one: bool = False
) -> Callable[[int], float]:
    """Factor as a function of the optimiser step, for ``LambdaLR``.

    Args:
        schedule: Milestones in epochs.
        steps_per_epoch: Optimiser steps that make one epoch; may be fractional.
        off_by_one: Let milestones act one epoch later than stated, as the published runs did.
    """

    def factor(step: int) -> float:
        epoch = int(step / steps_per_epoch) + 1
        if off_by_one:
            return published_factor(schedule, epoch)
        return schedule.factor ** sum(epoch > milestone for milestone in schedule.milestones)

    return factor

"""Learning rates over the steps of a training, by name."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from lineament.errors import unknown_name

# Share of the steps in which the rate rises, of the two schedules that begin low.
RISE = 0.1


def rate_schedules(
    optimisers: dict[str, torch.optim.Optimizer], schedule: str, steps: int
) -> dict[str, LRScheduler]:
    """Schedules of the learning rates, one for each optimiser.

    ``constant``: none. ``cosine``: along half a cosine to zero. ``one-cycle``: that of Smith and Topin (2019) as torch
    has it: from 1/25 of the rate along a cosine up in a tenth of the steps, down to nearly zero in the rest, momentum
    the other way round. ``warmup-cosine``: on a line up in a tenth of the steps, along half a cosine to zero in the
    rest, momentum as it is.

    Args:
        optimisers: By name; their rates are the highest ones.
        schedule: Its name.
        steps: Steps in all.

    Raises:
        UsageError: On another name.
    """
    if schedule == "constant":
        return {}
    if schedule == "cosine":
        return {name: CosineAnnealingLR(each, max(1, steps)) for name, each in optimisers.items()}
    if schedule == "one-cycle":
        return {
            name: OneCycleLR(
                each, [group["lr"] for group in each.param_groups], max(2, steps), pct_start=RISE
            )
            for name, each in optimisers.items()
        }
    if schedule == "warmup-cosine":
        return {
            name: LambdaLR(each, lambda step: warmup_cosine(step, steps)) for name, each in optimisers.items()
        }
    raise unknown_name("schedule", schedule, ("constant", "cosine", "one-cycle", "warmup-cosine"))


def warmup_cosine(step: int, steps: int) -> float:
    """Factor on the rate in ``step`` (from 0) of ``steps``: a tenth of them up, 1 after it, 0 at the end.

    Closed, so that no rounding adds up; torch's LinearLR and CosineAnnealingLR in sequence give the same but for that.
    """
    rise = max(1, int(RISE * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def cosine_down(share: float, last: float) -> float:
    """Factor on the rate when ``share`` of the steps is done: from 1 to ``last`` along half a cosine."""
    return last + (1 - last) * (1 + math.cos(math.pi * share)) / 2

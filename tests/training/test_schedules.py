"""Learning rates against torch's own schedules and by closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from lineament.errors import UsageError
from lineament.training.schedules import rate_schedules, warmup_cosine


def rates(schedule: str, steps: int, groups: tuple[float, ...] = (0.3,)) -> list[list[float]]:
    parameters = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in groups]
    optimiser = torch.optim.AdamW(parameters)
    schedules = rate_schedules({"network": optimiser}, schedule, steps)
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        for each in schedules.values():
            each.step()
    return seen


def test_warm_up_and_cosine_are_those_of_torch_in_sequence():
    steps, rise = 60, 6
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    oracle = SequentialLR(
        optimiser,
        [LinearLR(optimiser, 1 / rise, total_iters=rise - 1), CosineAnnealingLR(optimiser, steps - rise)],
        [rise],
    )
    for (found,) in rates("warmup-cosine", steps):
        assert found == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        oracle.step()


def test_the_two_that_begin_low_are_two_curves():
    warm, cycle = rates("warmup-cosine", 50), rates("one-cycle", 50)
    assert [max(range(50), key=lambda i: curve[i]) for curve in (warm, cycle)] == [4, 4]
    assert warm[0][0] == pytest.approx(0.3 / 5)
    assert cycle[0][0] == pytest.approx(0.3 / 25)
    # A line and a cosine meet half-way only at its middle.
    assert warm[1][0] == pytest.approx(0.3 * 2 / 5)
    assert cycle[1][0] == pytest.approx(0.3 / 25 + 0.3 * 24 / 25 * 0.5 * (1 - math.cos(math.pi / 4)))


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "warmup-cosine"])
def test_every_group_keeps_its_own_rate(schedule: str):
    for first, second in rates(schedule, 20, (0.3, 0.03)):
        assert first == pytest.approx(10 * second)


def test_rates_end_at_zero_and_very_short_trainings_work():
    assert warmup_cosine(40, 40) == 0.0
    assert warmup_cosine(400, 40) == 0.0
    for schedule in ("constant", "cosine", "one-cycle", "warmup-cosine"):
        assert len(rates(schedule, 1)) == 1
    assert rates("constant", 3) == [[0.3]] * 3


def test_an_unknown_schedule_names_the_nearest():
    with pytest.raises(UsageError, match="warmup-cosine"):
        rate_schedules({}, "warmup_cosine", 3)


def test_the_cosine_is_half_a_wave_over_all_steps():
    for step, (rate,) in enumerate(rates("cosine", 8)):
        assert rate == pytest.approx(0.3 * 0.5 * (1 + math.cos(math.pi * step / 8)))

"""Order and augmentation are pure functions of (seed, epoch, index)."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.data.order import SampleOrder, _mix, permutation, replacement, sample_generator
from lineament.errors import DataError, UsageError


@given(st.integers(1, 300), st.integers(0, 2**40), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_permutation_holds_each_index_once(count: int, seed: int, epoch: int) -> None:
    order = permutation(count, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, permutation.__wrapped__(count, seed, epoch))


def test_permutation_is_the_same_for_ever() -> None:
    # Written down once: a change of these numbers would silently change every resumed run.
    assert permutation(10, 7, 3).tolist() == [3, 5, 8, 2, 6, 9, 4, 0, 1, 7]
    assert sample_generator(3, 4, 5).initial_seed() == 6047287172731608916
    # The first number of splitmix64 with seed 0, as published with the generator.
    assert _mix(0) == 0xE220A8397B1DCDAF


def test_permutations_differ_and_are_uniform() -> None:
    assert permutation(50, 0, 0).tolist() != permutation(50, 0, 1).tolist()
    assert permutation(50, 0, 0).tolist() != permutation(50, 1, 0).tolist()
    # Over many epochs every index is equally often in every place: 4000 epochs of 8, 500 expected, sd about 21.
    counts = np.zeros((8, 8))
    for epoch in range(4000):
        counts[np.arange(8), permutation.__wrapped__(8, 5, epoch)] += 1
    assert abs(counts - 500).max() < 100


def test_sample_generators_are_equal_or_unrelated() -> None:
    first = torch.rand(100, generator=sample_generator(0, 1, 2))
    assert torch.equal(first, torch.rand(100, generator=sample_generator(0, 1, 2)))
    firsts = [
        torch.rand(1, generator=sample_generator(seed, epoch, index)).item()
        for seed in range(5)
        for epoch in range(20)
        for index in range(20)
    ]
    assert len(set(firsts)) == len(firsts)
    assert abs(np.mean(firsts) - 0.5) < 0.03
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 0.07


def test_sample_generator_does_not_depend_on_the_process() -> None:
    code = (
        "import torch; from lineament.data.order import sample_generator; "
        "print(torch.randint(10**9, (3,), generator=sample_generator(3, 4, 5)).tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == str(torch.randint(10**9, (3,), generator=sample_generator(3, 4, 5)).tolist())


@given(
    count=st.integers(1, 40),
    per=st.integers(1, 3),
    world=st.integers(1, 3),
    accumulate=st.integers(1, 3),
    step=st.integers(0, 30),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_processes_share_the_batch_of_one(
    count: int, per: int, world: int, accumulate: int, step: int, seed: int
) -> None:
    batch = per * world * accumulate
    alone = SampleOrder(count, batch, seed, accumulate=accumulate)
    for part in range(accumulate):
        shared = [
            place
            for rank in range(world)
            for place in SampleOrder(count, batch, seed, rank, world, accumulate).part(step, part)
        ]
        assert shared == alone.part(step, part)
    whole = [place for part in range(accumulate) for place in alone.part(step, part)]
    assert whole == SampleOrder(count, batch, seed).part(step)


@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_sees_each_sample_once(drop_last: bool) -> None:
    order = SampleOrder(23, 5, seed=1, drop_last=drop_last)
    seen: dict[int, list[int]] = {}
    for step in range(23):
        for place in order.part(step):
            seen.setdefault(place.epoch, []).append(place.index)
    for epoch in range(4):
        assert len(set(seen[epoch])) == len(seen[epoch]) == (20 if drop_last else 23)


def test_drop_last_never_mixes_epochs() -> None:
    order = SampleOrder(23, 5, seed=1, drop_last=True)
    assert all(len({place.epoch for place in order.part(step)}) == 1 for step in range(20))


def test_a_source_smaller_than_a_batch_works() -> None:
    places = SampleOrder(3, 8, seed=0).part(0)
    assert [place.epoch for place in places] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_impossible_orders_are_refused() -> None:
    with pytest.raises(UsageError, match="multiple of 6"):
        SampleOrder(10, 8, 0, world=2, accumulate=3)
    with pytest.raises(UsageError, match="rank 2"):
        SampleOrder(10, 8, 0, rank=2, world=2)
    with pytest.raises(UsageError, match="at least 1"):
        SampleOrder(10, 0, 0)
    with pytest.raises(DataError, match="no samples"):
        SampleOrder(0, 8, 0)
    with pytest.raises(DataError, match="fewer than one batch"):
        SampleOrder(5, 8, 0, drop_last=True)


def test_replacements_stay_in_the_source_and_vary() -> None:
    chosen = {replacement(7, 0, 0, 3, attempt) for attempt in range(60)}
    assert chosen == set(range(7))

"""Training takes subnormal numbers for zero, whatever its caller does, and gives the caller's state back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toy import ToyRecipe, assert_same_runs, toy, train_toy

from lineament.denormals import flush_denormals, flushes_denormals

MANY = 1 << 17


class Watching(ToyRecipe):
    """Notes the flag in every step; a subnormal product over all threads is part of the loss."""

    name = "toy-watching"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.seen: list[bool] = []

    def step(self, networks: Any, batch: Any, update: Any) -> dict[str, torch.Tensor]:
        self.seen.append(flushes_denormals())
        left = (torch.full((MANY,), 1e-37) * 0.01).count_nonzero()
        self.seen.append(int(left) == 0)
        return super().step(networks, batch, update)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    torch.full((MANY,), 1e-37).mul_(0.01)  # torch's threads begin before training sets anything
    yield request.param
    torch.set_num_threads(before)


def test_train_and_resume_flush_and_restore(tmp_path: Path, threads: int):
    for state in (False, True):
        with flush_denormals(state) as before:
            recipe = Watching(toy(steps=4).config)
            straight = train_toy(tmp_path / f"straight-{state}", recipe)
            assert flushes_denormals() == before
            cut = train_toy(tmp_path / f"cut-{state}", Watching(toy(steps=4).config), stop_after=2)
            resumed = Watching(toy(steps=4).config)
            train_toy(cut.folder, resumed, resumed=True)
            assert flushes_denormals() == before
        assert recipe.seen and all(recipe.seen) and resumed.seen and all(resumed.seen)
        assert_same_runs(straight, cut)
        assert straight.environment()[-1]["flush_to_zero"] is True


def test_a_failing_training_restores_too(tmp_path: Path):
    with pytest.raises(Exception, match="loss is nan"):
        train_toy(tmp_path / "run", toy(nan_at=2))
    assert not flushes_denormals()

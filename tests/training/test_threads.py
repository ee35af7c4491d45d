"""Equal bits with several CPU threads: repeated runs, interrupted runs, gradients that threads could race for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toy import QUIET, Noise, ToyRecipe, assert_same_runs, toy, train_toy

from lineament.data.memory import ALIGNMENT, align_memory
from lineament.training.checkpoint import save_checkpoint
from lineament.training.distributed import reproducible
from lineament.training.loop import resume, train
from lineament.training.run import open_run
from lineament.training.stopping import TrainingInterrupted

HERE = Path(__file__).parent


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def session(mode: str, folder: Path, threads: int, times: int) -> None:
    # Threads that wait by spinning take the cores of the other test processes; how they wait changes no bit.
    chosen = {
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "thread_session.py"), mode, str(folder), str(threads), str(times)],
        env={**os.environ, **chosen},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == str(threads)
    # A resume with the threads it was trained with has nothing to warn of.
    assert "warning" not in done.stderr


@pytest.mark.parametrize(
    ("threads", "times"),
    [
        pytest.param(2, 3, id="two"),
        pytest.param(2, 10, id="two often", marks=pytest.mark.slow),
        pytest.param(1, 3, id="one", marks=pytest.mark.slow),
        pytest.param(4, 5, id="four", marks=pytest.mark.slow),
    ],
)
def test_runs_and_resumed_runs_of_several_processes_are_equal(tmp_path: Path, threads: int, times: int):
    session("cut", tmp_path, threads, times)
    session("go on", tmp_path, threads, times)
    first = open_run(tmp_path / "straight-0")
    for number in range(times):
        assert_same_runs(first, open_run(tmp_path / f"cut-{number}"))
        assert_same_runs(first, open_run(tmp_path / f"straight-{number}"))


def test_another_number_of_threads_is_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = train_toy(tmp_path / "run", toy(), stop_after=2)
    assert run.read_checkpoint().state["rounding"] == {"device": "cpu", "threads": 1, "flush_to_zero": True}
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train_toy(run.folder, toy(), resumed=True, stop_after=3)
    finally:
        torch.set_num_threads(before)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "trained with 1 CPU thread and" in warnings[0]
    assert "now goes on with 2 CPU threads and" in warnings[0]


def test_a_run_that_kept_subnormal_numbers_resumes_with_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = train_toy(tmp_path / "run", toy(), stop_after=2)
    checkpoint = run.read_checkpoint()
    checkpoint.state["rounding"]["flush_to_zero"] = False
    save_checkpoint(run.checkpoints, checkpoint)
    train_toy(run.folder, toy(), resumed=True, stop_after=3)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "subnormal numbers kept and now" in warnings[0]
    assert "subnormal numbers taken for zero: the batches stay the same" in warnings[0]


def test_gradients_of_repeated_indices_are_added_in_one_order(two_threads: None):
    """Without the deterministic kernels, torch's threads add single-precision sums up in the order they come."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, generator=generator)
    # So many that the threads overlap even on a busy machine: eight of eight results then differed.
    places = torch.randint(0, 50, (3_000_000,), generator=generator)
    upstream = torch.randn(3_000_000, generator=generator)

    def gradient() -> torch.Tensor:
        leaf = values.clone().requires_grad_()
        leaf[places].backward(upstream)
        assert leaf.grad is not None
        return leaf.grad

    with reproducible(torch.device("cpu")):
        first = gradient()
        assert all(torch.equal(first, gradient()) for _ in range(5))


def test_the_switches_are_set_back():
    def switches() -> tuple[Any, ...]:
        return (
            torch.get_deterministic_debug_mode(),
            torch.backends.cudnn.benchmark,
            torch.utils.deterministic.fill_uninitialized_memory,
        )

    before = switches()
    with suppress(ZeroDivisionError), reproducible(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        raise ZeroDivisionError
    assert switches() == before


def shifted(tensor: torch.Tensor, places: int) -> torch.Tensor:
    """The same numbers, beginning ``places`` numbers after the start of a piece of torch's memory."""
    return torch.empty(tensor.numel() + places)[places:].view_as(tensor).copy_(tensor)


def test_unaligned_tensors_are_copied_and_others_are_not():
    whole, odd = torch.arange(6.0), shifted(torch.arange(6.0), 3)
    assert whole.data_ptr() % ALIGNMENT == 0
    assert odd.data_ptr() % ALIGNMENT != 0
    found = align_memory({"a": whole, "b": [odd, "text"], "c": (odd, 3)})
    assert found["a"] is whole
    assert found["b"][1] == "text"
    assert found["c"][1] == 3
    for copy in (found["b"][0], found["c"][0]):
        assert copy.data_ptr() % ALIGNMENT == 0
        assert torch.equal(copy, odd)


def test_where_a_batch_lies_in_memory_does_not_matter(tmp_path: Path):
    """Batches from numpy or a file begin anywhere; matrix products by a vector would then round differently."""

    class Shifting(ToyRecipe):
        name = "toy-shifting"
        places = 0

        def networks(self) -> dict[str, torch.nn.Module]:
            net = torch.nn.Sequential(
                torch.nn.Flatten(), torch.nn.Linear(3 * 9 * 9, 1), torch.nn.Unflatten(1, (1, 1, 1))
            )
            return {"net": net, "critic": torch.nn.Conv2d(1, 1, 1)}

        def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
            batch = super().collate(items)
            return {**batch, "image": shifted(batch["image"], self.places)}

    def run(name: str, places: int) -> Any:
        recipe = Shifting(toy(draw=False).config)
        recipe.places = places
        return train(recipe, Noise(size=9), tmp_path / name, options=QUIET)

    first = run("first", 0)
    for places in (1, 5, 9):
        assert_same_runs(first, run(f"shifted-{places}", places))


def test_an_older_checkpoint_resumes_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = train_toy(tmp_path / "run", toy(), stop_after=2)
    checkpoint = run.read_checkpoint()
    del checkpoint.state["rounding"]
    save_checkpoint(run.checkpoints, checkpoint)
    with suppress(TrainingInterrupted):
        resume(run.folder, Noise(), options=QUIET, recipe=toy())
    assert "warning" not in capsys.readouterr().err

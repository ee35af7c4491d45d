"""Flush-to-zero: set where we compute, in every thread and process, and put back where the process is not ours."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lineament.data.loader import BatchStream
from lineament.data.sample import FaceSample
from lineament.denormals import denormals_restored, flush_denormals, flushes_denormals, set_flush_denormals
from lineament.ops.threads import run_tasks
from lineament.parallel import helpers, ordered_map

# Numbers enough that torch splits them over all threads.
MANY = 1 << 20


def supported() -> bool:
    with flush_denormals() as flushed:
        return flushed


pytestmark = pytest.mark.skipif(not supported(), reason="this processor has no such flag")


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def kept_by_torch() -> float:
    """Share of products that stay subnormal, over all threads of torch."""
    return float((torch.full((MANY,), 1e-37) * 0.01).count_nonzero()) / MANY


def test_the_flag_is_read_from_arithmetic_and_put_back():
    assert not flushes_denormals()
    with flush_denormals() as flushed:
        assert flushed and flushes_denormals()
        assert np.float32(1e-37) * np.float32(0.01) == 0
        with flush_denormals(False) as inner:
            assert not inner and np.float32(1e-37) * np.float32(0.01) > 0
        assert flushes_denormals()
    assert not flushes_denormals()
    with pytest.raises(ZeroDivisionError), flush_denormals():
        _ = 1 / (1 - int(flushes_denormals()))
    assert not flushes_denormals()


def test_torchs_threads_follow_although_they_run_already(four_threads: None):
    assert kept_by_torch() == 1  # starts them
    torch.set_flush_denormal(True)
    alone = kept_by_torch()
    torch.set_flush_denormal(False)
    assert alone > 0, "torch's own switch now reaches all threads: ours is not needed any more"
    with flush_denormals():
        assert kept_by_torch() == 0
    assert kept_by_torch() == 1


def test_threads_of_the_kernels_follow_their_caller(four_threads: None):
    seen: list[bool] = []

    def kernel(task: int) -> int:
        seen.append(flushes_denormals())
        return sum(range(20000)) * 0

    tasks = [(number,) for number in range(64)]
    for on in (False, True, False):
        seen.clear()
        with flush_denormals(on):
            run_tasks(kernel, (), tasks, work=10**6)
        assert seen == [on] * 64


class Tiny:
    """Pictures whose values are normal numbers near the smallest."""

    name = fingerprint = "tiny"

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> FaceSample:
        return FaceSample(id=str(index), image=torch.full((3, 4, 4), 1e-37))


def fade(sample: FaceSample, generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {"image": sample.image * 0.01}


def test_data_is_prepared_alike_in_workers_and_here():
    for workers in (0, 1):
        stream = BatchStream(
            Tiny(), fade, torch.utils.data.default_collate, batch_size=2, seed=0, workers=workers
        )
        (batch,) = itertools.islice(stream, 1)
        assert batch["image"].count_nonzero() == 0
    assert not flushes_denormals()


def look(_: int = 0) -> bool:
    return flushes_denormals()


def test_our_processes_flush():
    for workers in (1, 2):
        with ordered_map(look, range(3), workers, "try again") as answers:
            assert list(answers) == [True] * 3
    with helpers(1, "try again") as side:
        assert side.submit(look).result()
    assert not flushes_denormals()


def test_imports_and_load_leave_the_flag_alone():
    words = (
        "import lineament; lineament.load; from lineament.denormals import flushes_denormals as f; print(f())"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_module_imports_no_torch():
    words = "import sys, lineament.denormals as d; d.flushes_denormals(); print('torch' in sys.modules)"
    words += "\nwith d.denormals_restored(): pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_restoring_undoes_what_the_code_inside_did():
    with denormals_restored():
        set_flush_denormals()
        assert flushes_denormals()
    assert not flushes_denormals()


def test_the_command_line_computes_with_it_and_gives_the_callers_state_back(monkeypatch: pytest.MonkeyPatch):
    from lineament.cli.main import main

    seen: list[bool] = []

    def watch(*arguments: object, **options: object) -> dict[str, int]:
        seen.append(flushes_denormals())
        return {}

    monkeypatch.setattr("lineament.cli.bench.run_bench", watch)
    assert main(["bench", "rasterize"]) == 0
    assert seen == [True]
    assert not flushes_denormals()

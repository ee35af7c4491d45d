"""The batch stream: equal for any number of workers and processes, from any step, and honest about bad samples."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import default_collate

from lineament.data.loader import BatchStream
from lineament.data.order import SampleOrder, replacement, sample_generator
from lineament.data.sample import FaceSample
from lineament.errors import DataError, LineamentError, UsageError


@dataclass
class Numbers:
    """Sample i is a picture whose every value is i / 255."""

    count: int
    broken: set[int] = field(default_factory=set)
    name: str = "numbers"
    fingerprint: str = "0"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        if index in self.broken:
            raise DataError(f"/data/{index}.png is truncated.")
        return FaceSample(id=f"n{index}", image=torch.full((3, 64, 64), index / 255))


def augment(sample: FaceSample, generator: torch.Generator) -> dict[str, Any]:
    noise = torch.rand(sample.image.shape, generator=generator)
    return {"image": sample.image + noise, "mean": (sample.image * noise).mean(), "index": int(sample.id[1:])}


def refuse(sample: FaceSample, generator: torch.Generator) -> dict[str, Any]:
    if sample.id == "n5":
        raise ValueError("odd image")
    return augment(sample, generator)


def die(sample: FaceSample, generator: torch.Generator) -> dict[str, Any]:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def take(count: int, *arguments: Any, **options: Any) -> list[dict[str, torch.Tensor]]:
    return list(itertools.islice(BatchStream(*arguments, **options), count))


def same(first: list[Any], second: list[Any]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a[key], b[key]) for a, b in pairs for key in ("image", "mean", "index"))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_a_bit(workers: int) -> None:
    source = Numbers(23)
    before = torch.get_rng_state()
    alone = take(7, source, augment, default_collate, 5, 3)
    assert same(alone, take(7, source, augment, default_collate, 5, 3, workers=workers))
    assert torch.equal(before, torch.get_rng_state())


def test_a_stream_goes_on_from_any_step() -> None:
    source = Numbers(23)
    straight = take(12, source, augment, default_collate, 5, 3)
    assert same(straight[5:], take(7, source, augment, default_collate, 5, 3, start_step=5))
    assert same(straight[5:], take(7, source, augment, default_collate, 5, 3, start_step=5, workers=2))


def test_two_processes_and_two_parts_share_the_batch() -> None:
    source = Numbers(23)
    alone = take(3, source, augment, default_collate, 8, 0)
    parts = [take(6, source, augment, default_collate, 8, 0, rank=r, world=2, accumulate=2) for r in (0, 1)]
    for step, batch in enumerate(alone):
        pieces = [parts[rank][2 * step + part] for part in (0, 1) for rank in (0, 1)]
        for key in batch:
            assert torch.equal(torch.cat([piece[key] for piece in pieces]), batch[key])


def test_iterating_again_starts_again() -> None:
    stream = BatchStream(Numbers(9), augment, default_collate, 4, 0)
    assert same(list(itertools.islice(stream, 3)), list(itertools.islice(stream, 3)))


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_replaced_alike_and_counted(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    source = Numbers(200, broken={17, 90})
    stream = BatchStream(source, augment, default_collate, 20, 1, workers=workers)
    batches = list(itertools.islice(stream, 20))
    assert same(batches, take(20, source, augment, default_collate, 20, 1))
    assert set(stream.bad.reasons) == {"17", "90"}
    assert sum("17.png is truncated" in record.message for record in caplog.records) <= 2
    assert all(batch["index"].shape == (20,) for batch in batches)
    assert not any(index in source.broken for batch in batches for index in batch["index"].tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_more_than_one_percent_bad_stops(workers: int) -> None:
    with pytest.raises(DataError, match=r"3 of 200 samples cannot be used.*png is truncated.*data check"):
        take(30, Numbers(200, broken={17, 90, 91}), augment, default_collate, 20, 1, workers=workers)
    with pytest.raises(DataError, match="cannot be used"):
        take(1, Numbers(10, broken=set(range(10))), augment, default_collate, 4, 0, workers=workers)


def test_the_tolerance_can_be_raised() -> None:
    source = Numbers(200, broken={17, 90, 91})
    assert len(take(30, source, augment, default_collate, 20, 1, tolerance=0.02)) == 30


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_name_the_sample(workers: int) -> None:
    with pytest.raises(DataError, match=r"'n5' \(index 5 of numbers\).*ValueError: odd image") as caught:
        take(6, Numbers(20), refuse, default_collate, 5, 0, workers=workers)
    assert "Traceback" in str(caught.value.__cause__)
    assert "\n" not in str(caught.value)


def test_a_killed_worker_is_one_sentence() -> None:
    with pytest.raises(LineamentError, match="a data worker of numbers died"):
        take(1, Numbers(20), die, default_collate, 5, 0, workers=1)


AFTER_NUMBA = """
import itertools, numba, torch
from torch.utils.data import default_collate
from lineament.data.loader import BatchStream
from lineament.data.registry import open_data
from lineament.parallel import worker_context

def item(sample, generator):
    return {"image": sample.image + torch.rand(1, generator=generator)}

@numba.njit(parallel=True)
def work(n):
    total = 0.0
    for i in numba.prange(n):
        total += i
    return total

if __name__ == "__main__":
    work(10)
    source = open_data("synthetic?count=6&size=24")
    batches = [
        list(itertools.islice(BatchStream(source, item, default_collate, 4, 0, workers=workers), 2))
        for workers in (0, 2)
    ]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(*batches, strict=True))
    print(numba.threading_layer(), worker_context().get_start_method())
"""


@pytest.mark.slow
def test_workers_live_although_a_parallel_kernel_ran_before(tmp_path: Path) -> None:
    script = tmp_path / "after_numba.py"
    script.write_text(AFTER_NUMBA)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() in (["omp", "forkserver"], ["tbb", "fork"], ["workqueue", "fork"])


def test_threads_of_the_caller_stay() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        take(1, Numbers(4), augment, default_collate, 2, 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_uneven_batches_are_refused() -> None:
    with pytest.raises(UsageError, match="multiple of 2"):
        BatchStream(Numbers(20), augment, default_collate, 5, 0, world=2)


def test_the_first_batch_holds_the_first_places_of_the_order() -> None:
    """Not only the same in all streams: what the order says of step 0, part by part."""
    order = SampleOrder(23, 6, 3, accumulate=2)
    wanted = [[place.index for place in order.part(step, part)] for step in range(3) for part in range(2)]
    found = take(6, Numbers(23), augment, default_collate, 6, 3, accumulate=2)
    assert [batch["index"].tolist() for batch in found] == wanted
    later = take(2, Numbers(23), augment, default_collate, 6, 3, accumulate=2, start_step=2)
    assert [batch["index"].tolist() for batch in later] == wanted[4:]


def test_a_stand_in_has_the_augmentation_of_its_own_index() -> None:
    broken, whole = Numbers(200, broken={17}), Numbers(200)
    order = SampleOrder(200, 20, 1)
    places = [place for step in range(10) for place in order.part(step)]
    (at,) = [number for number, place in enumerate(places) if place.index == 17]
    stand_in = replacement(200, 1, 0, 17, 0)
    batch = take(at // 20 + 1, broken, augment, default_collate, 20, 1)[-1]
    assert int(batch["index"][at % 20]) == stand_in
    alone = augment(whole[stand_in], sample_generator(1, 0, stand_in))
    assert torch.equal(batch["image"][at % 20], alone["image"])

"""Endless batches from a source, bitwise equal for any number of worker processes."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from lineament.data.memory import align_memory
from lineament.data.order import SampleIndex, SampleOrder, replacement, sample_generator
from lineament.data.rejects import DEFAULT_TOLERANCE, BadFiles
from lineament.data.sample import Source
from lineament.denormals import flush_denormals, set_flush_denormals
from lineament.errors import DataError, LineamentError
from lineament.parallel import one_thread, worker_context

Item = Callable[[Any, torch.Generator], Any]
Collate = Callable[[list[Any]], Any]


@dataclass
class _Loaded:
    """What one process hands over for one part of a step."""

    batch: Any = None
    # Index of every unreadable sample met, with the sentence that says why.
    bad: dict[int, str] = field(default_factory=dict)
    failure: str = ""
    trace: str = ""


class _PartReader(torch.utils.data.Dataset):
    """Reads, transforms and stacks the samples of one part; runs in this process or in a worker."""

    def __init__(self, source: Source[Any], item: Item, collate: Collate, seed: int, most_bad: int) -> None:
        self.source = source
        self.item = item
        self.collate = collate
        self.seed = seed
        self.most_bad = most_bad

    def __getitem__(self, places: list[SampleIndex]) -> _Loaded:
        loaded = _Loaded()
        where = ""
        try:
            items = []
            for place in places:
                where = f"sample {place.index} of {self.source.name}"
                index, sample = self._read(place, loaded)
                if sample is None:
                    return loaded
                where = f"sample {sample.id!r} (index {index} of {self.source.name})"
                items.append(self.item(sample, sample_generator(self.seed, place.epoch, index)))
            where = f"the batch that holds {where}"
            loaded.batch = self.collate(items)
        # A worker cannot raise across processes without losing the error's class and sentence: it is handed over.
        except Exception as error:
            reason = str(error) if isinstance(error, LineamentError) else f"{type(error).__name__}: {error}"
            loaded.failure = f"{where} cannot be prepared: {reason}"
            loaded.trace = traceback.format_exc()
        return loaded

    def _read(self, place: SampleIndex, loaded: _Loaded) -> tuple[int, Any]:
        """Read a sample or its stand-in; None when more samples than tolerated cannot be read."""
        index = place.index
        attempt = 0
        while True:
            try:
                return index, self.source[index]
            except DataError as error:
                loaded.bad[index] = str(error)
                if len(loaded.bad) > self.most_bad:
                    return index, None
            index = replacement(len(self.source), self.seed, place.epoch, place.index, attempt)
            attempt += 1


class BatchStream:
    """Yields batches for ever, starting at any step; part ``a`` of step ``s`` is a pure function of its arguments.

    A sample that cannot be read is reported once by path, replaced by the same stand-in on every run, and counted in
    :attr:`bad`; the stream stops when more than ``tolerance`` of the source is unreadable.

    Args:
        source: Where samples come from.
        item: Turns a sample into plain tensors; draws all augmentation from the generator it receives.
        collate: Stacks a list of items into a batch.
        batch_size: Samples of one step over all processes and accumulation parts together.
        seed: Seed of order and augmentation.
        start_step: First step to yield.
        workers: Worker processes; 0 reads in this process. The batches are the same, bit for bit.
        rank: Number of this process among ``world``.
        world: Processes that share every step.
        accumulate: Parts of one step; the stream yields them one after the other.
        drop_last: See :class:`~lineament.data.order.SampleOrder`.
        tolerance: Share of unreadable samples, 0..1, above which the stream stops.

    Raises:
        UsageError: If the batch cannot be shared out.
        DataError: While iterating: a sample that cannot be prepared (named by id), or too many unreadable ones.
    """

    def __init__(
        self,
        source: Source[Any],
        item: Item,
        collate: Collate,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        *,
        drop_last: bool = False,
        tolerance: float = DEFAULT_TOLERANCE,
    ) -> None:
        self.source = source
        self.order = SampleOrder(len(source), batch_size, seed, rank, world, accumulate, drop_last)
        self.start_step = start_step
        self.workers = workers
        self.bad = BadFiles(len(source), tolerance)
        self._reader = _PartReader(source, item, collate, seed, self.bad.most)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batch of each part of each step, from ``start_step`` on, without end."""
        parts = self._in_workers() if self.workers else self._here()
        for loaded in parts:
            for index, reason in loaded.bad.items():
                self.bad.add(str(index), reason)
            if loaded.failure:
                raise DataError(loaded.failure) from RuntimeError(loaded.trace)
            yield align_memory(loaded.batch)

    def _parts(self) -> Iterator[list[SampleIndex]]:
        step = self.start_step
        while True:
            for part in range(self.order.accumulate):
                yield self.order.part(step, part)
            step += 1

    def _here(self) -> Iterator[_Loaded]:
        for places in self._parts():
            with one_thread(), flush_denormals():
                loaded = self._reader[places]
            yield loaded

    def _in_workers(self) -> Iterator[_Loaded]:
        loader = torch.utils.data.DataLoader(
            self._reader,
            batch_size=None,
            sampler=_Endless(self._parts),
            num_workers=self.workers,
            multiprocessing_context=worker_context(),
            worker_init_fn=_begin_worker,
            # Its own generator: the loader would otherwise take a number from the global one, and a run with workers
            # would not equal a run without.
            generator=torch.Generator(),
        )
        try:
            yield from loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise LineamentError(
                f"a data worker of {self.source.name} died ({str(error).splitlines()[0]}): lower the workers or the "
                "batch size if memory is short."
            ) from error


class _Endless(torch.utils.data.Sampler):
    """Hands the parts of all steps to the loader, which keeps their order over its workers."""

    def __init__(self, parts: Callable[[], Iterator[list[SampleIndex]]]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        return self.parts()


def _begin_worker(worker: int) -> None:
    """Compute as the process of origin does, and leave Ctrl-C, which a terminal sends to every process, to it."""
    set_flush_denormals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

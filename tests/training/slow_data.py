"""Trains on data that comes slowly, from workers of a fork server, and gets Ctrl-C while it waits for a batch.

A script of its own (run by test_interrupt.py): the signal goes to its whole process group, as from a terminal.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from training_toy import QUIET, Noise, toy

import lineament.data.loader as loader
from lineament.training.loop import train
from lineament.training.stopping import TrainingInterrupted


class Slow(Noise):
    def __getitem__(self, index: int) -> Any:
        time.sleep(0.1)
        return super().__getitem__(index)


def interrupt_group(metrics: Path) -> None:
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        time.sleep(0.01)
    os.killpg(0, signal.SIGINT)


def main(folder: Path) -> None:
    # What the loader chooses where a numba kernel on GNU OpenMP has run.
    loader.worker_context = lambda: multiprocessing.get_context("forkserver")
    threading.Thread(target=interrupt_group, args=(folder / "metrics.jsonl",), daemon=True).start()
    try:
        train(toy(steps=10_000), Slow(), folder, options=replace(QUIET, workers=2))
    except TrainingInterrupted as stop:
        print(stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Kills a training that saves after every step with SIGKILL, again and again, resumes it, and lets it finish.

A script of its own (run by test_kill.py: folder, seed, kills, steps). It forks after a first training has imported all
that trainings import, so that a resumed one starts in milliseconds. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard
from training_toy import QUIET, Noise, ToyRecipe, toy, train_toy

from lineament.training.checkpoint import checkpoint_steps
from lineament.training.loop import resume, train

FIELDS: dict[str, Any] = {"checkpoint_every": 1, "width": 4}


class Telling(ToyRecipe):
    """Tells the parent whenever a step begins; the save of the step before is then over."""

    name = "toy-telling"
    pipe = -1

    def step(self, networks: Any, batch: Any, context: Any) -> Any:
        os.write(self.pipe, b"s")
        return super().step(networks, batch, context)


def train_and_kill(folder: Path, moment: float) -> bool:
    """Start or resume in a child and kill it in its second step or the save that follows.

    ``moment`` in 0..1 chooses when, in durations of the first step with its save. Returns whether the kill struck.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        Telling.pipe = writer
        recipe = Telling(toy(**FIELDS).config)
        try:
            if folder.exists():
                resume(folder, Noise(), options=QUIET, recipe=recipe)
            else:
                train(recipe, Noise(), folder, options=QUIET)
        finally:
            os._exit(0)
    os.close(writer)
    os.read(reader, 1)
    start = time.perf_counter()
    os.read(reader, 1)
    time.sleep(moment * (time.perf_counter() - start))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reader)
    return os.WIFSIGNALED(status)


def main(folder: Path, seed: int, kills: int, steps: int) -> None:
    torch.set_num_threads(1)
    FIELDS["steps"] = steps
    straight = train_toy(folder / "straight", unheard(checkpoint_every=0))
    chance = random.Random(seed)
    killed = resumed = in_the_middle = 0
    before = 0
    for _ in range(kills):
        killed += train_and_kill(folder / "killed", chance.random())
        leftovers = list((folder / "killed" / "checkpoints").glob(".*.tmp"))
        in_the_middle += bool(leftovers)
        steps = checkpoint_steps(folder / "killed" / "checkpoints")
        resumed += bool(steps) and steps[-1] > before
        before = steps[-1] if steps else before
    run = train_toy(folder / "killed", unheard(), resumed=True)
    lines = [(r.folder / "metrics.jsonl").read_text() for r in (run, straight)]
    weights = [r.read_checkpoint().groups["networks"] for r in (run, straight)]
    result = {
        "killed": killed,
        "resumed": resumed,
        "in_the_middle": in_the_middle,
        "steps_at_last_kill": before,
        "metrics_equal": lines[0] == lines[1],
        "weights_equal": all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1]),
        "leftovers": len(list((folder / "killed" / "checkpoints").glob(".*"))),
    }
    print(json.dumps(result))


def unheard(**fields: Any) -> ToyRecipe:
    """The same recipe with nobody listening."""
    Telling.pipe = os.open(os.devnull, os.O_WRONLY)
    return Telling(toy(**{**FIELDS, **fields}).config)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

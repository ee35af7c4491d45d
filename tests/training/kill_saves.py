"""Kills a training that saves after every step 50 times with SIGKILL, resumes it each time, and lets it finish.

A script of its own (run by test_kill.py): it forks after the imports, so that a resumed training starts in
milliseconds. Prints one JSON line.
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

KILLS = 50
FIELDS: dict[str, Any] = {"steps": 160, "checkpoint_every": 1, "width": 4}


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


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    chance = random.Random(int(sys.argv[2]))
    killed = resumed = in_the_middle = 0
    before = 0
    for _ in range(KILLS):
        killed += train_and_kill(folder / "killed", chance.random())
        leftovers = list((folder / "killed" / "checkpoints").glob(".*.tmp"))
        in_the_middle += bool(leftovers)
        steps = checkpoint_steps(folder / "killed" / "checkpoints")
        resumed += bool(steps) and steps[-1] > before
        before = steps[-1] if steps else before
    run = train_toy(folder / "killed", unheard(), resumed=True)
    straight = train_toy(folder / "straight", unheard(checkpoint_every=0))
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
    main(Path(sys.argv[1]))

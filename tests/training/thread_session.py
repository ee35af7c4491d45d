"""One session of training the toy recipe in a process of its own (run by test_threads.py)."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch
from training_toy import toy, train_toy


def main(mode: str, folder: Path, threads: int, times: int) -> None:
    # The environment alone would not do: torch takes no more threads than MKL finds cores.
    torch.set_num_threads(threads)
    kept = []
    for number in range(times):
        # Memory of another shape before every run: where its tensors lie must not matter.
        kept = [torch.empty(random.randrange(1, 100_000)) for _ in range(random.randrange(30))]
        recipe = toy(evaluate_every=4)
        if mode == "cut":
            train_toy(folder / f"cut-{number}", recipe, stop_after=5)
        else:
            train_toy(folder / f"cut-{number}", recipe, resumed=True)
            train_toy(folder / f"straight-{number}", toy(evaluate_every=4))
    print(torch.get_num_threads(), len(kept) >= 0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

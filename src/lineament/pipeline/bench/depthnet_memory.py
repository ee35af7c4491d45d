"""Peak memory of scoring all pairs of many faces, of a process that does nothing else.

``python -m lineament.pipeline.bench.depthnet_memory FACES SOURCES`` prints it in megabytes. Memory is at its peak from
the first source face on, so that a few of them tell it: the errors of the others are filled in.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from lineament.data.keypoint_depth import ORIENTATIONS, KeypointSet
from lineament.evaluation.depth import PairScores, score_pairs
from lineament.methods.depthnet.model import KEYPOINTS, DepthNet
from lineament.methods.depthnet.predictor import DepthPredictor


def faces(count: int, seed: int = 0) -> KeypointSet:
    """Random faces; how they are scored does not depend on what they look like."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(count, KEYPOINTS, 2, generator=generator)
    depth = torch.randn(count, KEYPOINTS, generator=generator)
    turned = tuple(ORIENTATIONS[number % 3] for number in range(count))
    return KeypointSet(tuple(map(str, range(count))), keypoints, depth, turned, torch.full((count, 2), 128))


def peak_mb(count: int, sources: int = 3) -> float | None:
    """Peak resident memory in megabytes of a fresh process that scores ``count`` faces against all; Linux only.

    Args:
        count: Faces.
        sources: Of them, those that are scored as sources; ``count`` scores all pairs.
    """
    if sys.platform != "linux":
        return None
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(count), str(sources)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return float(done.stdout)


class _ScoredEnoughError(Exception):
    """Ends a scoring early."""


class _StopAfter:
    def __init__(self, sources: int) -> None:
        self.sources = sources

    def __call__(self, source: int, targets: slice, depth: Tensor) -> None:
        if source >= self.sources:
            raise _ScoredEnoughError


def _score(count: int, sources: int) -> PairScores:
    drawn = faces(count)
    with suppress(_ScoredEnoughError):
        return score_pairs(DepthPredictor(DepthNet()), drawn, dump=_StopAfter(sources))
    groups = torch.arange(count) % len(ORIENTATIONS)
    return PairScores(groups, ORIENTATIONS, None, torch.rand(count, count).fill_diagonal_(torch.nan))


def main(arguments: list[str]) -> None:
    """Score, sum up the errors as an evaluation does, and print the peak."""
    scores = _score(*map(int, arguments))
    for source in (None, *ORIENTATIONS):
        for target in (None, *ORIENTATIONS):
            scores.keypoint_error(source, target)
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")))


if __name__ == "__main__":
    main(sys.argv[1:])

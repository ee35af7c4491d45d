"""Training steps of DepthNets and the scoring of all pairs of 225 faces, with a plain twin of the slow parts.

The twin builds the two rows per keypoint of the linear system one element at a time with gradients, and scores pair by
pair, as the published code does. Times are the least processor time over the repeats.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.data.keypoint_depth import KeypointSet
from lineament.methods import register_all
from lineament.methods.depthnet.evaluate import score_pairs
from lineament.methods.depthnet.model import DepthNet, transfer
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.pipeline.bench.timing import Timing, report
from lineament.training.distributed import make_fabric
from lineament.training.registry import get_recipe
from lineament.training.update import GradientUpdate

# Of the published code on an idle machine, one thread (milliseconds a step of 32 pairs; seconds for 50,400 pairs).
PUBLISHED_MS = {
    "nogan.sigma0.fixm": 279.0,
    "wgan.dnorm0.1.sigma0.fixm": 312.0,
    "nogan.learnm": 10.9,
    "wgan.dnorm0.1.learnm": 37.7,
}
PUBLISHED_EVALUATION_S = 227.0
FACES, PAIRS_OF_TWIN = 225, 20
MANY_FACES, MANY_SOURCES = 2000, 3


def faces(count: int, seed: int = 0) -> KeypointSet:
    """Random faces; how fast they are scored does not depend on what they look like."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(count, 66, 2, generator=generator)
    depth = torch.randn(count, 66, generator=generator)
    turned = tuple(("left", "center", "right")[number % 3] for number in range(count))
    return KeypointSet(tuple(map(str, range(count))), keypoints, depth, turned, torch.full((count, 2), 128))


def plain_fit(source: Tensor, depth: Tensor, target: Tensor) -> Tensor:
    """The twin: the 2 K x 8 system filled by element, inverted in single precision; result ``[B, 2, 4]``."""
    batch, count = depth.shape
    system = torch.zeros(batch, 2 * count, 8)
    for b in range(batch):
        for k in range(count):
            for row, column in ((2 * k, 0), (2 * k + 1, 3)):
                system[b, row, column] = source[b, k, 0]
                system[b, row, column + 1] = source[b, k, 1]
                system[b, row, column + 2] = depth[b, k]
            system[b, 2 * k, 6] = 1.0
            system[b, 2 * k + 1, 7] = 1.0
    across = system.transpose(1, 2)
    m = (torch.inverse(across @ system) @ (across @ target.reshape(batch, -1, 1)))[..., 0]
    return torch.stack([m[:, [0, 1, 2, 6]], m[:, [3, 4, 5, 7]]], dim=1)


def _least_ms(work: Callable[[], object], repeats: int, warm_up: int = 2) -> float:
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def _step(name: str) -> Callable[[], object]:
    cls = get_recipe(f"depthnet-exp1.lamb1.sd5.{name}")
    recipe = cls(cls.config_class())
    networks = recipe.networks()
    update = GradientUpdate(make_fabric("cpu", "32-true"), recipe.optimisers(networks), 1)
    drawn = faces(recipe.config.batch_size)
    batch = {"keypoints": drawn.keypoints, "depth": drawn.depth}
    return lambda: recipe.step(networks, batch, update)


def _plain_step() -> Callable[[], object]:
    network = DepthNet()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999), foreach=False)
    source, target = faces(64).keypoints.chunk(2)

    def step() -> None:
        optimiser.zero_grad()
        depth = network(source, target)[0]
        predicted = transfer(plain_fit(source, depth, target), source, depth)
        (predicted - target).square().mean().backward()
        optimiser.step()

    return step


def _plain_pair(network: DepthNet, drawn: KeypointSet) -> Callable[[], object]:
    source, target = drawn.keypoints[:1], drawn.keypoints[1:2]

    @torch.no_grad()
    def score() -> Tensor:
        depth = network(source, target)[0]
        return (transfer(plain_fit(source, depth, target), source, depth) - target).square().mean()

    return score


def _peak_mb(network: DepthNet) -> float | None:
    """Peak resident memory of the whole process while some of 2,000 faces are scored against all; Linux only."""
    if sys.platform != "linux":
        return None
    drawn = faces(MANY_FACES)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to the present
    stop = _StopAfter(MANY_SOURCES)
    with suppress(_ScoredEnoughError):
        score_pairs(DepthPredictor(network), drawn, dump=stop)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


class _ScoredEnoughError(Exception):
    """Ends a scoring early: its memory is at its peak from the first source on."""


class _StopAfter:
    def __init__(self, sources: int) -> None:
        self.sources = sources

    def __call__(self, source: int, targets: slice, depth: Tensor) -> None:
        if source >= self.sources:
            raise _ScoredEnoughError


def run(*, repeats: int = 20) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Timed calls of each step; the twins and the scoring take fewer.

    Returns:
        Headline: the closed-form step without a critic, beside its twin; then all steps and the scoring.
    """
    register_all()
    steps = {name: _least_ms(_step(name), repeats) for name in PUBLISHED_MS}
    twin = _least_ms(_plain_step(), min(repeats, 3), 1)
    network = DepthNet().eval()
    drawn = faces(FACES)
    predictor = DepthPredictor(network)
    scoring = _least_ms(lambda: score_pairs(predictor, drawn), min(repeats, 3), 1) / 1e3
    pairs = FACES * (FACES - 1)
    plain_scoring = _least_ms(_plain_pair(network, drawn), PAIRS_OF_TWIN) * pairs / 1e3
    headline = steps["nogan.sigma0.fixm"]
    return report(
        "training step of 32 pairs, closed form, no critic (least processor time)",
        Timing(headline, headline, headline, headline),
        Timing(twin, twin, twin, twin),
        steps_ms={name: round(value, 2) for name, value in steps.items()},
        published_steps_ms=PUBLISHED_MS,
        times_faster_than_published={name: round(PUBLISHED_MS[name] / v, 2) for name, v in steps.items()},
        scoring_s=scoring,
        scored_pairs=pairs,
        twin_scoring_s=plain_scoring,
        published_scoring_s=PUBLISHED_EVALUATION_S,
        peak_mb_2000_faces=_peak_mb(network),
    )

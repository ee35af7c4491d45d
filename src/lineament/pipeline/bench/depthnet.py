"""Training steps of DepthNets and the scoring of all pairs of 225 faces, beside plain twins in the same process.

Times are processor time: median and least over the repeats, ours and the twin's in turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from lineament.evaluation.depth import score_pairs
from lineament.methods.depthnet.model import DepthNet
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.pipeline.bench.depthnet_memory import faces, peak_mb
from lineament.pipeline.bench.depthnet_twin import plain_pair, plain_step
from lineament.pipeline.bench.timing import Timing, report
from lineament.training.context import StepContext
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
FACES, PAIRS_OF_TWIN, MANY_FACES = 225, 20, 2000


def _timing(times: list[float]) -> Timing:
    median = statistics.median(times)
    return Timing(median, min(times), max(times), median)


def _in_turns(*works: tuple[Callable[[], object], int]) -> list[Timing]:
    """Processor times in milliseconds of functions and their repeats, in turns: a busy neighbour hits all of them."""
    times: list[list[float]] = [[] for _ in works]
    for turn in range(-1, max(repeats for _, repeats in works)):
        for kept, (function, repeats) in zip(times, works, strict=True):
            if turn < repeats:
                start = time.process_time()
                function()
                kept.append(1e3 * (time.process_time() - start))
    # The first turn warms up.
    return [_timing(kept[1:]) for kept in times]


def _steps(name: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """A step of a recipe, and its twin, on the same batch."""
    recipe = get_recipe(f"depthnet-exp1.lamb1.sd5.{name}").build()
    networks = recipe.networks()
    context = StepContext(GradientUpdate(make_fabric("cpu", "32-true"), recipe.optimisers(networks), 1))
    drawn = faces(recipe.config.batch_size)
    assert drawn.depth is not None
    batch = {"keypoints": drawn.keypoints, "depth": drawn.depth}
    twin = plain_step(batch, learnt="learnm" in name, critic="wgan" in name)
    return lambda: recipe.step(networks, batch, context), twin


def run(*, repeats: int = 20) -> dict[str, Any]:
    """Measure.

    Args:
        repeats: Timed calls of each step; the slow twins and the scoring take fewer.

    Returns:
        Headline: the closed-form step without a critic, beside its twin; then all steps, the scoring and its memory.
    """
    steps = {}
    for name in PUBLISHED_MS:
        ours, twin = _steps(name)
        steps[name] = _in_turns((ours, repeats), (twin, repeats if "learnm" in name else min(repeats, 3)))
    network = DepthNet().eval()
    drawn = faces(FACES)
    predictor = DepthPredictor(network)
    pair = plain_pair(network, drawn.keypoints[:1], drawn.keypoints[1:2])
    scoring, plain = _in_turns(
        (lambda: score_pairs(predictor, drawn), min(repeats, 3)), (pair, PAIRS_OF_TWIN)
    )
    pairs = FACES * (FACES - 1)
    return report(
        "training step of 32 pairs, closed form, no critic (processor time)",
        *steps["nogan.sigma0.fixm"],
        steps_ms={name: round(ours.median_ms, 2) for name, (ours, _) in steps.items()},
        least_ms={name: round(ours.min_ms, 2) for name, (ours, _) in steps.items()},
        twin_ms={name: round(twin.median_ms, 2) for name, (_, twin) in steps.items()},
        times_faster_than_twin={
            n: round(twin.median_ms / ours.median_ms, 2) for n, (ours, twin) in steps.items()
        },
        published_steps_ms=PUBLISHED_MS,
        scoring_s=scoring.median_ms / 1e3,
        scored_pairs=pairs,
        twin_scoring_s=plain.median_ms * pairs / 1e3,
        published_scoring_s=PUBLISHED_EVALUATION_S,
        peak_mb_2000_faces=peak_mb(MANY_FACES),
    )

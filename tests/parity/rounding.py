"""When a recorded number misses its tolerance: whether single precision can hold it there at all.

The references were recorded in single precision. Where a computation magnifies rounding (batch statistics of few, alike
faces; softmaxes over scores of hundreds; Adam, which makes a full step of the sign of a gradient that is nearly zero),
two correct programs part by more than the recorded tolerance, and how far depends on the seed of the recording. So ours
runs in double precision, and again in single precision from weights that differ by a rounding. A recorded number that
misses its tolerance may be as far from the double-precision run as those runs are, ``WITHIN`` times over, but never
further than a ceiling. Where what our own runs explain reaches beyond the ceiling, a number beyond it says nothing;
that may be so for a fifth of the numbers of a recording, so that a program that is noisier than it should be fails.
``test_mutations.py`` shows that faults of training are found.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

# Relative distance of weights that single precision does not tell apart.
ROUNDING = 1e-7
# Single-precision runs that tell how far a number moves (at first, and before it fails), and how many times that is
# allowed: it moves in jumps, and few runs do not see the largest one.
NEIGHBOURS, WITHIN = (8, 48), 3.0
# Share of the numbers of a recording that single precision need not determine within their ceilings.
UNDETERMINED = 0.2


def move_weights(network: nn.Module, seed: int) -> None:
    """Move each weight by about a rounding of itself; nothing for the seed 0."""
    if seed == 0:
        return
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p *= 1 + ROUNDING * torch.randn(p.shape, dtype=p.dtype, generator=draw)


def moved(network: nn.Module, seed: int) -> nn.Module:
    """A copy in single precision with weights moved by a rounding."""
    other = copy.deepcopy(network).float()
    move_weights(other, seed)
    return other


def bound(tolerance: float, spread: float, ceiling: float) -> float:
    """How far a recorded number may be from ours in double precision.

    Args:
        tolerance: Of the README.
        spread: How far our runs in single precision are from the one in double precision.
        ceiling: Never more than this.
    """
    return max(tolerance, min(ceiling, WITHIN * spread))


class Numbers:
    """Numbers of one run by name, each with what was recorded, its scale, the error allowed and the ceiling."""

    def __init__(self) -> None:
        self.seen: dict[str, np.ndarray] = {}
        self.expected: dict[str, np.ndarray] = {}
        self.scale: dict[str, np.ndarray] = {}
        self.allowed: dict[str, float] = {}
        self.ceiling: dict[str, float] = {}
        self.means: set[str] = set()

    def add(
        self,
        key: str,
        seen: object,
        expected: object,
        allowed: float,
        scale: object = None,
        ceiling: float | None = None,
        mean: bool = False,
    ) -> None:
        """Keep a number or array; the scale is the largest recorded value, the ceiling what is allowed, unless given.

        With ``mean`` the mean distance counts instead of the largest.
        """
        self.seen[key] = np.asarray(seen.detach() if isinstance(seen, Tensor) else seen, dtype=np.float64)
        self.expected[key] = np.asarray(expected, dtype=np.float64).reshape(self.seen[key].shape)
        self.scale[key] = np.abs(self.expected[key]).max() if scale is None else np.asarray(scale)
        self.allowed[key] = allowed
        self.ceiling[key] = allowed if ceiling is None else ceiling
        if mean:
            self.means.add(key)

    def away(self, key: str, from_here: np.ndarray) -> float:
        """Largest (or mean) distance of what was seen, over its scale."""
        distance = np.abs(self.seen[key] - from_here) / self.scale[key]
        return float(distance.mean() if key in self.means else distance.max())

    def errors(self) -> dict[str, float]:
        """Of the numbers that are further from the recorded ones than allowed."""
        found = {key: self.away(key, self.expected[key]) for key in self.seen}
        return {key: error for key, error in found.items() if not error <= self.allowed[key]}


def add_movement(
    numbers: Numbers,
    key: str,
    start: Mapping[str, Tensor],
    seen: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    allowed: float,
    ceiling: float,
) -> None:
    """Compare how far parameters moved, all together: mean distance over mean recorded movement.

    An optimiser that does not step is 1 away, whatever its rate.
    """
    before, after, recorded = (
        torch.cat([each[name].detach().double().flatten() for name in expected])
        for each in (start, seen, expected)
    )
    way = float((recorded - before).abs().mean())
    numbers.add(key, after - before, recorded - before, allowed, way, ceiling, mean=True)


def unexplained(exact: Numbers, neighbour: Callable[[int], Numbers]) -> list[str]:
    """What differs from the record by more than allowed, and by more than rounding moves it or than its ceiling.

    A unit on the edge of its ReLU may have fallen to the other side in the recording and in one run of twenty: before
    a number counts as unexplained, ``NEIGHBOURS[1]`` runs are asked.

    Args:
        exact: The run in double precision.
        neighbour: Makes the run in single precision with weights moved by a rounding, by its seed (0: not moved).
    """
    missed = exact.errors()
    if not missed:
        return []
    spread = dict.fromkeys(missed, 0.0)
    lines: list[str] = []
    for first, last in ((0, NEIGHBOURS[0]), NEIGHBOURS):
        for seed in range(first, last):
            other = neighbour(seed).seen
            spread = {key: max(known, exact.away(key, other[key])) for key, known in spread.items()}
        lines = _beyond(exact, missed, spread)
        if not lines:
            break
    return lines


def _beyond(exact: Numbers, missed: Mapping[str, float], spread: Mapping[str, float]) -> list[str]:
    lines, undetermined = [], []
    for key, error in missed.items():
        allowed, ceiling = exact.allowed[key], exact.ceiling[key]
        if WITHIN * spread[key] > ceiling > allowed and error > ceiling:
            undetermined.append(key)
        elif not error <= bound(allowed, spread[key], ceiling):
            lines.append(
                f"{key}: {error:.2g} from the record, {allowed:.2g} allowed, {spread[key]:.2g} by rounding, "
                f"ceiling {ceiling:.2g}"
            )
    if len(undetermined) > UNDETERMINED * len(exact.seen):
        lines.append(f"single precision does not hold {len(undetermined)} numbers: {', '.join(undetermined)}")
    return lines

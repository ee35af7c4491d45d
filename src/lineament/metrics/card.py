"""Metric cards: a number that carries its own definition."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lineament.files import write_text


@dataclass(frozen=True)
class MetricCard:
    """One measured number with everything needed to measure it again.

    Attributes:
        name: Short name, for example ``"landmark error"``.
        value: The number.
        unit: Unit of ``value``, for example ``"% of inter-ocular distance"`` or ``"px at 70 px"``.
        definition: The exact formula in words.
        normaliser: What lengths are divided by, or None.
        protocol: How samples were cropped, warped, paired and averaged.
        count: Number of samples averaged over.
        seed: Seed of everything random in the protocol, or None when nothing is.
        data: Name of the data set and split.
        fingerprint: Hex digest of the data.
        std: Standard deviation over samples or seeds (of the population), as ``std_over`` says.
        std_over: ``"samples"``, ``"seeds"`` or ``"subsets"``.
        baseline: The same number of something that every method must beat, or None.
        baseline_name: What that is.
        note: What a reader must know before believing the number, said in the first line; "" for nothing.
        details: Further numbers, for example one per landmark.
    """

    name: str
    value: float
    unit: str
    definition: str
    protocol: str
    count: int
    normaliser: str | None = None
    seed: int | None = None
    data: str | None = None
    fingerprint: str | None = None
    std: float | None = None
    std_over: str | None = None
    baseline: float | None = None
    baseline_name: str | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; numbers that are not finite become None."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    def text(self) -> str:
        """Several lines for a terminal or a report."""
        spread = f" ± {self.std:.3g} (std over {self.std_over})" if self.std is not None else ""
        note = f" ({self.note})" if self.note else ""
        lines = [f"{self.name}: {self.value:.4g}{spread} {self.unit}{note}"]
        if self.baseline is not None:
            lines.append(f"  baseline    {self.baseline:.4g} {self.unit}: {self.baseline_name}")
        lines.append(f"  definition  {self.definition}")
        if self.normaliser:
            lines.append(f"  normaliser  {self.normaliser}")
        lines.append(f"  protocol    {self.protocol}")
        seed = "" if self.seed is None else f", seed {self.seed}"
        lines.append(f"  samples     {self.count}{seed}")
        if self.data:
            print_hex = f" ({self.fingerprint[:12]})" if self.fingerprint else ""
            lines.append(f"  data        {self.data}{print_hex}")
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def write_cards(cards: Sequence[MetricCard], path: Path) -> None:
    """Write cards as one JSON list."""
    write_text(path, json.dumps([card.to_json() for card in cards], indent=2, ensure_ascii=False) + "\n")


def over_seeds(cards: Iterable[MetricCard]) -> MetricCard:
    """Merge cards of the same metric measured with several seeds: mean and standard deviation of their values.

    Raises:
        ValueError: If there is no card or their names or units differ.
    """
    given = list(cards)
    if not given or len({(card.name, card.unit) for card in given}) != 1:
        raise ValueError("over_seeds needs cards of one metric in one unit")
    values = [card.value for card in given]
    mean = sum(values) / len(values)
    first = given[0]
    merged = {
        **{key: getattr(first, key) for key in first.__dataclass_fields__},
        "value": mean,
        "seed": None,
        "std": math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)),
        "std_over": "seeds",
        "details": {"seeds": [card.seed for card in given], "values": values},
    }
    return MetricCard(**merged)

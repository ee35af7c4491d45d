"""Metric cards: complete, plain, and merged over seeds."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from lineament.metrics.card import MetricCard, over_seeds, write_cards

CARD = MetricCard(
    name="landmark error",
    value=5.25,
    unit="% of inter-ocular distance",
    definition="mean distance over points and faces",
    protocol="boxes jittered by 10 %",
    count=200,
    normaliser="inter-ocular",
    seed=3,
    data="made up",
    fingerprint="ab" * 32,
    std=1.5,
    std_over="samples",
    details={"per_point": {"nose": math.nan}},
)


def test_text_says_everything_needed_to_measure_again():
    text = CARD.text()
    for word in ("5.25", "1.5", "inter-ocular", "200", "seed 3", "made up", "abababababab", "jittered"):
        assert word in text


def test_cards_are_written_as_strict_json(tmp_path: Path):
    path = tmp_path / "deep" / "cards.json"
    write_cards([CARD], path)
    (read,) = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert read["value"] == 5.25
    assert read["details"]["per_point"]["nose"] is None
    assert [child.name for child in path.parent.iterdir()] == ["cards.json"]


def test_over_seeds_takes_the_population_deviation():
    merged = over_seeds([replace(CARD, value=value, seed=seed) for seed, value in enumerate((1.0, 2.0, 3.0))])
    assert merged.value == 2.0
    assert merged.std == pytest.approx(math.sqrt(2 / 3))
    assert merged.std_over == "seeds"
    assert merged.details["values"] == [1.0, 2.0, 3.0]


def test_over_seeds_refuses_to_mix_units():
    with pytest.raises(ValueError, match="one metric"):
        over_seeds([CARD, replace(CARD, unit="px")])

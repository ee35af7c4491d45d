"""The script that measures what each ingredient of the landmark model brings: its rows and its table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "ablate_landmarks", ROOT / "scripts" / "ablate_landmarks.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_row_adds_one_ingredient(script: ModuleType, tmp_path: Path) -> None:
    rows = list(script.rows({"plain": tmp_path / "plain", "photo": tmp_path / "photo"}, tmp_path).values())
    assert ["--unlabelled" in row for row in rows] == [False, False, True, True]
    assert ["--widths" in row for row in rows] == [True, True, True, False]
    assert ["--no-occlusions" in row for row in rows] == [True, False, False, False]
    assert [str(tmp_path / "photo") in " ".join(row) for row in rows] == [False, True, True, True]


def test_the_table_has_means_and_their_spread(script: ModuleType) -> None:
    found = script.table({"one": [{"gray": 1.0}, {"gray": 3.0}], "two": [{"gray": 2.0}]})
    assert found.splitlines() == ["| | gray |", "|---|---|", "| one | 2.00 ± 1.41 |", "| two | 2.00 |"]

"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.browser import Shown

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--packs", default=None, help="folder of the real data packs")
    parser.addoption("--goldens", default=None, help="folder of recorded reference numbers")


@pytest.fixture(scope="session")
def packs(request: pytest.FixtureRequest) -> Path:
    """Folder of the real data packs; skips where there is none."""
    from lineament.packs import packs_folder

    beside = ROOT.parent / "shared" / "realdata"
    given = request.config.getoption("--packs") or os.environ.get("LINEAMENT_PACKS")
    folder = packs_folder(given or (beside if beside.is_dir() else None))
    if not folder.is_dir():
        pytest.skip(f"no data packs at {folder}: set LINEAMENT_PACKS or give --packs")
    return folder.resolve()


@pytest.fixture(scope="session")
def goldens(request: pytest.FixtureRequest) -> Path:
    """Folder of recorded reference numbers: as given, else the shared set, else the small committed one."""
    given = request.config.getoption("--goldens")
    candidates = [Path(given)] if given else [ROOT.parent / "shared" / "goldens", ROOT / "tests" / "goldens"]
    for folder in candidates:
        if folder.is_dir():
            return folder.resolve()
    pytest.skip(f"no goldens at {candidates}: give --goldens DIR")


@pytest.fixture(scope="module")
def show_page() -> Iterator[Callable[[Path | str], Shown]]:
    """A function that opens a page in a real browser without a network; skips where there is none (fails in CI)."""
    from tests.browser import browsing

    with browsing() as show:
        yield show

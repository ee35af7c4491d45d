"""Notes which parity tests passed and which files they opened: the last test of a module asks for all of them."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.parity.recorded import PASSED, RUNNING, watch_openings

watch_openings()


def pytest_runtest_setup(item: pytest.Item) -> None:
    RUNNING[0] = item.nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        PASSED.add(item.nodeid)
    return report

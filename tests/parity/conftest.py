"""Notes which parity tests passed: the last of a module asks whether together they read all that was recorded."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.parity.recorded import PASSED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        PASSED.add(item.nodeid)
    return report

"""No estimate before there is something to estimate from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineament import progress as module
from lineament.progress import Pace, progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_item_is_not_counted():
    clock = Clock()
    pace = Pace(clock)
    # Forty seconds of compiling, then ten a second.
    clock.now += 40
    pace.advance()
    assert pace.rate is None and pace.left(1000) == ""
    for _ in range(4):
        clock.now += 0.1
        pace.advance()
        assert pace.rate is None
    clock.now += 0.1
    pace.advance()
    assert pace.rate == pytest.approx(10.0)
    assert pace.left(1205) == "2:00" or pace.left(1205) == "2:01"


def test_slow_items_need_two_seconds():
    clock = Clock()
    pace = Pace(clock)
    pace.advance()
    clock.now += 1.9
    assert pace.rate is None
    clock.now += 2.1
    pace.advance()
    assert pace.rate == pytest.approx(1 / 4.0)
    assert pace.left(15) == "1:00"


@given(st.floats(0.001, 50), st.floats(0, 1000), st.integers(6, 200))
def test_steady_work_gives_its_own_rate_however_long_the_start(each: float, start: float, count: int):
    clock = Clock()
    pace = Pace(clock)
    clock.now += start
    for _ in range(count):
        pace.advance()
        clock.now += each
    # The clock has gone on by one item that is not done yet.
    assert pace.rate == pytest.approx((count - 1) / (count * each), rel=1e-6)


def test_a_line_says_no_more_than_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    with progress("cropping", 10, "images") as advance:
        for _ in range(7):
            advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[:5] == [f"cropping: {i}/10 images" for i in range(1, 6)]
    assert "/s" in lines[5] and lines[5].endswith("left")

"""Processes beside this one: what comes back from them, and that none outlives the work."""

from __future__ import annotations

import os
import time
from concurrent.futures import wait
from pathlib import Path

import pytest
import torch

from lineament.errors import DataError, LineamentError
from lineament.parallel import Helpers, helpers, leaving_a_core


def answer(number: int) -> tuple[int, int, int]:
    return 2 * number, torch.get_num_threads(), os.getpid()


def fail() -> None:
    raise DataError("the image is torn: take another.")


def die() -> None:
    os._exit(3)


def work_for_long(folder: Path) -> None:
    """Hold a temporary file for a minute, as training does."""
    held = folder / ".held"
    held.touch()
    try:
        # The test ends this as soon as it reads the number.
        (folder / "pid").write_text(str(os.getpid()))
        time.sleep(60)
    finally:
        held.unlink()


def start_long_work(side: Helpers, folder: Path) -> int:
    side.submit(work_for_long, folder)
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        time.sleep(0.05)
    return int((folder / "pid").read_text())


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_answers_and_errors_come_back_from_processes_with_one_thread():
    with helpers(1, "start again") as side:
        number, threads, process = side.submit(answer, 21).result()
        assert (number, threads) == (42, 1)
        assert process != os.getpid()
        failed = side.submit(fail)
        wait([failed])
        with pytest.raises(DataError, match="torn"):
            failed.result()
        # An error ends the work and not the helper.
        assert side.submit(answer, 1).result()[2] == process


def test_an_error_here_ends_the_work_there(tmp_path: Path):
    start = 0.0
    with pytest.raises(KeyboardInterrupt), helpers(1, "start again") as side:
        process = start_long_work(side, tmp_path)
        start = time.perf_counter()
        raise KeyboardInterrupt
    assert time.perf_counter() - start < 20
    assert not is_running(process)
    assert not (tmp_path / ".held").exists(), "temporary files are removed"


def test_a_dying_helper_is_told():
    with (
        pytest.raises(LineamentError, match=r"helper processes died.*close a window"),
        helpers(1, "close a window") as side,
    ):
        side.submit(die).result()


def test_a_core_is_left_and_given_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with leaving_a_core():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 3
        torch.set_num_threads(1)
        with leaving_a_core():
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)

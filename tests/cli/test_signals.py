"""Ctrl-C and SIGTERM at the command line: exit codes 130 and 143, one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lineament.cli.main import main
from lineament.errors import Interrupted, Terminated
from lineament.training.stopping import StopRequest, TrainingInterrupted


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_verb_that_is_interrupted_says_so_by_its_exit_code(tmp_path: Path, number: int, code: int) -> None:
    out = tmp_path / "faces"
    words = ["data", "synth", "--count", "5000", "--size", "16", "--workers", "1", "--out", str(out)]
    # Shells let what they start in the background ignore Ctrl-C, and that is inherited; a handler becomes the default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "lineament", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not (out / "images").is_dir() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert "Traceback" not in error
    assert error.splitlines()[-1] == f"lineament: {'terminated' if code == 143 else 'interrupted'}."
    assert "interrupted: repeat the same command" in (out / "unfinished.txt").read_text()


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 130), (Terminated(), 143), (Interrupted("kept"), 130)]
)
def test_what_stops_the_work_becomes_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException, code: int
) -> None:
    def stop(words: list[str]) -> int:
        raise raised

    monkeypatch.setattr("lineament.cli.recipes.main", stop)
    assert main(["recipes"]) == code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_training_that_stops_tells_by_which_signal(number: int, code: int) -> None:
    with pytest.raises(TrainingInterrupted) as caught, StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.wanted
        raise TrainingInterrupted("saved")
    assert caught.value.exit_code == code
    kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
    with pytest.raises(kind), StopRequest():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

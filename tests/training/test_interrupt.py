"""Ctrl-C and progress as somebody at a terminal, or without one, sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lineament.training import progress
from lineament.training.checkpoint import checkpoint_steps
from lineament.training.progress import TrainingProgress


@pytest.mark.slow
def test_ctrl_c_while_waiting_for_slow_workers_still_saves(tmp_path: Path):
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "slow_data.py"), str(tmp_path / "run")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    assert "the checkpoint is saved" in done.stdout
    assert checkpoint_steps(tmp_path / "run" / "checkpoints")


def test_without_a_terminal_progress_is_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with TrainingProgress("toy", total=10, done=4, enabled=True) as shown:
        # No estimate from the first step, which compiles.
        shown.advance(5, 0.25)
        assert capsys.readouterr().err == "toy: step 5/10, loss 0.25\n"
        shown.advance(10, 0.25)
    line = capsys.readouterr().err
    assert line.startswith("toy: step 10/10, ")
    assert "steps/s, 0:0" in line
    assert "loss 0.25" in line
    with TrainingProgress("toy", total=10, done=4, enabled=False) as shown:
        shown.advance(5, 0.25)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_progress_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with TrainingProgress("toy", total=10, done=0, enabled=True) as shown:
        shown.advance(10, 0.5)
    text = capsys.readouterr().err
    assert "10/10" in text
    assert "steps/s" in text
    assert "loss 0.5" in text

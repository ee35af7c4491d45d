"""SIGKILL at random moments of saving: every kill resumes, and the run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_every_kill_resumes(tmp_path: Path, kills: int):
    """Fifty in the slow run; what a kill at every single operation leaves is shown by test_checkpoint.py each time."""
    here = Path(__file__).parent
    steps = 3 * kills + 10
    done = subprocess.run(
        [sys.executable, str(here / "kill_saves.py"), str(tmp_path), "0", str(kills), str(steps)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=590,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["killed"] == kills
    assert result["resumed"] == kills
    # The kills really struck while files were being written.
    assert result["in_the_middle"] >= kills // 10
    assert result["steps_at_last_kill"] < steps
    assert result["metrics_equal"]
    assert result["weights_equal"]
    assert result["leftovers"] == 0

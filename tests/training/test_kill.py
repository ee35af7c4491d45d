"""SIGKILL at 50 random moments of saving: 50 of 50 resume, and the run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_fifty_kills_fifty_resumes(tmp_path: Path):
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "kill_saves.py"), str(tmp_path), "0"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["killed"] == 50
    assert result["resumed"] == 50
    # The kills really struck while files were being written.
    assert result["in_the_middle"] >= 5
    assert result["steps_at_last_kill"] < 160
    assert result["metrics_equal"]
    assert result["weights_equal"]
    assert result["leftovers"] == 0

"""GPU kernels run by Triton's interpreter, in a process of its own: it is chosen before triton is imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed (extra gpu)")


def assert_agrees(program: str, cases: int) -> None:
    """Run a program that compares kernels with their twin, and ask that it has done so for all of its cases.

    Args:
        program: Gets the folder that `tests` lies in as its argument, and prints ``agreed`` and a number.
        cases: That number.
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parents[2])],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["agreed", str(cases)]

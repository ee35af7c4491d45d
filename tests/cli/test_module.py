"""`python -m lineament` and readers of the output that go away."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lineament import __version__


def test_the_module_is_the_command_line():
    command = [sys.executable, "-m", "lineament", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, __version__, "")


@pytest.mark.parametrize("words", [["--help"], ["data", "list"]])
def test_a_reader_that_goes_away_sees_no_traceback(words: list[str]):
    command = [sys.executable, "-m", "lineament", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()

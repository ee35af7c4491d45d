"""The house rules: imports run downward, importing is fast and quiet, help answers at once."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from graphlib import TopologicalSorter

import pytest

from lineament.cli.main import VERBS, main


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_imports_run_downward():
    from importlinter.cli import lint_imports

    loggers = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    disabled = [each.disabled for each in loggers]
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0
    # It configures logging anew and silences every logger there is, for all tests that follow.
    for logger, was in zip(loggers, disabled, strict=True):
        logger.disabled = was


def test_no_modules_import_each_other_in_a_circle():
    """Neither at their start nor inside a function; imports for the type checker alone do not count."""
    import grimp  # comes with import-linter

    graph = grimp.build_graph("lineament", exclude_type_checking_imports=True, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > 300
    # Raises CycleError, which names the circle.
    TopologicalSorter(imports).prepare()


def test_import_is_fast_and_touches_no_network():
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('network touched on import')\n"
        "socket.socket.connect = refuse\n"
        "import lineament, sys\n"
        "assert 'torch' not in sys.modules\n"
    )
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        done = run_python(code)
        best = min(best, time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    assert best < 1.5


def test_help_answers_within_a_second():
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        done = run_python("from lineament.cli.main import main; raise SystemExit(main(['--help']))")
        best = min(best, time.perf_counter() - start)
        assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    assert best < 1.0


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]):
    assert main([*verb.split(), "--help"]) == 0
    assert "usage" in capsys.readouterr().out.lower()


@pytest.mark.parametrize(
    ("words", "near"),
    [(["lanmarks"], "landmarks"), (["data", "sinth"], "data synth"), (["data"], "data list")],
)
def test_wrong_verb_names_the_nearest(words: list[str], near: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    assert near in capsys.readouterr().err

"""Every recorded file of this method is compared with by some test: a new kind of file must not pass unseen."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def claimed_patterns() -> set[str]:
    """The files that the other test modules say they compare with, each number of them."""
    patterns: set[str] = set()
    for path in HERE.glob("test_fabrec_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FILES":
                patterns |= set(ast.literal_eval(node.value))
    return patterns


def claimed(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in claimed_patterns())


def test_every_file_is_compared_with(goldens: Path):
    folder = goldens / "fabrec"
    names = [path.stem for path in folder.glob("*.safetensors")]
    if not names:
        pytest.skip(f"no recorded files in {folder}")
    assert [name for name in sorted(names) if not claimed(name)] == []


def test_a_file_of_an_unknown_kind_is_noticed():
    assert claimed("forward_512_19") and claimed("landmark_step_all")
    assert not claimed("forward") and not claimed("video_1")

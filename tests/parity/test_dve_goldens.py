"""Every recorded file of this method is compared with by some test: a new kind of file must not pass unseen."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tests.parity.dve_goldens import golden_folder

HERE = Path(__file__).parent


def patterns_of(path: Path) -> set[str]:
    """String literals inside the functions of a test module, and in the decorators of these, without docstrings."""
    found: set[str] = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
            continue
        words = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}
        found |= {word for word in words - {ast.get_docstring(function)} if isinstance(word, str)}
    return found


def consumed(name: str, patterns: set[str]) -> bool:
    # A bare star, or a star with one letter, would let anything pass.
    return any(fnmatch(name, pattern) for pattern in patterns if len(pattern.replace("*", "")) > 2)


def known_patterns() -> set[str]:
    modules = [path for path in HERE.glob("test_dve_*.py") if path != Path(__file__)]
    return set().union(*(patterns_of(path) for path in modules))


def test_every_file_is_compared_with(goldens: Path):
    folder = golden_folder(goldens)
    names = [path.stem for path in folder.glob("*.safetensors")]
    if not names:
        pytest.skip(f"no recorded files in {folder}")
    assert sorted(name for name in names if not consumed(name, known_patterns())) == []


def test_a_file_of_an_unknown_kind_is_noticed():
    patterns = known_patterns()
    assert consumed("loss_z", patterns) and consumed("smallnet_7d_mp0", patterns)
    assert not consumed("segmentation_0", patterns)
    assert not consumed("train_something_else", patterns)

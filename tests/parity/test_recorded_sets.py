"""Every recorded file is compared with by some test module: a new kind of file must not pass unseen."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from tests.parity.recorded import METHODS, files_of

HERE = Path(__file__).parent
# Recorded, and compared with by no test: there is no CycleGAN baseline in this program.
LEFT_OUT = ("depthnet/cyclegan_*",)


@cache
def claimed_patterns() -> set[str]:
    """The files that the test modules say they compare with, each number of them."""
    patterns: set[str] = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FILES":
                patterns |= set(ast.literal_eval(node.value))
    return patterns


def claimed(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in claimed_patterns())


@pytest.mark.parametrize("method", METHODS)
def test_every_file_is_compared_with(goldens: Path, method: str):
    names = files_of(goldens, method)
    assert [n for n in names if not claimed(n) and not any(fnmatch(n, p) for p in LEFT_OUT)] == []


def test_a_file_of_an_unknown_kind_is_noticed():
    assert claimed("dve/loss_z.safetensors") and claimed("dve/smallnet_7d_mp0.safetensors")
    assert claimed("depthnet/train_wgan_lamb3_fixm.npz") and claimed("fabrec/forward_512_19.safetensors")
    assert not claimed("dve/segmentation_0.safetensors") and not claimed("dve/train_something.safetensors")
    assert not claimed("depthnet/cyclegan_a3b3.npz") and not claimed("fabrec/forward.safetensors")

"""Every recorded file of DepthNets and every number in it is named by some test: none may pass unseen.

Told from the text of the tests: a name is read where it stands in one as a word, in a pattern
(``step{step}_affine``), or as the beginning that is asked for (``key.startswith("map_")``).
"""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import numpy as np
from tests.parity.depthnet_goldens import golden_folder

HERE = Path(__file__).parent
# What was recorded and is compared with by no test: a gap each, and none may be added unseen. There is no CycleGAN
# baseline in this program; tests/depthnet/test_legacy.py writes checkpoints of the recorded form without that file.
UNREAD_FILES = {"checkpoint_layout.json", "cyclegan_a6b3_layout.json"}
UNREAD = {
    "affine_solve*": {"A", "cond_AtA", "weak_loss", "weak_m_float64_lstsq"},
    "aign*": {"evalloss_d_loss", "evalloss_l2_loss", "step0_x_3d", "step1_x_3d"},
    "aign_heatmap*": {"kernel"},
    "cyclegan_*": {
        *("A", "B", "atob_eval", "atob_train", "d_b_of_B_eval", "d_b_of_B_train", "seeds_gab_da_gba_db"),
        *(f"evalloss_after2_{name}_gen" for name in ("atob", "btoa")),
        *(f"evalloss_after2_{name}" for name in ("cycle_aba", "cycle_bab", "d_a", "d_b")),
    },
    "export_rot_*": {"output_size"},
    "export_single_*": {"affine_text", "file_basename"},
}


def pattern_of(node: ast.AST) -> str | None:
    """Regular expression of the names that a string in a test stands for; None where it is none or says too little."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value).replace(r"\*", ".*") if len(node.value.strip("*")) > 0 else None
    if isinstance(node, ast.JoinedStr):
        parts = [
            re.escape(part.value) if isinstance(part, ast.Constant) and isinstance(part.value, str) else ".+"
            for part in node.values
        ]
        said = sum(len(part) for part in parts if part != ".+")
        return "".join(parts) if said > 2 else None
    return None


@cache
def known_patterns() -> tuple[re.Pattern[str], ...]:
    """Patterns of all strings in the test modules, without docstrings."""
    found: set[str] = set()
    for path in HERE.glob("test_depthnet_*.py"):
        if path == Path(__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        parts = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree):
            if id(node) in told or id(node) in parts:
                continue
            pattern = pattern_of(node)
            if pattern is not None:
                # A word that ends like a beginning is asked for as one.
                found.add(f"{pattern}.*" if pattern.endswith("_") else pattern)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "startswith":
                found |= {f"{p}.*" for p in map(pattern_of, node.args) if p is not None}
    return tuple(re.compile(pattern) for pattern in sorted(found))


def named(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in known_patterns())


def unread_of(stem: str) -> set[str]:
    return set().union(*(names for pattern, names in UNREAD.items() if fnmatch(stem, pattern)))


def test_every_file_is_compared_with(goldens: Path):
    folder = golden_folder(goldens)
    described = {"README.md", "set.json", *UNREAD_FILES}
    names = {path.name for path in folder.iterdir()} - described
    assert [name for name in sorted(names) if not (named(name) or named(Path(name).stem))] == []


def test_every_number_is_compared_with(goldens: Path):
    unread = {}
    for path in sorted(golden_folder(goldens).glob("**/*.npz")):
        with np.load(path, allow_pickle=False) as file:
            left = {name for name in file.files if not named(name)} - unread_of(path.stem)
        if left:
            unread[path.name] = sorted(left)
    assert not unread, f"recorded numbers that no test compares with: {unread}"


def test_an_unknown_name_is_noticed():
    assert named("step2_affine") and named("src_index") and named("map_3_4_crop_1")
    assert not any(map(named, ("something_else", "seed_z", "z")))


def test_a_gap_that_was_closed_is_taken_off_the_list():
    assert not any(named(name) for names in UNREAD.values() for name in names)

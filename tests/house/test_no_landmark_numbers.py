"""No index of a landmark scheme stands outside faces/schemes: code asks the scheme for its points by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "lineament"
SCHEMES = (
    ROOT / "faces" / "schemes.py",
    ROOT / "faces" / "scheme_file.py",
    ROOT / "faces" / "landmark_scheme.py",
)
# Points of the schemes 68 and 98 that code is tempted to name, by index.
POINTS = {8, 16, 27, 30, 31, 33, 35, 36, 39, 42, 45, 48, 51, 54, 57, 60, 62, 64, 66, 68, 72}
# First and last indices, the latter one too far as in slices, of the parts of scheme 68.
PARTS = {(0, 17), (17, 22), (22, 27), (17, 27), (27, 31), (31, 36), (27, 36), (36, 42), (42, 48), (36, 48)}
PARTS |= {(48, 60), (48, 68), (60, 68), (0, 68), (17, 68)}
PAIRS = {(36, 45), (39, 42), (36, 39), (42, 45), (48, 54), (60, 64), (60, 72), (27, 33), (27, 8), (0, 16)}
COUNTS = {66, 68}
# Numbers that are none of landmarks, by file and the words around them.
OTHERS: dict[str, tuple[str, ...]] = {
    "ops/numba_cuda/barycentrics.py": ("g[8]",),
    "pipeline/bench/floor.py": ("given[8] > 1",),
    "pipeline/evaluate/few_shot_report.py": ("ticks = ",),
    "synthetic/extras.py": ("np.interp(y, [-62",),
    "synthetic/fields.py": ("beard_top = ", "moustache = "),
    "synthetic/light.py": ("basis[..., 8]",),
    "synthetic/shading.py": ("table[8, channel]",),
}


def findings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and reason of everything in the code that looks like landmark indices."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if type(node.value) is int and node.value in COUNTS:
                yield node.lineno, f"the number {node.value}"
            elif (
                isinstance(node.value, str)
                and id(node) not in documentation
                and len(re.findall(r"\b\d{1,2}\b", node.value)) >= 30
            ):
                yield node.lineno, "a table of numbers in a string"
        elif isinstance(node, ast.Tuple | ast.List):
            numbers = [_number(item) for item in node.elts]
            if len(numbers) == 2 and tuple(numbers) in PAIRS:
                yield node.lineno, f"the pair {tuple(numbers)}"
            if len(numbers) >= 10 and all(n is not None and 0 <= n < 98 for n in numbers):
                yield node.lineno, f"a table of {len(numbers)} indices"
        elif isinstance(node, ast.Subscript):
            for part in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
                if isinstance(part, ast.Slice):
                    ends = _number(part.lower) or 0, _number(part.upper)
                    if ends in PARTS:
                        yield node.lineno, f"the part {ends[0]}:{ends[1]}"
                elif isinstance(part, ast.List) and {_number(item) for item in part.elts} & POINTS:
                    yield node.lineno, "points in an index"
                elif _number(part) in POINTS:
                    yield node.lineno, f"the point {_number(part)}"
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("range", "slice")
        ):
            numbers = [_number(item) for item in node.args]
            ends = (0, numbers[0]) if len(numbers) == 1 else tuple(numbers[:2])
            if ends in PARTS:
                yield node.lineno, f"the part {ends[0]}:{ends[1]}"


def _number(node: ast.AST | None) -> int | None:
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def sources() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path not in SCHEMES)


def test_no_index_of_a_scheme_stands_in_the_code():
    found = []
    for path in sources():
        name = str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for line, reason in findings(ast.parse(text)):
            if not any(words in lines[line - 1] for words in OTHERS.get(name, ())):
                found.append(f"{name}:{line}: {reason}: {lines[line - 1].strip()}")
    assert not found, "\n".join(found)


def test_every_exception_is_still_needed():
    for name, phrases in OTHERS.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        lines = text.splitlines()
        flagged = [lines[line - 1] for line, _ in findings(ast.parse(text))]
        for words in phrases:
            assert any(words in line for line in flagged), f"{name}: {words!r}"


@pytest.mark.parametrize(
    "code",
    [
        "d = (p[36] - p[45]).norm()",
        "EYES = (36, 45)",
        "eyes = points[36:48].mean(0)",
        "outline = points[:, :17]",
        "zero = fit.landmarks[[36, 45], 2].mean()",
        "OUTLINE = tuple(range(17))",
        "weights = np.ones(68)",
        "middle = points[..., 27:31, :]",
        "MIRROR = [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6]",
        "TRIANGLES = '''" + "1 37 18, " * 12 + "'''",
    ],
)
def test_what_is_searched_for_is_found(code: str):
    assert list(findings(ast.parse(code)))


@pytest.mark.parametrize("code", ["x = y[0] + y[1]", "SIZES = (64, 128)", "z = image[:, 10:20]", "f(0.68)"])
def test_other_numbers_are_left_alone(code: str):
    assert not list(findings(ast.parse(code)))

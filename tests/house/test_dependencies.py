"""What is declared is imported, and what is imported is declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Import name of a distribution where it is not its own name.
IMPORTED_AS = {
    "lightning-fabric": "lightning_fabric",
    "scikit-image": "skimage",
    "pillow": "PIL",
    "pillow-heif": "pillow_heif",
    "pyyaml": "yaml",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "import-linter": "importlinter",
    "numba-cuda": "numba",
}
# Used without an import statement of their own: by these words in the source.
BY_WORDS = {
    "tensorboard": "torch.utils.tensorboard",
    "mtcnn": 'importlib.metadata.distribution("mtcnn")',
    "joblib": 'importorskip("joblib',
}
# Run as commands or loaded by others: by these words in a file that is not Python.
TOOLS = {
    "pytest-xdist": "-n $(JOBS)",
    "pytest-timeout": "timeout = ",
    "ruff": "ruff check",
    "mypy": "$(BIN)/mypy",
    "coverage": "$(BIN)/coverage",
    "types-pyyaml": "[tool.mypy]",
}


def declared(group: str | None = None) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] if group is None else project["optional-dependencies"][group]
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in lines]


def extras() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return sorted(project["optional-dependencies"])


def imported(*rooms: str) -> set[str]:
    """Top-level names that the files of these folders import, anywhere in them."""
    names: set[str] = set()
    for room in rooms:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names.add(node.module.split(".")[0])
    return names


def text(*rooms: str) -> str:
    return "\n".join(
        path.read_text(encoding="utf-8")
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if path != Path(__file__)
    )


def is_used(name: str, rooms: tuple[str, ...]) -> bool:
    if name in BY_WORDS:
        return BY_WORDS[name] in re.sub(r"\s+", " ", text(*rooms))
    return IMPORTED_AS.get(name, name) in imported(*rooms)


@pytest.mark.parametrize("name", declared())
def test_every_dependency_is_imported_by_the_package(name: str):
    assert is_used(name, ("src",)), f"{name} is declared and src imports it nowhere"


@pytest.mark.parametrize(("group", "name"), [(g, n) for g in extras() if g != "dev" for n in declared(g)])
def test_every_extra_is_imported_by_the_package(group: str, name: str):
    assert is_used(name, ("src",)), f"{name} of extra {group} is declared and src imports it nowhere"


@pytest.mark.parametrize("name", declared("dev"))
def test_every_tool_of_development_is_used(name: str):
    if name in TOOLS:
        assert TOOLS[name] in (ROOT / "Makefile").read_text() + (ROOT / "pyproject.toml").read_text()
    else:
        assert is_used(name, ("src", "tests")), f"{name} is declared for development and imported nowhere"


def test_everything_imported_is_declared():
    ours = {"lineament", "tests", *sys.stdlib_module_names}
    own = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    own_modules = {part for path in own for part in (path.stem, path.parent.name)}
    every_extra = {name for group in extras() if group != "dev" for name in declared(group)}
    runtime = {IMPORTED_AS.get(name, name) for name in {*declared(), *every_extra}}
    assert not imported("src") - ours - runtime
    development = {IMPORTED_AS.get(name, name) for name in declared("dev")}
    assert not imported("tests") - ours - own_modules - runtime - development


def test_constraints_pin_every_declared_dependency():
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert not {*declared(), *declared("dev")} - pinned

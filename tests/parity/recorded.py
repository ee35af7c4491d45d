"""Recorded files that remember which of their numbers were read, so that none passes unseen by every test.

A test module names the files it compares with in ``FILES`` (patterns below the recorded set, ``dve/loss_*``) and in
``UNREAD`` what it leaves out of them and why; its last test asks :func:`assert_all_read`. ``test_recorded_sets.py``
asks that every recorded file is named by some module.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

T = TypeVar("T")

# By test module: numbers read so far, and files opened through Python (texts, pictures, trees that the package reads).
READ: dict[str, dict[Path, set[str]]] = defaultdict(lambda: defaultdict(set))
OPENED: dict[str, set[str]] = defaultdict(set)
# Tests that passed, in this process, and the module whose test runs.
PASSED: set[str] = set()
RUNNING = [""]
METHODS = ("dve", "depthnet", "fabrec")
# Files that describe a set.
ABOUT = ("README.md", "set.json")


def watch_openings() -> None:
    """Note every file that this process opens from now on."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            OPENED[RUNNING[0]].add(arguments[0])

    sys.addaudithook(note)


class Recorded(Mapping[str, T], Generic[T]):
    """The numbers of one file. To list or look for names is not to read; only ``[name]`` and what uses it is.

    Args:
        path: The file.
        values: What it holds.
    """

    def __init__(self, path: Path, values: Mapping[str, T]) -> None:
        self.path, self.values_of = path.resolve(), dict(values)

    def __getitem__(self, name: str) -> T:
        value = self.values_of[name]
        READ[RUNNING[0]][self.path].add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self.values_of

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)

    def items(self) -> Any:  # type: ignore[override]
        """Refused: it would read everything."""
        raise TypeError("items() would count every number as read: ask for names, or starting(prefix)")

    def values(self) -> Any:  # type: ignore[override]
        """Refused: it would read everything."""
        raise TypeError("values() would count every number as read: ask for names, or starting(prefix)")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a number, without reading it."""
        return tuple(self.values_of[name].shape)  # type: ignore[attr-defined]

    def starting(self, prefix: str) -> dict[str, T]:
        """Read every number whose name begins so, by the rest of the name."""
        return {name.removeprefix(prefix): self[name] for name in self if name.startswith(prefix)}


def method_folder(goldens: Path, method: str) -> Path:
    """Folder of one method; ``--goldens`` may name it or the folder above. Skips where there is none."""
    folder = goldens if goldens.name == method else goldens / method
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def files_of(goldens: Path, method: str) -> dict[str, Path]:
    """Every recorded file of a method, by ``method/path``."""
    folder = method_folder(goldens, method)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ABOUT)
    return {f"{method}/{path.relative_to(folder).as_posix()}": path for path in paths}


def matching(goldens: Path, pattern: str) -> list[Path]:
    """Recorded files that match ``method/pattern``; skips where the set holds none."""
    method, _, rest = pattern.partition("/")
    folder = method_folder(goldens, method)
    files = sorted(path for path in folder.glob(rest) if path.is_file())
    if not files:
        pytest.skip(f"no {rest} in {folder}")
    return files


def read_tensors(path: Path) -> Recorded[Any]:
    """A safetensors file."""
    return Recorded(path, load_file(path))


def read_arrays(path: Path) -> Recorded[Any]:
    """An npz file."""
    with np.load(path, allow_pickle=False) as file:
        return Recorded(path, {name: file[name] for name in file.files})


def read_torch(path: Path) -> Recorded[Any]:
    """A file of torch: dictionaries and lists in each other become names like ``cases/0/yaw``."""
    return Recorded(path, flattened(torch.load(path, weights_only=True)))


def flattened(tree: Any, above: str = "") -> dict[str, Any]:
    """Everything in nested dictionaries and lists, by the way to it; an empty one is nothing."""
    if not isinstance(tree, dict | list | tuple):
        return {above: tree}
    branches = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {
        name: value
        for key, branch in branches
        for name, value in flattened(branch, f"{above}/{key}" if above else str(key)).items()
    }


def names_of(path: Path) -> list[str] | None:
    """Names of the numbers in a file; None where it is no file of named numbers."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return list(file.files)
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return list(file.keys())
    if path.suffix == ".pt":
        return list(flattened(torch.load(path, weights_only=True)))
    return None


def unread_numbers(path: Path, left_out: Iterable[str]) -> list[str]:
    """Names that no test read, or the file's own name where it was not opened; without those ``left_out``."""
    names, read = names_of(path), READ[RUNNING[0]][path.resolve()]
    # Files of torch are read by name (read_torch) or, where they hold whole networks, at once.
    if names is None or (path.suffix == ".pt" and not read):
        return [] if os.fspath(path) in OPENED[RUNNING[0]] else [path.name]
    return sorted(
        name for name in set(names) - read if not any(fnmatch(name, pattern) for pattern in left_out)
    )


def assert_all_read(
    request: pytest.FixtureRequest, goldens: Path, unread: Mapping[str, Iterable[str]] | None = None
) -> None:
    """Everything in the module's ``FILES`` was read by its tests; skips where not all of them have run and passed.

    To be called by the last test of a module.

    Args:
        request: The fixture of that test.
        goldens: The recorded set.
        unread: For patterns of files, the (patterns of) names that are left out on purpose.
    """
    module = request.node.module
    mine = [item for item in request.session.items if getattr(item, "module", None) is module]
    waited_for = {item.nodeid for item in mine} - {request.node.nodeid}
    functions = {name for name in vars(module) if name.startswith("test_")}
    if functions - {getattr(item, "originalname", "") for item in mine} or not waited_for <= PASSED:
        pytest.skip("not every test of this module has run and passed")
    left: dict[str, list[str]] = {}
    for method in sorted({pattern.partition("/")[0] for pattern in module.FILES}):
        for name, path in files_of(goldens, method).items():
            if not any(fnmatch(name, pattern) for pattern in module.FILES):
                continue
            left_out = [n for p, names in (unread or {}).items() if fnmatch(name, p) for n in names]
            rest = unread_numbers(path, left_out)
            if rest:
                left[name] = rest
            closed = {n for n in left_out if n in READ[RUNNING[0]][path.resolve()]}
            assert not closed, f"{name}: {closed} are read, so they no longer belong to what is left out"
    assert not left, f"recorded numbers that no test compares with: {left}"

"""Recorded files that remember which of their numbers were read, so that none passes unseen by every test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import pytest

T = TypeVar("T")

# Numbers read so far, and tests that passed, in this process.
READ: dict[Path, set[str]] = defaultdict(set)
PASSED: set[str] = set()


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
        READ[self.path].add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self.values_of

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


def assert_all_read(request: pytest.FixtureRequest, names: Mapping[Path, Iterable[str]]) -> None:
    """Every name of the given files was read by the tests of this module; skips where not all of them have passed.

    To be called by the last test of a module.
    """
    module = request.node.module
    mine = [item for item in request.session.items if getattr(item, "module", None) is module]
    waited_for = {item.nodeid for item in mine} - {request.node.nodeid}
    functions = {name for name in vars(module) if name.startswith("test_")}
    if functions - {getattr(item, "originalname", "") for item in mine} or not waited_for <= PASSED:
        pytest.skip("not every test of this module has run and passed")
    unread = {path.name: sorted(set(each) - READ[path.resolve()]) for path, each in names.items()}
    left = {name: rest for name, rest in unread.items() if rest}
    assert not left, f"recorded numbers that no test compares with: {left}"

"""Turns a dataclass into the options of one verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def parse(command: type[T], verb: str, arguments: Sequence[str]) -> T:
    """Parse ``arguments`` into an instance of the dataclass ``command``.

    Field comments and docstrings become the help; flags use hyphens. Ends the process with code 2 on a wrong flag and
    0 after ``--help``, as argument parsers do.
    """
    import tyro

    return tyro.cli(command, args=list(arguments), prog=f"lineament {verb}", description=command.__doc__)

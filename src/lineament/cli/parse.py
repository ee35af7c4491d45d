"""Turns a dataclass into the options of one verb."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def parse(command: type[T], verb: str, arguments: Sequence[str]) -> T:
    """Parse ``arguments`` into an instance of the dataclass ``command``.

    Field comments and docstrings become the help; flags use hyphens. A field that is a dataclass itself, the options of
    the pipeline, gives its own fields, without a prefix. Ends the process with code 2 on a wrong flag and 0 after
    ``--help``, as argument parsers do.
    """
    import tyro

    parsed = tyro.cli(
        command,
        args=list(arguments),
        prog=f"lineament {verb}",
        description=command.__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    begin_work()
    return parsed


def begin_work() -> None:
    """Set up this process for computing, once the words of the command line are understood (it imports torch)."""
    from lineament.denormals import set_flush_denormals

    # Some versions of numpy tell about it on every start of every package that asks for its limits.
    warnings.filterwarnings("ignore", message="The value of the smallest subnormal")
    set_flush_denormals()

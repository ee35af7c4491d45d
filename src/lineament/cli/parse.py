"""Turns a dataclass into the options of one verb."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lineament.errors import UsageError

T = TypeVar("T")


def parse(command: type[T], verb: str, arguments: Sequence[str]) -> T:
    """Parse ``arguments`` into an instance of the dataclass ``command``.

    Field comments and docstrings become the help; flags use hyphens. A field that is a dataclass itself, the options of
    the pipeline, gives its own fields, without a prefix. Ends the process with code 2 on a wrong flag and 0 after
    ``--help``, as argument parsers do.

    Raises:
        UsageError: If a word is empty, or an option that takes several values has none.
    """
    import tyro

    refuse_missing_values(command, verb, arguments)
    parsed = tyro.cli(
        command,
        args=list(arguments),
        prog=f"lineament {verb}",
        description=command.__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    begin_work()
    return parsed


def refuse_missing_values(command: type, verb: str, arguments: Sequence[str]) -> None:
    """Refuse what shell variables leave behind that are not set.

    An option without its values would mean its default: other data than those asked for. An empty word would mean the
    folder that one is in.

    Raises:
        UsageError: If a word is empty, or an option of ``command`` that takes several values has none.
    """
    if "-h" in arguments or "--help" in arguments:
        return
    several = set(options_of_several(command))
    for i, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        following = arguments[i + 1] if i + 1 < len(arguments) else "--"
        if name in several and not equals and re.match(r"-(?![\d.])", following):
            raise UsageError(
                f"{name} is given without a value: leave it out, or name something behind it "
                f"(is a variable of the shell empty?); see `lineament {verb} --help`."
            )
        if not word or (equals and not value and name.startswith("--")):
            before = name if equals else next((w for w in arguments[i - 1 : i] if w.startswith("--")), "")
            place = f"the value of {before}" if before else f"word {i + 1} behind `lineament {verb}`"
            raise UsageError(f"{place} is empty: is a variable of the shell not set?")


def options_of_several(command: type) -> Iterator[str]:
    """Yield ``--name`` of the fields that take any number of values, those of dataclasses in it included."""
    hints = get_type_hints(command)
    for each in fields(command):
        hint = hints[each.name]
        if is_dataclass(hint) and isinstance(hint, type):
            yield from options_of_several(hint)
        elif _takes_several(hint):
            yield "--" + each.name.replace("_", "-")


def _takes_several(hint: Any) -> bool:
    """Whether a type is a tuple of any length, or may be one."""
    parts = get_args(hint)
    return (get_origin(hint) is tuple and Ellipsis in parts) or any(map(_takes_several, parts))


def begin_work() -> None:
    """Set up this process for computing, once the words of the command line are understood (it imports torch)."""
    from lineament.denormals import set_flush_denormals

    # Some versions of numpy tell about it on every start of every package that asks for its limits.
    warnings.filterwarnings("ignore", message="The value of the smallest subnormal")
    set_flush_denormals()

"""Errors a user can act on.

Every message is one sentence that says what was wrong, the value seen, and what to do. The command line prints it
without a traceback; Python callers may catch :class:`LineamentError` for all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LineamentError(Exception):
    """The work could not be done (exit code 1)."""


class UsageError(LineamentError):
    """The request itself is wrong: an unknown name, an impossible combination (exit code 2)."""


class DataError(LineamentError):
    """A file, image, label or index cannot be used."""


class NoFaceError(DataError):
    """An image shows no face; among many that is counted, for a single one it is a failure."""


class CheckpointError(LineamentError):
    """A checkpoint is damaged, foreign, or belongs to another method or configuration."""


class Interrupted(LineamentError):  # noqa: N818 - it is a wish fulfilled, not an error
    """Work stopped on request; the message says what is kept and how to go on.

    Attributes:
        exit_code: What the command line ends with: 130 after Ctrl-C, 143 after SIGTERM.
    """

    exit_code = 130


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends the work as Ctrl-C does, so that temporary files are removed; exit code 143."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a word that is not known, naming the nearest known one.

    Args:
        kind: What the word should have been, for example ``"recipe"``.
        name: The word as given.
        known: All words that would have been accepted.

    Returns:
        An error to raise, for example ``unknown recipe 'dve-smalnet': did you mean 'dve-smallnet-16d'?``.
    """
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    if near:
        return UsageError(f"unknown {kind} {name!r}: did you mean {near[0]!r}?")
    return UsageError(f"unknown {kind} {name!r}: choose one of {', '.join(choices) or '(none)'}.")

"""Text in the cells of a table that people open in a spreadsheet, which would run some of it as a formula."""

from __future__ import annotations

# Spreadsheets take a cell that begins with one of these for a formula.
_RUNS = ("=", "+", "-", "@", "\t", "\r")


def guard(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run; text of that form gets one more."""
    return f"'{text}" if text.startswith(_RUNS) or is_guarded(text) else text


def unguard(text: str) -> str:
    """Undo :func:`guard`."""
    return text[1:] if is_guarded(text) else text


def is_guarded(text: str) -> bool:
    """Whether text is apostrophes before something that would run."""
    return text.startswith("'") and text.lstrip("'").startswith(_RUNS)

"""Tables that people open in a spreadsheet: their text, what stands between cells, and cells it would run."""

from __future__ import annotations

import re

from lineament.errors import DataError

_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+\s*")
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


def decode_text(data: bytes) -> str:
    """UTF-8 with or without a mark, else the code page that spreadsheets of western Europe write.

    Raises:
        DataError: If it is not text.
    """
    if b"\0" not in data:
        for encoding in ("utf-8-sig", "cp1252"):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                continue
    raise DataError("not a text file.")


def separator(text: str) -> str:
    """What stands between cells: the most frequent of comma, semicolon and tab in the header."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    return max((",", ";", "\t"), key=head.count)


def decimal(cell: str) -> str:
    """A number with a decimal point, where the cell has a comma."""
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell

"""Tables whose numbers carry their unit, as HTML for reports and as text for the terminal."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float | bool | None


@dataclass
class Table:
    """A table with one header row; the first column names the rows.

    Attributes:
        title: What the table shows, said in words.
        columns: Column names.
        units: Unit of each column ("" where there is none): "%", "px", "ms", "images/s".
        rows: Cells row by row; ``None`` and NaN show as a dash.
        digits: Significant digits of floats.
        best: Index of the row to stress, if any.
    """

    title: str
    columns: Sequence[str]
    units: Sequence[str] = ()
    rows: list[Sequence[Cell]] = field(default_factory=list)
    digits: int = 4
    best: int | None = None

    def __post_init__(self) -> None:
        if self.units and len(self.units) != len(self.columns):
            raise ValueError(
                f"{len(self.units)} units for {len(self.columns)} columns of table {self.title!r}"
            )
        for row in self.rows:
            self._check(row)

    def add(self, *cells: Cell) -> None:
        """Append a row."""
        self._check(cells)
        self.rows.append(cells)

    def headers(self) -> list[str]:
        """Return the column names with their units in brackets."""
        units = self.units or [""] * len(self.columns)
        return [f"{name} ({unit})" if unit else name for name, unit in zip(self.columns, units, strict=True)]

    def to_html(self) -> str:
        """Return the table as HTML with a caption, and header cells that name their scope."""
        numeric = [any(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]
        kinds = [' class="number"' if flag else "" for flag in numeric]
        head = "".join(
            f'<th scope="col"{kind}>{html.escape(name)}</th>'
            for kind, name in zip(kinds, self.headers(), strict=True)
        )
        body = []
        for number, row in enumerate(self.rows):
            cells = [f'<th scope="row">{html.escape(self.show(row[0]))}</th>']
            cells += [
                f"<td{kind}>{html.escape(self.show(cell))}</td>"
                for kind, cell in zip(kinds[1:], row[1:], strict=True)
            ]
            mark = ' class="best"' if number == self.best else ""
            body.append(f"<tr{mark}>{''.join(cells)}</tr>")
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(self.title, quote=True)}"><table>'
            f"<caption>{html.escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )

    def to_text(self) -> str:
        """Return the table as aligned text."""
        lines = [self.headers(), *([self.show(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def show(self, cell: Cell) -> str:
        """Return one cell as text."""
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return "–"
        if isinstance(cell, float):
            return f"{cell:.{self.digits}g}"
        return str(cell)

    def _check(self, row: Sequence[Cell]) -> None:
        if len(row) != len(self.columns):
            raise ValueError(f"{len(row)} cells for {len(self.columns)} columns of table {self.title!r}")


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)

"""One HTML file that tells what was done: images inside, no network, opens from disk, light or dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from lineament.files import write_text
from lineament.report.tables import Table

# The page may load nothing: images are inside it, and there are no scripts.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}


class Report:
    """Builds a report block by block, in the order of the calls.

    Args:
        title: Heading of the page.
        lead: One sentence under it.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self.lead = lead
        self._blocks: list[str] = []
        self._sections: list[str] = []

    def section(self, title: str) -> None:
        """Begin a section."""
        self._sections.append(title)
        self._blocks.append(f'<h2 id="section-{len(self._sections)}">{html.escape(title)}</h2>')

    def text(self, words: str) -> None:
        """Add a paragraph of plain text."""
        self._blocks.append(f"<p>{html.escape(words)}</p>")

    def image(self, path: Path, caption: str, *, alt: str = "", command: str = "") -> None:
        """Embed an image.

        Args:
            path: PNG, JPEG or SVG; its bytes go into the page.
            caption: What it shows, with units.
            alt: What somebody who cannot see it should hear; the caption when empty.
            command: The command that makes the image, shown under it.
        """
        kind = _TYPES[path.suffix.lower()]
        data = base64.b64encode(path.read_bytes()).decode()
        source = f"data:{kind};base64,{data}"
        below = f"<pre><code>{html.escape(command)}</code></pre>" if command else ""
        self._blocks.append(
            f'<figure><img src="{source}" alt="{html.escape(alt or caption, quote=True)}">'
            f"<figcaption>{html.escape(caption)}{below}</figcaption></figure>"
        )

    def table(self, table: Table) -> None:
        """Add a table."""
        self._blocks.append(table.to_html())

    def command(self, command: str) -> None:
        """Show a command line."""
        self._blocks.append(f"<pre><code>{html.escape(command)}</code></pre>")

    def facts(self, title: str, values: Mapping[str, object]) -> None:
        """Add a two-column table of names and values, for example the provenance."""
        table = Table(title, ("what", "value"))
        for name, value in values.items():
            table.add(name, None if value is None else str(value))
        self.table(table)

    def to_html(self) -> str:
        """Return the whole page."""
        style = resources.files("lineament.report").joinpath("report.css").read_text(encoding="utf-8")
        lead = f'<p class="lead">{html.escape(self.lead)}</p>' if self.lead else ""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            f'<link rel="icon" href="data:,">\n<title>{html.escape(self.title)}</title>\n<style>\n{style}</style>\n'
            f"</head>\n<body>\n<main>\n<h1>{html.escape(self.title)}</h1>\n{lead}\n"
            + "\n".join(self._blocks)
            + "\n</main>\n</body>\n</html>\n"
        )

    def write(self, path: Path) -> Path:
        """Write the page atomically and return its path."""
        write_text(path, self.to_html())
        return path

"""Reads the documents: their commands, code spans, Python and links."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "lineament"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# A fenced block is a shell session when a line of it begins so; others are diagrams, formulas and answers.
_SHELL = re.compile(
    r"^\s*(\w+=\S+[ ;] *)*(lineament|make|pytest|pip|torchrun|bash|scripts/|for \w+ in) ?", re.M
)
# Runs a session with every program replaced by one that tells what it was given, a record a call, a field a word.
_TELLER = r"""
export PATH=/nonexistent
set -f
command_not_found_handle() { printf '%s\x1f' "$@"; printf '\x1e'; }
which() { echo "$@"; }
"""


@dataclass(frozen=True)
class Fence:
    """A fenced block: the word behind its first fence, and its text."""

    language: str
    text: str


@dataclass(frozen=True)
class Document:
    """One document."""

    path: Path

    @property
    def name(self) -> str:
        """Path from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def fences(self) -> list[Fence]:
        return [Fence(*pair) for pair in re.findall(r"^```(\w*)\n(.*?)^```$", self.text, flags=re.M | re.S)]

    @cached_property
    def prose(self) -> str:
        """All but the fenced blocks, and but the first column of tables of what other programs call things."""
        unfenced = re.sub(r"^```.*?^```$", "", self.text, flags=re.M | re.S)
        return re.sub(
            r"^\| published \|.*\n(?:\|.*\n)+",
            lambda table: re.sub(r"^\|[^|]*", "", table[0], flags=re.M),
            unfenced,
            flags=re.M,
        )

    @cached_property
    def spans(self) -> list[str]:
        """Words in single backquotes, line ends read as blanks."""
        return [re.sub(r"\s+", " ", span).strip() for span in re.findall(r"`([^`]+)`", self.prose)]

    @cached_property
    def commands(self) -> list[list[str]]:
        """Every command of the fenced blocks as its words, loops and variables resolved by the shell itself."""
        found: list[list[str]] = []
        for fence in self.fences:
            if fence.language in ("", "sh", "bash") and _SHELL.search(fence.text):
                found += run_session(fence.text)
        return found

    @cached_property
    def links(self) -> list[str]:
        """Targets of links and images."""
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name behind its #."""
        titles = re.findall(r"^#+ (.*)$", self.prose, flags=re.M)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def run_session(text: str) -> list[list[str]]:
    """The commands that a shell would start for ``text``, none of which is started."""
    done = subprocess.run(
        ["/bin/bash", "-c", _TELLER + text], capture_output=True, text=True, check=False, cwd="/", timeout=20
    )
    if done.stderr:
        raise AssertionError(f"the shell does not understand\n{text}\n{done.stderr}")
    return [record.split("\x1f")[:-1] for record in done.stdout.split("\x1e")[:-1]]

"""No data at all: the source of recipes that draw everything they learn from, such as latents alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lineament.data.registry import register_reader
from lineament.errors import DataError, UsageError


@dataclass(frozen=True)
class EmptySample:
    """A sample that holds nothing but its name."""

    id: str


@dataclass(frozen=True)
class EmptySource:
    """``count`` samples without content; they only make up epochs."""

    count: int

    @property
    def name(self) -> str:
        """What cards and reports call it."""
        return "none"

    @property
    def fingerprint(self) -> str:
        """The same for equal counts."""
        return f"none-{self.count}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> EmptySample:
        if not -self.count <= index < self.count:
            raise IndexError(f"sample {index} does not exist: the source holds {self.count} samples.")
        return EmptySample(str(index % self.count))


@register_reader(
    "none",
    "nothing, for recipes that draw all they learn from themselves",
    where="nothing is needed; count=N sets the samples of one epoch",
    needs_root=False,
)
def open_none(root: Path | None = None, count: int = 1000) -> EmptySource:
    """Open empty samples.

    Args:
        root: Not used.
        count: Samples of one epoch.

    Raises:
        UsageError: If a folder is given.
        DataError: If ``count`` is below 1.
    """
    if root is not None:
        raise UsageError(f"the data set 'none' has no files: leave {str(root)!r} out.")
    if count < 1:
        raise DataError(f"count is a number of samples of 1 or more, not {count}.")
    return EmptySource(count)

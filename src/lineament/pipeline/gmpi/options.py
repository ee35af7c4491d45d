"""The options of `lineament gmpi sample`, `video` and `mesh`; importing them imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lineament.errors import UsageError, unknown_name

# As published: planes of evaluation, and of videos their frames, frames a second, and the ends of yaw and pitch in
# radians.
PUBLISHED_PLANES = 96
PUBLISHED_FRAMES, PUBLISHED_RATE = 100, 8.0
PUBLISHED_YAW, PUBLISHED_PITCH = 0.5, 0.3
KINDS = ("colour", "depth", "alpha", "rgba")
MPI_FORMATS = ("npz", "atlas")
MESH_FORMATS = ("ply", "glb")
PATHS = ("yaw", "pitch", "circle")
OUTSIDE = ("raise", "clamp", "zero")
DEPTH_COLOURS = ("grey", "turbo")
_MOST_SEEDS = 10_000
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class DrawOptions:
    """What is drawn.

    Attributes:
        planes: Planes of a multiplane image: when not given 96, as published, or those of the training where the run
            can make no others.
        truncation: Truncation psi: share of the way from the mean face to the one drawn. 1 draws all that was learnt,
            less is more alike and more often good.
        device: Where it is computed: cpu or cuda.
    """

    planes: int | None = None
    truncation: float = 1.0
    device: str = "cpu"

    def check(self) -> None:
        """Raise ``UsageError`` on an impossible number."""
        if self.planes is not None and not 2 <= self.planes <= 2048:
            raise UsageError(f"--planes must lie between 2 and 2048, not {self.planes}.")
        if not -2.0 <= self.truncation <= 2.0:
            raise UsageError(f"--truncation must lie between -2 and 2, not {self.truncation:g}.")


@dataclass(frozen=True)
class ViewOptions:
    """How it is seen.

    Attributes:
        size: Longer side of an image in pixels; that of the textures when not given.
        outside: What is done where a view sees past the last plane: raise (refuse such angles), clamp (repeat its
            border) or zero (leave it black).
        depth_colours: Of depths: grey (near black, far white, as published) or turbo.
    """

    size: int | None = None
    outside: str = "raise"
    depth_colours: str = "grey"

    def check(self) -> None:
        """Raise ``UsageError`` on an unknown word or an impossible size."""
        if self.size is not None and not 8 <= self.size <= 4096:
            raise UsageError(f"--size must lie between 8 and 4096 pixels, not {self.size}.")
        check_words("way to see past the last plane", (self.outside,), OUTSIDE)
        check_words("colours of depths", (self.depth_colours,), DEPTH_COLOURS)


def check_words(what: str, words: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise ``UsageError`` on a word that is unknown, or if there is none."""
    if not words:
        raise UsageError(f"give at least one of {', '.join(known)}.")
    for word in words:
        if word not in known:
            raise unknown_name(what, word, known)


def parse_seeds(words: tuple[str, ...]) -> list[int]:
    """Read seeds: numbers and ranges ``0..7``, ends included; each once, in their order.

    Raises:
        UsageError: If a word is neither, or there are none or too many.
    """
    seeds: dict[int, None] = {}
    for word in words:
        match = re.fullmatch(r"(\d{1,19})(?:\.\.(\d{1,19}))?", word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last > _LARGEST_SEED:
            raise UsageError(f"--seeds {word!r} is no seed: give numbers such as 3, or a range such as 0..7.")
        if last - first + len(seeds) >= _MOST_SEEDS:
            raise UsageError(f"--seeds {word!r} are more than {_MOST_SEEDS} seeds: give a smaller range.")
        seeds |= dict.fromkeys(range(first, last + 1))
    if not seeds:
        raise UsageError("give at least one seed with --seeds.")
    return list(seeds)

"""Sources made of other sources: a part of one, several in a row, one with each sample changed."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from lineament.data.images import ImageKind
from lineament.data.sample import FaceSample, FaceSource, Source
from lineament.errors import DataError

Sample = TypeVar("Sample")


def digest(*parts: object) -> str:
    """Hash the text of the parts into 64 hex digits; the boundaries between parts matter."""
    state = hashlib.sha256()
    for part in parts:
        text = str(part).encode("utf-8", "surrogateescape")
        state.update(f"{len(text)}:".encode())
        state.update(text)
    return state.hexdigest()


def sample_id(source: Source[Any], index: int) -> str:
    """Name a sample without reading it: its id where the source knows it (``id_of``), else its index."""
    name = getattr(source, "id_of", None)
    return str(name(index)) if name else str(index)


def sample_digest(source: Source[Any], index: int) -> str:
    """Digest of what a sample is read from, found quickly (``digest_of``); "" where the source knows none."""
    known = getattr(source, "digest_of", None)
    return str(known(index)) if known else ""


def sample_kind(source: Source[Any], index: int) -> ImageKind | None:
    """Size and channels of a sample's image file, read from its header (``kind_of``); None where none is known.

    Raises:
        DataError: If the file cannot be read.
    """
    known = getattr(source, "kind_of", None)
    return known(index) if known else None


class Subset(Generic[Sample]):
    """The samples ``indices`` of a source, in that order; an index may stand there more than once."""

    def __init__(self, source: Source[Sample], indices: Sequence[int], name: str | None = None) -> None:
        self.source = source
        self.indices = [int(index) for index in indices]
        self.name = name or f"{source.name}[{len(self.indices)}]"
        for index in self.indices:
            if not 0 <= index < len(source):
                raise DataError(f"sample {index} does not exist: {source.name} holds {len(source)} samples.")

    @property
    def fingerprint(self) -> str:
        """Changes with the source and with the indices."""
        return digest("subset", self.source.fingerprint, *self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.indices[_inside(index, self)]]

    def id_of(self, index: int) -> str:
        """See :func:`sample_id`."""
        return sample_id(self.source, self.indices[_inside(index, self)])

    def digest_of(self, index: int) -> str:
        """See :func:`sample_digest`."""
        return sample_digest(self.source, self.indices[_inside(index, self)])

    def kind_of(self, index: int) -> ImageKind | None:
        """See :func:`sample_kind`."""
        return sample_kind(self.source, self.indices[_inside(index, self)])


class Concat(Generic[Sample]):
    """Several sources in a row; ids get the number of their source in front where two sources share one."""

    def __init__(self, sources: Sequence[Source[Sample]], name: str | None = None) -> None:
        if not sources:
            raise DataError("no sources to join: give at least one.")
        self.sources = list(sources)
        self.name = name or "+".join(source.name for source in sources)
        self._ends = list(accumulate(len(source) for source in sources))

    @property
    def fingerprint(self) -> str:
        """Changes with each source and with their order."""
        return digest("concat", *(source.fingerprint for source in self.sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        source, index = self._part(index)
        return source[index]

    def id_of(self, index: int) -> str:
        """See :func:`sample_id`."""
        return sample_id(*self._part(index))

    def kind_of(self, index: int) -> ImageKind | None:
        """See :func:`sample_kind`."""
        return sample_kind(*self._part(index))

    def _part(self, index: int) -> tuple[Source[Sample], int]:
        index = _inside(index, self)
        which = bisect_right(self._ends, index)
        return self.sources[which], index - (self._ends[which] - len(self.sources[which]))


class Mapped:
    """A source whose samples pass through a pure function; ``tag`` names it and enters the fingerprint."""

    def __init__(self, source: FaceSource, function: Callable[[FaceSample], FaceSample], tag: str) -> None:
        self.source = source
        self.function = function
        self.tag = tag

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def fingerprint(self) -> str:
        """Changes with the source and with the tag: give the tag every parameter of the function."""
        return digest("mapped", self.source.fingerprint, self.tag)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> FaceSample:
        return self.function(self.source[index])


def held_out(key: str, share: float) -> bool:
    """Say whether a key (an identity or id) belongs to the held-out ``share`` (0..1); the key's hash alone decides."""
    return int(digest("held out", key)[:12], 16) < share * 16**12


def split_by_identity(
    source: FaceSource, identities: Sequence[str | None], share: float
) -> tuple[Subset, Subset]:
    """Split a source so that no person stands on both sides.

    The side of a person depends on the hash of the identity alone, so that adding samples moves nobody; a sample
    without an identity counts as a person of its own.

    Args:
        source: The samples.
        identities: Identity of each sample, None where unknown.
        share: Share of persons in the second part, 0..1.

    Returns:
        The two parts, for example training and validation.
    """
    first: list[int] = []
    second: list[int] = []
    for index, identity in enumerate(identities):
        key = f"person {identity}" if identity is not None else f"sample {index}"
        (second if held_out(key, share) else first).append(index)
    return Subset(source, first, f"{source.name}/a"), Subset(source, second, f"{source.name}/b")


def _inside(index: int, source: Source[Any]) -> int:
    """Refuse indices outside, so that iteration over a source ends; negative ones count from the end."""
    if not -len(source) <= index < len(source):
        raise IndexError(f"sample {index} does not exist: {source.name} holds {len(source)} samples.")
    return index % len(source)

"""The few labels of a limited-annotation run, drawn and repeated as the published runs did."""

from __future__ import annotations

from dataclasses import replace

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import digest
from lineament.methods.dve.protocol import annotation_epoch

# Where a repeated sample keeps the number of its copy, in its ``meta``.
COPY = "copy"


class LimitedAnnotations:
    """A few labelled samples of a source, repeated until they are about as many as all of it.

    Each copy knows its number: the published runs warped every copy once, for the whole training.

    Args:
        source: All labelled samples.
        count: How many are used.
        seed: Decides which; see :func:`~lineament.methods.dve.protocol.annotation_picks`.

    Raises:
        DataError: If the source holds fewer.
    """

    def __init__(self, source: FaceSource, count: int, seed: int) -> None:
        self.source = source
        self.indices: list[int] = annotation_epoch(len(source), count, seed).tolist()
        self.name = f"{source.name}[{count} labels, seed {seed}]"

    @property
    def fingerprint(self) -> str:
        """Changes with the source and with what was drawn."""
        return digest("limited annotations", self.source.fingerprint, *self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> FaceSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} does not exist: {self.name} holds {len(self)} samples.")
        index %= len(self)
        sample = self.source[self.indices[index]]
        return replace(sample, meta={**sample.meta, COPY: index})

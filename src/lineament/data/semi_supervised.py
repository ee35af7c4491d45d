"""Labelled and unlabelled faces interleaved, for training on both."""

from __future__ import annotations

from dataclasses import replace

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import digest
from lineament.errors import DataError, UsageError

# Key of ``FaceSample.meta`` that marks a face whose labels, if it has any, are not to be seen.
UNLABELLED = "unlabelled"


class SemiSupervisedSource:
    """Labelled and unlabelled faces in turn, so that a fixed part of every epoch is labelled however few there are.

    Args:
        labelled: Faces with landmarks; repeated where they are fewer.
        unlabelled: Any faces, repeated likewise; what is known of their landmarks is hidden.
        every: Of so many faces in a row the last is unlabelled.
    """

    def __init__(self, labelled: FaceSource, unlabelled: FaceSource, every: int = 2) -> None:
        if len(unlabelled) == 0:
            raise DataError(f"{unlabelled.name} holds no faces: give other --unlabelled faces.")
        if every < 2:
            raise UsageError(f"one of 2 faces or more is unlabelled, not one of {every}.")
        self.every = every
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.name = f"{labelled.name} with {unlabelled.name}"

    @property
    def fingerprint(self) -> str:
        """Changes with either source."""
        # One in two was all there was: such runs go on.
        ratio = () if self.every == 2 else (self.every,)
        return digest("semi-supervised", self.labelled.fingerprint, self.unlabelled.fingerprint, *ratio)

    def __len__(self) -> int:
        return self.every * max(-(-len(self.labelled) // (self.every - 1)), len(self.unlabelled))

    def __getitem__(self, index: int) -> FaceSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} does not exist: {self.name} holds {len(self)} samples.")
        turn, place = divmod(index % len(self), self.every)
        if place < self.every - 1:
            return self.labelled[(turn * (self.every - 1) + place) % len(self.labelled)]
        face = self.unlabelled[turn % len(self.unlabelled)]
        return replace(
            face, landmarks=None, scheme=None, visibility=None, meta={**face.meta, UNLABELLED: True}
        )


def labelled_part(source: FaceSource) -> FaceSource:
    """The labelled faces of an :class:`SemiSupervisedSource` source; any other source as it is."""
    return source.labelled if isinstance(source, SemiSupervisedSource) else source

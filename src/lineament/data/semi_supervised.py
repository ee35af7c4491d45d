"""Labelled and unlabelled faces interleaved, for training on both."""

from __future__ import annotations

from dataclasses import replace

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import digest
from lineament.errors import DataError

# Key of ``FaceSample.meta`` that marks a face whose labels, if it has any, are not to be seen.
UNLABELLED = "unlabelled"


class SemiSupervisedSource:
    """Labelled and unlabelled faces in turn, so that half of every epoch is labelled however few labels there are.

    Args:
        labelled: Faces with landmarks, at even indices; repeated where they are fewer.
        unlabelled: Any faces, at odd indices; what is known of their landmarks is hidden.
    """

    def __init__(self, labelled: FaceSource, unlabelled: FaceSource) -> None:
        if len(unlabelled) == 0:
            raise DataError(f"{unlabelled.name} holds no faces: give other --unlabelled faces.")
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.name = f"{labelled.name} with {unlabelled.name}"

    @property
    def fingerprint(self) -> str:
        """Changes with either source."""
        return digest("semi-supervised", self.labelled.fingerprint, self.unlabelled.fingerprint)

    def __len__(self) -> int:
        return 2 * max(len(self.labelled), len(self.unlabelled))

    def __getitem__(self, index: int) -> FaceSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} does not exist: {self.name} holds {len(self)} samples.")
        turn, odd = divmod(index % len(self), 2)
        if not odd:
            return self.labelled[turn % len(self.labelled)]
        face = self.unlabelled[turn % len(self.unlabelled)]
        return replace(
            face, landmarks=None, scheme=None, visibility=None, meta={**face.meta, UNLABELLED: True}
        )


def labelled_part(source: FaceSource) -> FaceSource:
    """The labelled faces of an :class:`SemiSupervisedSource` source; any other source as it is."""
    return source.labelled if isinstance(source, SemiSupervisedSource) else source

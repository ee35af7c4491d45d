"""What unlabelled faces teach landmarks: a moved picture has its landmarks where the unmoved one has them.

A teacher, the moving average of the networks, finds landmarks in the plain picture of an unlabelled face; the networks
must find them, moved along, in a picture that is turned, shifted, mirrored and of another appearance (equivariant
landmarks: Honari et al., "Improving Landmark Localization with Semi-Supervised Learning", CVPR 2018; mean teacher:
Tarvainen and Valpola, NeurIPS 2017). Not part of the published 3FabRec.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import digest
from lineament.errors import DataError
from lineament.faces.schemes import LandmarkScheme
from lineament.nn.soft_argmax import edge_aligned, soft_moments

# Key of ``FaceSample.meta`` that marks a face whose labels, if it has any, are not to be seen.
UNLABELLED = "unlabelled"
# Spread of a teacher's heatmap, as a share of the picture's side, at which its answer counts exp(-1/2).
DOUBT = 0.1


class Accompanied:
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
        return digest("accompanied", self.labelled.fingerprint, self.unlabelled.fingerprint)

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
    """The labelled faces of an :class:`Accompanied` source; any other source as it is."""
    return source.labelled if isinstance(source, Accompanied) else source


def taught_places(
    scores: Tensor, passage: Tensor, mirrored: Tensor, layout: LandmarkScheme, size: int
) -> tuple[Tensor, Tensor]:
    """Where a teacher's landmarks lie in the moved pictures, and how sure it is of them.

    Args:
        scores: ``[B, K, h, h]`` raw heatmaps of the plain pictures.
        passage: ``[B, 2, 3]`` from pixels of the plain to pixels of the moved pictures.
        mirrored: ``[B]`` bool, whether the move mirrors.
        layout: Scheme that says which landmarks change sides.
        size: Side of the pictures in pixels.

    Returns:
        Points ``[B, K, 2]`` in pixels of the moved pictures, and weights ``[B, K]`` in 0..1: 0 outside the picture.
    """
    means, variances = soft_moments(scores.float(), edge_aligned)
    weights = torch.exp(-0.5 * variances / DOUBT**2)
    points = (means * size - 0.5) @ passage[:, :, :2].transpose(1, 2) + passage[:, None, :, 2]
    order = list(layout.mirror)
    points = torch.where(mirrored[:, None, None], points[:, order], points)
    weights = torch.where(mirrored[:, None], weights[:, order], weights)
    inside = ((points > -0.5) & (points < size - 0.5)).all(-1)
    return points, weights * inside

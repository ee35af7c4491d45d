"""Matching error of dense descriptors in the published protocol, for any dense features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.data.sample import FaceSource
from lineament.methods.dve.frame import Frame, PreparedFace, cut, sample_box
from lineament.methods.dve.protocol import published_faces
from lineament.methods.dve.warp import EVALUATION, WarpSpread, random_weights, warp_pair
from lineament.metrics.card import MetricCard
from lineament.metrics.correspondence import correct_share, match_points, pixel_errors

# Pictures [B, 3, H, W] in 0..1 -> features [B, C, h, w].
Describe = Callable[[Tensor], Tensor]
# The three pictures of a pair, in the order in which they are described.
VIEWS = ("source", "same", "other")


class PairFeatures(ABC):
    """Features that were made elsewhere, by pair instead of by picture."""

    @abstractmethod
    def of(self, pair: MatchingPair) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``[C, h, w]`` of the three pictures of a pair."""


def prepare_faces(
    source: FaceSource, frame: Frame, indices: Iterable[int], *, need_landmarks: bool = True
) -> Sequence[PreparedFace]:
    """Cut faces out by their boxes, or as the frame's protocol says; without needed landmarks a sample is left out."""
    if frame.protocol:
        return published_faces(source, frame.protocol, frame.size, indices)
    faces = []
    for index in indices:
        sample = source[index]
        if sample.landmarks is None and need_landmarks:
            continue
        transform = frame.whole(sample_box(sample))
        points = torch.zeros(0, 2) if sample.landmarks is None else transform.apply(sample.landmarks).float()
        faces.append(PreparedFace(sample.id, cut(sample.image, transform, frame.size), points))
    return faces


@dataclass(frozen=True)
class MatchingErrors:
    """Matches of the evaluation, P pairs of K points.

    Attributes:
        truth: ``[P, 2, K, 2]`` where the points are in the second view of the same and of the other face, cropped px.
        predicted: ``[P, 2, K, 2]`` where the best descriptors are.
        errors: ``[P, 2, K]`` distances in pixels of a 70 pixel wide face.
    """

    truth: Tensor
    predicted: Tensor
    errors: Tensor


@dataclass(frozen=True)
class MatchingPair:
    """What one pair of faces asks of the features.

    Attributes:
        number: Number of the pair, from 0.
        pictures: ``[3, 3, h, w]`` in 0..1: the source, the target of the same face, the target of the other face.
        queries: ``[K, 2]`` landmarks in the source.
        truth: ``[2, K, 2]`` where they are in both targets.
    """

    number: int
    pictures: Tensor
    queries: Tensor
    truth: Tensor

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of the pictures, for files of pictures and features."""
        first, second, third = (f"{self.number:05d}-{view}" for view in VIEWS)
        return first, second, third


def matching_pairs(
    faces: Sequence[PreparedFace],
    frame: Frame,
    *,
    spread: WarpSpread = EVALUATION,
    seed: int = 0,
    eight_bit: bool = False,
) -> Iterator[MatchingPair]:
    """The pictures and points of the matching evaluation, pair by pair; see :func:`matching_errors`."""
    generator = torch.Generator().manual_seed(seed)
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    for even in range(0, len(faces) - 1, 2):
        couple = [faces[even], faces[even + 1]]
        drawn = [[random_weights(spread, generator) for _ in range(2)] for _ in couple]
        weights = torch.stack([torch.stack(pair) for pair in drawn])  # [2, 2, 103, 2]
        images = torch.stack([face.image for face in couple])
        points = torch.stack([face.points for face in couple])
        scale = 255.0 if eight_bit else 1.0
        views = warp_pair(images * scale, weights[:, 0], weights[:, 1], frame.crop, points)
        assert views.first_points is not None
        assert views.second_points is not None
        pictures = torch.cat([views.first[:1], views.second])
        if eight_bit:
            pictures = pictures.floor() / 255
        yield MatchingPair(even // 2, pictures, views.first_points[0], views.second_points)


@torch.no_grad()
def matching_errors(
    describe: Describe | PairFeatures,
    faces: Sequence[PreparedFace],
    frame: Frame,
    *,
    spread: WarpSpread = EVALUATION,
    seed: int = 0,
    eight_bit: bool = False,
) -> MatchingErrors:
    """Match landmarks from each even face to its own warp and to a warp of the odd face after it (published protocol).

    For faces (0, 1), (2, 3), ...: the source is the twice-warped view of the even face; the targets are the once-warped
    views of the even face (same identity) and of the odd face (other identity). An odd face out is dropped. Points are
    snapped to whole pixels by the warps and may leave the frame; none is excluded. The random stream is the published
    one: one 64-bit draw, then two warps per face.

    Args:
        describe: Makes features of pictures, or knows those of every pair; the stride is the picture's width over
            theirs.
        faces: Pictures of ``frame.size`` with landmarks.
        frame: Frame of the pictures.
        spread: Deviations of both warps.
        seed: Seed of the warps.
        eight_bit: Truncate warped pictures to 8 bits, as the published loader did.
    """
    truths, predictions = [], []
    for pair in matching_pairs(faces, frame, spread=spread, seed=seed, eight_bit=eight_bit):
        features = describe.of(pair) if isinstance(describe, PairFeatures) else describe(pair.pictures)
        source, same, other = features
        stride = frame.seen / source.shape[-1]
        matches = [match_points(source, target, pair.queries, stride) for target in (same, other)]
        predictions.append(torch.stack(matches))
        truths.append(pair.truth)
    truth, predicted = torch.stack(truths), torch.stack(predictions)
    return MatchingErrors(truth, predicted, pixel_errors(predicted, truth, frame.seen))


def cut_words(frame: Frame, eight_bit: bool = False) -> str:
    """How pictures were cut, for cards."""
    how = f"published preprocessing {frame.protocol}" if frame.protocol else "cut around the face box"
    return f"{how}, {frame.size} px{', 8 bits' if eight_bit else ''}"


def matching_cards(
    describe: Describe | PairFeatures,
    faces: Sequence[PreparedFace],
    frame: Frame,
    source: FaceSource,
    *,
    seed: int = 0,
    eight_bit: bool = False,
) -> tuple[MetricCard, MetricCard]:
    """Cards of the matching error within a face and across faces; see :func:`matching_errors`."""
    result = matching_errors(describe, faces, frame, seed=seed, eight_bit=eight_bit)
    pairs = len(result.errors)
    cards = []
    for column, kind in enumerate(("same identity", "different identity")):
        errors = result.errors[:, column]
        finite = errors[torch.isfinite(errors)]
        cards.append(
            MetricCard(
                name=f"matching error, {kind}",
                value=float(finite.mean()),
                unit="px at 70 px",
                definition="mean Euclidean distance between the lattice point of the largest raw dot product and the "
                "warped landmark, times 70 / width of the cropped picture",
                protocol=f"{cut_words(frame, eight_bit)}, pairs of consecutive pictures, random warps, {frame.crop} px "
                f"cut off each side; {pairs} pairs of {errors.shape[1]} points",
                count=pairs,
                seed=seed,
                data=source.name,
                fingerprint=source.fingerprint,
                deviation=float(finite.mean(1).std(correction=0)) if finite.ndim == 2 else None,
                deviation_over="samples" if finite.ndim == 2 else None,
                details={f"pck_{alpha}px": correct_share(finite, 1.0, alpha) for alpha in (2, 4, 8)},
            )
        )
    return cards[0], cards[1]

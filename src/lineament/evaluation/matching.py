"""Matching error of dense descriptors in the published protocol, for any dense features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.data.face_box import sample_box
from lineament.data.sample import FaceSource
from lineament.errors import DataError
from lineament.evaluation.published import published_faces
from lineament.faces.frame import Frame, PreparedFace, cut
from lineament.geometry.tps_warp import (
    EVALUATION,
    WarpStd,
    published_positions,
    random_weights,
    warp_pair,
)
from lineament.metrics.card import MetricCard
from lineament.metrics.correspondence import correct_share, match_points, pixel_errors

# Images [B, 3, H, W] in 0..1 -> features [B, C, h, w].
Describe = Callable[[Tensor], Tensor]
# The three images of a pair, in the order in which they are described.
VIEWS = ("source", "same", "other")


class PairFeatures(ABC):
    """Features that were made elsewhere, by pair instead of by image."""

    @abstractmethod
    def of(self, pair: MatchingPair) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``[C, h, w]`` of the three images of a pair."""


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
        image = cut(sample.image, transform, frame.size)
        faces.append(PreparedFace(sample.id, image, points, sample.identity))
    return faces


@dataclass(frozen=True)
class MatchingErrors:
    """Matches of the evaluation, P pairs of K points.

    Attributes:
        truth: ``[P, 2, K, 2]`` where the points are in the second view of the same and of the other face, cropped px.
        predicted: ``[P, 2, K, 2]`` where the best descriptors are.
        errors: ``[P, 2, K]`` distances in pixels of a 70 pixel wide face; NaN where a point has no label.
        identified: Number of pairs of which both people are known, and so known to differ.
        unpaired: Faces that found no other person to be paired with.
    """

    truth: Tensor
    predicted: Tensor
    errors: Tensor
    identified: int = 0
    unpaired: int = 0


@dataclass(frozen=True)
class MatchingPair:
    """What one pair of faces asks of the features.

    Attributes:
        number: Number of the pair, from 0.
        images: ``[3, 3, h, w]`` in 0..1: the source, the target of the same face, the target of the other face.
        queries: ``[K, 2]`` landmarks in the source, whole pixels as the published code held them (see
            :func:`~lineament.geometry.tps_warp.published_positions`); NaN where there is no label.
        truth: ``[2, K, 2]`` where they are in both targets; NaN where there is no label.
        identified: Whether both people are known.
    """

    number: int
    images: Tensor
    queries: Tensor
    truth: Tensor
    identified: bool = False

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of the images, for files of images and features."""
        first, second, third = (f"{self.number:05d}-{view}" for view in VIEWS)
        return first, second, third


def couples(faces: Sequence[PreparedFace]) -> Iterator[tuple[PreparedFace, PreparedFace]]:
    """Pair every face with the next one that is not known to be of the same person.

    Where no identity is known these are faces (0, 1), (2, 3) and so on, the published pairs. A face that finds no other
    person is left out. Faces that wait for one are read again when it comes, so that few are in memory.
    """
    # Numbers of faces that wait, all of one person.
    waiting: deque[int] = deque()
    person: str | None = None
    for number in range(len(faces)):
        face = faces[number]
        if not waiting:
            waiting.append(number)
            person, first = face.identity, face
        elif person is not None and face.identity == person:
            waiting.append(number)
        else:
            kept = waiting.popleft()
            yield (first if kept == number - 1 else faces[kept]), face


def matching_pairs(
    faces: Sequence[PreparedFace],
    frame: Frame,
    *,
    spread: WarpStd = EVALUATION,
    seed: int = 0,
    eight_bit: bool = False,
) -> Iterator[MatchingPair]:
    """The images and points of the matching evaluation, pair by pair; see :func:`matching_errors`."""
    generator = torch.Generator().manual_seed(seed)
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    for pair_number, couple in enumerate(couples(faces)):
        drawn = [[random_weights(spread, generator) for _ in range(2)] for _ in couple]
        weights = torch.stack([torch.stack(pair) for pair in drawn])  # [2, 2, 103, 2]
        images = torch.stack([face.image for face in couple])
        points = torch.stack([face.points for face in couple])
        scale = 255.0 if eight_bit else 1.0
        views = warp_pair(images * scale, weights[:, 0], weights[:, 1], frame.crop, points)
        assert views.first_points is not None
        assert views.second_points is not None
        all_views = torch.cat([views.first[:1], views.second])
        if eight_bit:
            all_views = all_views.floor() / 255
        # Snapping to whole pixels loses that a point has no label.
        labelled = torch.isfinite(points).all(-1)[..., None]
        height, width = images.shape[-2:]
        held = published_positions(views.first_points[0], height, width, frame.crop)
        queries = torch.where(labelled[0], held, torch.nan)
        truth = torch.where(labelled, views.second_points, torch.nan)
        identified = all(face.identity is not None for face in couple)
        yield MatchingPair(pair_number, all_views, queries, truth, identified)


@torch.no_grad()
def matching_errors(
    describe: Describe | PairFeatures,
    faces: Sequence[PreparedFace],
    frame: Frame,
    *,
    spread: WarpStd = EVALUATION,
    seed: int = 0,
    eight_bit: bool = False,
) -> MatchingErrors:
    """Match landmarks from one face of each pair to its own warp and to a warp of the other face (published protocol).

    The source is the twice-warped view of the first face of a pair; the targets are the once-warped views of the first
    face (same identity) and of the second (other identity). Faces are paired as :func:`couples` says: consecutive ones,
    as published, but for two that are known to show one person. Points are snapped to whole pixels by the warps and may
    leave the frame; none is excluded but those without a label, whose errors are NaN. The random stream is the
    published one: one 64-bit draw, then two warps per face.

    Args:
        describe: Makes features of images, or knows those of every pair; the stride is the image's width over
            theirs.
        faces: Images of ``frame.size`` with landmarks.
        frame: Frame of the images.
        spread: Standard deviations of both warps.
        seed: Seed of the warps.
        eight_bit: Truncate warped images to 8 bits, as the published loader did.

    Raises:
        DataError: If no two faces can be paired.
    """
    truths, predictions, errors = [], [], []
    identified = 0
    for pair in matching_pairs(faces, frame, spread=spread, seed=seed, eight_bit=eight_bit):
        features = describe.of(pair) if isinstance(describe, PairFeatures) else describe(pair.images)
        source, same, other = features
        stride = frame.seen / source.shape[-1]
        labelled = torch.isfinite(pair.queries).all(-1)
        queries = torch.where(labelled[:, None], pair.queries, 0)
        matches = torch.stack([match_points(source, target, queries, stride) for target in (same, other)])
        apart = pixel_errors(matches, pair.truth, frame.seen)
        predictions.append(matches)
        truths.append(pair.truth)
        errors.append(torch.where(labelled, apart, torch.nan))
        identified += pair.identified
    if not errors:
        raise DataError(
            f"the {len(faces)} faces show one person: matching needs pairs of different people, or faces without "
            "identities."
        )
    unpaired = len(faces) - 2 * len(errors)
    return MatchingErrors(
        torch.stack(truths), torch.stack(predictions), torch.stack(errors), identified, unpaired
    )


def cut_words(frame: Frame, eight_bit: bool = False) -> str:
    """How images were cut, for cards."""
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
    note: str = "",
) -> tuple[MetricCard, MetricCard]:
    """Cards of the matching error within a face and across faces; see :func:`matching_errors`.

    The standard deviation is that of the pairs' mean errors.
    """
    result = matching_errors(describe, faces, frame, seed=seed, eight_bit=eight_bit)
    pairs = len(result.errors)
    people = f"{result.identified} of {pairs} pairs are known to show two people"
    if result.unpaired > 1:
        people += f", {result.unpaired} faces found no other person"
    cards = []
    for column, kind in enumerate(("same identity", "different identity")):
        errors = result.errors[:, column]
        known = errors[~errors.isnan()]
        missing = errors.numel() - len(known)
        unlabelled = f", {missing} of them have no label and count nowhere" if missing else ""
        # A pair without any labelled point has no mean.
        per_pair = errors.nanmean(1)
        per_pair = per_pair[~per_pair.isnan()]
        cards.append(
            MetricCard(
                name=f"matching error, {kind}",
                value=float(known.mean()),
                unit="px at 70 px",
                definition="mean Euclidean distance between the grid point of the largest raw dot product and the "
                "warped landmark, times 70 / width of the cropped image",
                protocol=f"{cut_words(frame, eight_bit)}, pairs of consecutive images, random warps, {frame.crop} px "
                f"cut off each side; {pairs} pairs of {errors.shape[1]} points{unlabelled}; {people}",
                count=pairs,
                seed=seed,
                data=source.name,
                fingerprint=source.fingerprint,
                std=float(per_pair.std(correction=0)),
                std_over="samples",
                note=note,
                details={
                    **{f"pck_{alpha}px": correct_share(known, 1.0, alpha) for alpha in (2, 4, 8)},
                    "missing_points": missing,
                    "pairs_of_known_people": result.identified,
                    "faces_without_a_partner": result.unpaired,
                },
            )
        )
    return cards[0], cards[1]

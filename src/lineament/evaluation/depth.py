"""Scores of keypoint depths over all ordered pairs of faces: DepthCorr and keypoint error (Moniz et al., section 4).

Every face is a source once for each other face as target. Pairs are scored a source at a time and only sums are kept
(and one error a pair), so that four million pairs need no more memory than the predictor and a few layers' outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lineament.capabilities import DepthFit, DepthPredictor, PairFits
from lineament.data.keypoint_depth import ORIENTATIONS, KeypointSet
from lineament.errors import DataError
from lineament.geometry.affine_fit import apply_affine, fit_affine
from lineament.metrics.depth import PearsonSums

# Target faces scored at a time.
CHUNK = 512
# Source faces whose errors are gathered at a time.
ROWS = 64


class Dump(Protocol):
    """Takes the depths of one source face as they come."""

    def __call__(self, source: int, targets: slice, depth: Tensor) -> None:
        """Keep depths ``[n, K]`` of ``source`` given ``targets``."""
        ...


@dataclass(frozen=True)
class PairScores:
    """Sums over the ordered pairs of N faces; pairs of a face with itself are left out.

    Attributes:
        groups: Orientation of each face, ``[N]`` int64 into ``names``.
        names: Words for the groups; a single ``all`` where orientations are not known.
        correlations: Sums for each group of sources and of targets; None where depths are not known.
        errors: ``[N, N]`` float32, row source, column target: mean squared error of the coordinates; NaN on the
            diagonal.
    """

    groups: Tensor
    names: tuple[str, ...]
    correlations: list[list[PearsonSums]] | None
    errors: Tensor

    def depth_corr(self, source: str | None = None, target: str | None = None) -> float:
        """DepthCorr over the pairs of a group of sources and one of targets; None is all of them."""
        return float(self.correlation_per_keypoint(source, target).abs().sum())

    def correlation_per_keypoint(self, source: str | None = None, target: str | None = None) -> Tensor:
        """Signed correlation of each keypoint, ``[K]`` float64."""
        if self.correlations is None:
            raise DataError("DepthCorr needs faces with known depths.")
        total = PearsonSums(self.correlations[0][0].mean.shape[1])
        for row in self._chosen(source):
            for column in self._chosen(target):
                total.merge(self.correlations[row][column])
        return total.correlations()

    def keypoint_error(self, source: str | None = None, target: str | None = None) -> tuple[float, float]:
        """Mean and standard deviation of the keypoint error over the pairs; NaN where the groups have no pair."""
        count = sum(len(part) for part in self._error_parts(source, target))
        if not count:
            return float("nan"), float("nan")
        mean = sum(float(part.double().sum()) for part in self._error_parts(source, target)) / count
        squares = sum(
            float((part.double() - mean).square().sum()) for part in self._error_parts(source, target)
        )
        return mean, (squares / count) ** 0.5

    def pair_errors(self, source: str | None = None, target: str | None = None) -> Tensor:
        """Error of each pair of the groups, in one row."""
        return torch.cat([self.errors.new_empty(0), *self._error_parts(source, target)])

    def _error_parts(self, source: str | None, target: str | None) -> Iterator[Tensor]:
        """Errors of the pairs of some sources at a time: a copy of all would be most of a scoring's memory."""
        rows, columns = (
            torch.nonzero(torch.isin(self.groups, torch.tensor(self._chosen(name)))).flatten()
            for name in (source, target)
        )
        for some in rows.split(ROWS):
            part = self.errors[some][:, columns].flatten()
            yield part[~part.isnan()]

    def _chosen(self, name: str | None) -> list[int]:
        return list(range(len(self.names))) if name is None else [self.names.index(name)]


def given_depths(depth: Tensor, keypoints: Tensor) -> PairFits:
    """Depths ``[N, K]`` that do not depend on the target, such as another tool's, with the closed-form maps.

    Args:
        depth: One depth per face and keypoint.
        keypoints: ``[N, K, 2]`` of the faces over the size of their images.
    """

    def fits(source: int, targets: slice) -> DepthFit:
        target = keypoints[targets]
        own = keypoints[source].expand_as(target)
        one = depth[source].expand(len(target), -1)
        return DepthFit(one, fit_affine(own, one, target))

    return fits


@torch.no_grad()
def score_pairs(predictor: DepthPredictor, faces: KeypointSet, *, dump: Dump | None = None) -> PairScores:
    """Score a predictor over all ordered pairs of some faces.

    Args:
        predictor: The model.
        faces: At least two.
        dump: Takes all predicted depths.

    Raises:
        DataError: If there are fewer than two faces.
    """
    return score_depths(predictor.pair_fits(faces.keypoints), faces, dump=dump)


@torch.no_grad()
def score_true_depth(faces: KeypointSet, predictor: DepthPredictor | None = None) -> PairScores:
    """Keypoint errors with the true depth in place of the predicted one: what no model of the source alone can beat.

    A predictor that predicts its affine maps keeps them; the depth alone is exchanged.
    """
    if faces.depth is None:
        raise DataError("the error with true depth needs faces with known depths.")
    if predictor is None:
        return score_depths(given_depths(faces.depth, faces.keypoints), faces)
    return score_depths(predictor.pair_fits(faces.keypoints, faces.depth), faces)


@torch.no_grad()
def score_depths(fits: PairFits, faces: KeypointSet, *, dump: Dump | None = None) -> PairScores:
    """Score depths and maps from any source; see :func:`score_pairs`."""
    count = len(faces)
    if count < 2:
        raise DataError(f"pairs need two faces or more, not {count}.")
    groups, names = _groups(faces)
    members = [torch.nonzero(groups == number).flatten() for number in range(len(names))]
    points = faces.keypoints.shape[1]
    sums = [[PearsonSums(points) for _ in names] for _ in names]
    errors = torch.empty(count, count)
    for source in range(count):
        kept = []
        for start in range(0, count, CHUNK):
            targets = slice(start, min(start + CHUNK, count))
            fit = fits(source, targets)
            target = faces.keypoints[targets]
            own = faces.keypoints[source].expand_as(target)
            errors[source, targets] = (
                (apply_affine(fit.affine, own, fit.depth) - target).square().mean((1, 2))
            )
            if dump is not None:
                dump(source, targets, fit.depth)
            kept.append(fit.depth)
        if faces.depth is not None:
            _correlate(sums[int(groups[source])], members, source, torch.cat(kept), faces.depth[source])
    errors.fill_diagonal_(torch.nan)
    return PairScores(groups, names, sums if faces.depth is not None else None, errors)


def _correlate(
    row: list[PearsonSums], members: list[Tensor], source: int, predicted: Tensor, true: Tensor
) -> None:
    """Add the pairs of one source to the sums of its row, one for each group of targets."""
    for sums, targets in zip(row, members, strict=True):
        chosen = targets[targets != source]
        sums.add(predicted[chosen], true.expand(len(chosen), -1))


def _groups(faces: KeypointSet) -> tuple[Tensor, tuple[str, ...]]:
    if faces.orientations is None:
        return torch.zeros(len(faces), dtype=torch.long), ("all",)
    return torch.tensor([ORIENTATIONS.index(word) for word in faces.orientations]), ORIENTATIONS


@torch.no_grad()
def sample_depths(predictor: DepthPredictor, faces: KeypointSet, seed: int = 0) -> Tensor:
    """Depth ``[N, K]`` of each face given one other, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randint(1, len(faces), (len(faces),), generator=generator)
    others = (torch.arange(len(faces)) + shift) % len(faces)
    return predictor.depth(faces.keypoints, faces.keypoints[others])

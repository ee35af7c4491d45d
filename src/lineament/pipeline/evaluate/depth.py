"""Scores depths of keypoints: runs of DepthNets and AIGN, and depths of single faces from a file (MOFA's)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from lineament.capabilities import DepthPredictor
from lineament.data.keypoint_depth import KeypointSet, collect
from lineament.data.sample import FaceSource
from lineament.data.subset import digest
from lineament.errors import DataError, UsageError
from lineament.evaluation.depth import (
    PairScores,
    given_depths,
    sample_depths,
    score_depths,
    score_pairs,
    score_true_depth,
)
from lineament.evaluation.depth_cards import error_card, pair_card, single_card
from lineament.evaluation.depth_single import read_mofa
from lineament.files import replacing
from lineament.inference import load
from lineament.metrics.card import MetricCard, over_seeds
from lineament.pipeline.evaluate.score import TRAINED_ON, trained_on
from lineament.training.models import open_trained


@dataclass(frozen=True)
class Scored:
    """One subject and what was measured.

    Attributes:
        name: What it is called in figures.
        group: What runs that differ in their seed alone have in common; "" for files.
        cards: Its metric cards.
        depth: Depth ``[N, K]`` of each face given one other.
        faces: The faces.
        scores: Scores over pairs.
    """

    name: str
    group: str
    cards: list[MetricCard]
    depth: Tensor
    faces: KeypointSet
    scores: PairScores


def score_subject(subject: Path, source: FaceSource, count: int = 0, dump: Path | None = None) -> Scored:
    """Score a run directory, or an ``.npz`` of single faces' depths (``ids``, ``kps``).

    Args:
        subject: Run or file.
        source: Faces with keypoints; DepthCorr needs their depths.
        count: Only the first so many faces; 0 takes all.
        dump: Write all predicted depths there (``preds``, row source, column target, zero on the diagonal).

    Raises:
        UsageError: If a dump is asked for that cannot be given, or the run predicts no depth of keypoints.
        DataError: If the data does not fit.
    """
    faces = collect(source, count or None)
    if subject.is_file():
        if dump is not None:
            raise UsageError(f"depths of pairs can be dumped for a run, not for the file {subject}.")
        depth, faces = read_mofa(subject, faces)
        scores = score_depths(given_depths(depth, faces.keypoints), faces)
        cards = [single_card(depth, faces, source), error_card(scores, source)]
        return Scored(subject.stem, "", cards, depth, faces, scores)
    model = load(subject)
    predictor = model.capability(DepthPredictor)
    scores = _score_and_dump(predictor, faces, dump) if dump is not None else score_pairs(predictor, faces)
    depth = sample_depths(predictor, faces)
    cards = []
    if faces.depth is not None:
        cards.append(single_card(depth, faces, source) if predictor.single else pair_card(scores, source))
    cards.append(error_card(scores, source))
    if faces.depth is not None:
        cards.append(error_card(score_true_depth(faces, predictor), source, " with true depth"))
    if trained_on(model.run, source):
        cards = [replace(card, note=TRAINED_ON) for card in cards]
    return Scored(subject.name, _group(subject), cards, depth, faces, scores)


def draw_figures(scored: Sequence[Scored], folder: Path) -> list[Path]:
    """Draw the figures of the paper for the subjects side by side; returns the PNGs.

    Raises:
        DataError: If the faces have no true depths, or the subjects were scored on different faces.
    """
    from lineament.evaluation.depth_figures import evaluation_figures

    faces = scored[0].faces
    if faces.depth is None:
        raise DataError("the figures need faces with known depths.")
    if any(each.faces.ids != faces.ids for each in scored):
        raise DataError("the subjects were scored on different faces: draw their figures apart.")
    return evaluation_figures({each.name: (each.depth, each.scores) for each in scored}, faces, folder)


def table_over_seeds(scored: Sequence[Scored]) -> str:
    """Mean and standard deviation of the scores over runs that differ in their seed alone; "" where no two do."""
    groups: dict[str, list[Scored]] = {}
    for each in scored:
        groups.setdefault(each.group or each.name, []).append(each)
    if all(len(members) < 2 for members in groups.values()):
        return ""
    rows = ["recipe, steps, seeds: mean ± std over seeds"]
    for name, members in groups.items():
        columns = zip(*[each.cards for each in members], strict=True)
        merged = [over_seeds(cards) for cards in columns]
        values = "; ".join(f"{card.name} {card.value:.4g} ± {card.std or 0:.2g}" for card in merged)
        rows.append(f"{name}, {len(members)} seeds: {values}")
    return "\n".join(rows)


def _group(folder: Path) -> str:
    run = open_trained(folder)
    settings = {key: value for key, value in run.config.items() if key not in ("seed", "checkpoint_every")}
    changed = digest("config", sorted(settings.items()))[:6]
    return f"{run.recipe}, {run.config['steps']} steps ({changed})"


def grid_text(scores: PairScores) -> str:
    """DepthCorr by orientation as a table, rows sources and columns targets; "" where there is one group only."""
    if len(scores.names) < 2 or scores.correlations is None:
        return ""
    rows = ["source\\target " + " ".join(f"{name:>8}" for name in scores.names)]
    for a in scores.names:
        rows.append(f"{a:<13} " + " ".join(f"{scores.depth_corr(a, b):8.3f}" for b in scores.names))
    return "\n".join(rows)


def _score_and_dump(predictor: DepthPredictor, faces: KeypointSet, path: Path) -> PairScores:
    count = len(faces)
    depths = np.zeros((count, count, faces.keypoints.shape[1]))

    def keep(source: int, targets: slice, depth: Tensor) -> None:
        depths[source, targets] = depth.numpy()

    scores = score_pairs(predictor, faces, dump=keep)
    depths[np.arange(count), np.arange(count)] = 0
    with replacing(path if path.suffix == ".npz" else path.with_name(path.name + ".npz")) as temporary:
        np.savez(temporary, preds=depths)
    return scores

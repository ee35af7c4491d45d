"""The figures of the paper: faces in 3-D, true against predicted depth, DepthCorr by orientation, keypoint errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lineament.capabilities import DepthPredictor
from lineament.data.keypoint_depth import KeypointSet
from lineament.evaluation.depth import PairScores, sample_depths, score_pairs
from lineament.metrics.landmark import cumulative_curve
from lineament.report.figures import COLOURS, plot_curves, save_figure

ELEVATION, AZIMUTH = 30, 75
MOST_DOTS = 200_000


def scatter_rows(path: Path, rows: Sequence[str], columns: Mapping[str, Tensor], keypoints: Tensor) -> Path:
    """Draw faces as dots in space: a row for each face, a column for each source of depth, colour for depth.

    Args:
        path: The PNG to write.
        rows: ``F`` names of the faces.
        columns: Name -> depth ``[F, K]``; each is drawn over its own range.
        keypoints: ``[F, K, 2]`` over the image's size.
    """
    figure = Figure(figsize=(2.1 * len(columns), 2.0 * len(rows)), layout="constrained")
    for row, name in enumerate(rows):
        for column, (title, depths) in enumerate(columns.items()):
            place = row * len(columns) + column + 1
            axes: Any = figure.add_subplot(len(rows), len(columns), place, projection="3d")
            x, y = keypoints[row].numpy().T
            z = depths[row].numpy()
            axes.scatter(x, z, -y, c=z, cmap="jet", s=7)
            axes.view_init(elev=ELEVATION, azim=AZIMUTH - 180)
            axes.set_box_aspect((1, 1, 1.2))
            for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
                axis.set_ticklabels([])
            if row == 0:
                axes.set_title(title, fontsize=9)
            if column == 0:
                axes.text2D(-0.02, 0.5, name, transform=axes.transAxes, rotation=90, va="center", fontsize=7)
    numbers = {"faces": list(rows), "keypoints": keypoints, "depths": dict(columns)}
    return save_figure(figure, path, numbers)


def depth_hexbin(path: Path, true: Tensor, predicted: Mapping[str, Tensor]) -> Path:
    """Draw true against predicted depth as hexagons, the darker the more keypoints.

    Args:
        path: The PNG to write.
        true: ``[N, K]``.
        predicted: Name -> ``[N, K]``, one panel each.
    """
    figure = Figure(figsize=(3.4 * len(predicted), 3.3), layout="constrained")
    panels = figure.subplots(1, len(predicted), squeeze=False)[0]
    x = true.flatten().double()
    numbers = {}
    for axes, (name, depth) in zip(panels, predicted.items(), strict=True):
        y = depth.flatten().double()
        every = max(1, len(x) // MOST_DOTS)
        axes.hexbin(
            x[::every].numpy(), y[::every].numpy(), gridsize=45, bins="log", cmap="viridis", linewidths=0.1
        )
        correlation = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
        axes.set_title(f"{name} (r = {correlation:.2f})", fontsize=9)
        axes.set_xlabel("true depth / mean image side")
        axes.set_ylabel("predicted depth")
        numbers[name] = {"correlation_over_all_keypoints": correlation, "keypoints": len(x)}
    return save_figure(figure, path, numbers)


def depth_corr_bars(path: Path, scores: Mapping[str, Mapping[str, float]]) -> Path:
    """Draw DepthCorr as bars: a group for each orientation, a bar for each model.

    Args:
        path: The PNG to write.
        scores: Model -> orientation of the source -> DepthCorr.
    """
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    axes = figure.subplots()
    groups = list(dict.fromkeys(group for values in scores.values() for group in values))
    width = 0.8 / len(scores)
    for place, (model, values) in enumerate(scores.items()):
        at = np.arange(len(groups)) + (place - (len(scores) - 1) / 2) * width
        heights = [values.get(group, float("nan")) for group in groups]
        bars = axes.bar(at, heights, width, label=model, color=COLOURS[place % len(COLOURS)])
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("DepthCorr (at most one per keypoint)")
    axes.margins(y=0.2)  # room for the legend above the bars
    axes.legend(fontsize="small", ncols=len(scores), loc="upper left")
    return save_figure(
        figure, path, {"depth_corr": {model: dict(values) for model, values in scores.items()}}
    )


def error_curves(path: Path, errors: Mapping[str, Tensor]) -> Path:
    """Draw the cumulative distribution of keypoint errors.

    Args:
        path: The PNG to write.
        errors: Model -> errors of pairs, one row each (mean squared, in squared image sides).
    """
    roots = {name: values.double().sqrt() for name, values in errors.items()}
    limit = max(
        float(torch.quantile(values[:: max(1, len(values) // 100_000)], 0.98)) for values in roots.values()
    )
    curves = {}
    for name, values in roots.items():
        thresholds, share = cumulative_curve(values, limit, 60)
        curves[name] = ((100 * thresholds).tolist(), (100 * share).tolist())
    return plot_curves(
        path,
        curves,
        x_label="root mean squared keypoint error, % of the image's side",
        y_label="pairs at or below, %",
    )


def evaluation_figures(
    models: Mapping[str, tuple[Tensor, PairScores | None]], faces: KeypointSet, folder: Path, shown: int = 4
) -> list[Path]:
    """Draw all figures of the paper for some models.

    Args:
        models: Name -> depth of each face given one other ``[N, K]``, and scores over all pairs where there are any.
        faces: The faces, with true depths.
        folder: Where the PNGs go: ``faces``, ``depths``, ``depth_corr`` and ``keypoint_errors``.
        shown: Faces drawn in space.
    """
    assert faces.depth is not None
    every = max(1, len(faces) // shown)
    rows = list(range(every // 2, len(faces), every))[:shown]
    turned = faces.orientations or ("",) * len(faces)
    columns = {"true": faces.depth[rows], **{name: depth[rows] for name, (depth, _) in models.items()}}
    names = [f"{faces.ids[row]} {turned[row]}" for row in rows]
    drawn = [
        scatter_rows(folder / "faces.png", names, columns, faces.keypoints[rows]),
        depth_hexbin(
            folder / "depths.png", faces.depth, {name: depth for name, (depth, _) in models.items()}
        ),
    ]
    scored = {name: scores for name, (_, scores) in models.items() if scores is not None}
    if scored:
        groups = next(iter(scored.values())).names
        bars = {
            name: {
                **({group: s.depth_corr(group) for group in groups} if len(groups) > 1 else {}),
                "all": s.depth_corr(),
            }
            for name, s in scored.items()
        }
        drawn.append(depth_corr_bars(folder / "depth_corr.png", bars))
        errors = {name: s.pair_errors() for name, s in scored.items()}
        drawn.append(error_curves(folder / "keypoint_errors.png", errors))
    return drawn


def training_figures(predictor: DepthPredictor, faces: KeypointSet, folder: Path) -> list[Path]:
    """The figures of one model in training."""
    scores = score_pairs(predictor, faces)
    return evaluation_figures(
        {"predicted": (sample_depths(predictor, faces), scores)}, faces, folder, shown=2
    )

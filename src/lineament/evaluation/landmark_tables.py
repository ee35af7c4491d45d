"""Tables and figures of landmark scores: subsets, cumulative curves, errors of every landmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from lineament.evaluation.landmarks import LandmarkScores
from lineament.files import write_text
from lineament.metrics.landmark import AreaRule, cumulative_curve
from lineament.report.figures import jsonable, plot_curves, save_figure
from lineament.report.tables import Table

# Name of the row of all faces.
ALL = "all faces"


def by_subset(scores: LandmarkScores) -> dict[str, LandmarkScores]:
    """All faces, then the faces of each subset of the data set."""
    return {ALL: scores, **{name: scores.only(name) for name in scores.subset_names()}}


def subset_table(scores: LandmarkScores, area: AreaRule = "exact") -> Table:
    """Inner, outline and total error, failures and area under the curve, for all faces and every subset.

    Args:
        scores: Errors of all faces.
        area: How the area is taken.
    """
    table = Table(
        f"landmark errors, scheme {scores.layout.name}",
        ["faces of", "faces", "inner", "outline", "all", "failures", "area under the curve"],
        ["", "", *[f"% of {scores.normalise_by}"] * 3, "% above 10 %", f"of 1, to 10 %, {area}"],
    )
    for name, part in by_subset(scores).items():
        table.add(name, *part.summary(area).values())
    return table


def plot_cumulative(path: Path, named: Mapping[str, LandmarkScores], limit: float = 0.1) -> Path:
    """Cumulative error curves: the share of faces at or below each error.

    Args:
        path: The PNG to write.
        named: Scores by name.
        limit: Largest error as a share of the normaliser.
    """
    curves = {}
    for name, scores in named.items():
        thresholds, share = cumulative_curve(scores.per_face, limit)
        curves[name] = ((100 * thresholds).tolist(), (100 * share).tolist())
    norm = next(iter(named.values())).normalise_by
    return plot_curves(
        path, curves, x_label=f"mean error of a face (% of {norm})", y_label="faces at or below it (%)"
    )


def plot_landmark_errors(path: Path, named: Mapping[str, LandmarkScores]) -> Path:
    """A heat table: the mean error of every landmark, one row for each name.

    Args:
        path: The PNG to write.
        named: Scores by name, all in one scheme.
    """
    layout = next(iter(named.values())).layout
    values = torch.stack([100 * scores.errors.nanmean(0) for scores in named.values()])
    figure = Figure(figsize=(max(5.0, 0.12 * len(layout) + 2), 0.35 * len(named) + 1.6), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(np.asarray(values), aspect="auto", cmap="inferno", vmin=0)
    axes.set_yticks(range(len(named)), list(named))
    step = max(1, len(layout) // 20)
    axes.set_xticks(range(0, len(layout), step), [str(k) for k in range(0, len(layout), step)])
    axes.set_xlabel(f"landmark of scheme {layout.name}")
    norm = next(iter(named.values())).normalise_by
    figure.colorbar(shown, ax=axes, label=f"mean error (% of {norm})")
    numbers = {"landmarks": layout.names, "errors_percent": dict(zip(named, values.tolist(), strict=True))}
    return save_figure(figure, path, numbers)


def write_landmark_tables(scores: LandmarkScores, folder: Path, area: AreaRule = "exact") -> list[Path]:
    """Write ``subsets.txt`` and ``.json``, ``cumulative.png``, ``landmarks.png`` and ``faces.csv`` into a folder.

    Args:
        scores: Errors of all faces.
        folder: Where to write.
        area: How the area under the cumulative curve is taken.
    """
    named = by_subset(scores)
    table = subset_table(scores, area)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    text, data, faces = folder / "subsets.txt", folder / "subsets.json", folder / "faces.csv"
    write_text(text, table.to_text() + "\n")
    write_text(data, json.dumps(jsonable(rows), indent=1) + "\n")
    lines = [
        f'"{name}",{error:.6g}' for name, error in zip(scores.ids, scores.per_face.tolist(), strict=True)
    ]
    write_text(faces, "\n".join(["id,error", *lines]) + "\n")
    return [
        text,
        data,
        faces,
        plot_cumulative(folder / "cumulative.png", named),
        plot_landmark_errors(folder / "landmarks.png", named),
    ]

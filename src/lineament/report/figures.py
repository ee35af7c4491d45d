"""Figures for runs and reports: drawn without a display, each a PNG with its numbers beside it as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from lineament.files import replacing, write_text

# Okabe and Ito's colours, told apart by people with any kind of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
PREDICTED, TRUE = "#ffd400", "#00b4ff"
DOTS_PER_INCH = 120


def save_figure(figure: Figure, path: Path, numbers: Any) -> Path:
    """Write a figure as PNG and, beside it, the numbers it shows as ``<name>.json``.

    Args:
        figure: What to write.
        path: A path that ends in ``.png``.
        numbers: JSON values; tensors and arrays become lists, numbers that are not finite become null.

    Returns:
        ``path``.
    """
    write_text(path.with_suffix(".json"), json.dumps(jsonable(numbers), indent=1) + "\n")
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        # No creation date or version: equal figures are equal files.
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path


def jsonable(value: Any) -> Any:
    """Return tensors and arrays as lists and numbers that JSON does not know as ``None``."""
    if isinstance(value, Tensor):
        return jsonable(value.detach().cpu().tolist())
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def plot_curves(
    path: Path,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    log_y: bool = False,
    lines: Mapping[str, float] | None = None,
) -> Path:
    """Draw curves over one pair of axes.

    Args:
        path: The PNG to write.
        curves: Name -> (x values, y values).
        x_label: With its unit.
        y_label: With its unit.
        title: Above the axes.
        log_y: True draws y in powers of ten, where all values are positive and span more than one.
        lines: Name -> y of horizontal lines to compare with, for example a baseline.
    """
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for colour, (name, (x, y)) in zip(_colours(len(curves)), curves.items(), strict=True):
        axes.plot(
            x, y, color=colour, label=name, marker="o" if len(x) < 30 else "", markersize=3, linewidth=1.4
        )
    for style, (name, level) in zip(("--", ":", "-.") * 9, (lines or {}).items(), strict=False):
        axes.axhline(level, color="#555555", linestyle=style, linewidth=1.2, label=name)
    values = [value for _, ys in curves.values() for value in ys]
    if log_y and values and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    if len(curves) + len(lines or {}) > 1:
        axes.legend(fontsize="small")
    numbers = {
        "curves": {name: {"x": list(x), "y": list(y)} for name, (x, y) in curves.items()},
        "lines": lines or {},
    }
    return save_figure(figure, path, {"x_label": x_label, "y_label": y_label, **numbers})


def draw_grid(
    path: Path,
    images: Sequence[Tensor],
    *,
    columns: int = 8,
    titles: Sequence[str] = (),
    predicted: Sequence[Tensor | None] = (),
    true: Sequence[Tensor | None] = (),
    numbers: Any = None,
    inches: float = 1.5,
) -> Path:
    """Draw images in a grid, each with its landmarks.

    Args:
        path: The PNG to write.
        images: ``[3, H, W]`` or ``[1, H, W]`` float in 0..1 each; sizes may differ.
        columns: Images in a row.
        titles: One per image, or none.
        predicted: ``[K, 2]`` xy pixels per image, or ``None``: drawn as yellow dots.
        true: The same for the truth: drawn as blue rings.
        numbers: Written beside the image; the landmarks are added to it.
        inches: Width of one image.
    """
    if not images:
        raise ValueError(f"no images to draw into {path}")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    tallest = max(image.shape[-2] / image.shape[-1] for image in images)
    engine = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    height = inches * tallest + (0.25 if titles else 0.05)
    figure = Figure(figsize=(max(columns * inches, 3.0), rows * height), layout=engine)
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in grid:
        axes.set_axis_off()
    for index, image in enumerate(images):
        axes = grid[index]
        show_image(axes, image)
        if index < len(true) and true[index] is not None:
            draw_points(axes, true[index], colour=TRUE, filled=False)  # type: ignore[arg-type]
        if index < len(predicted) and predicted[index] is not None:
            draw_points(axes, predicted[index], colour=PREDICTED)  # type: ignore[arg-type]
        if index < len(titles):
            axes.set_title(titles[index], fontsize=7, pad=2)
    written = {"numbers": numbers, "titles": list(titles), "predicted": list(predicted), "true": list(true)}
    return save_figure(figure, path, {key: value for key, value in written.items() if value})


def show_image(axes: Axes, image: Tensor) -> None:
    """Show ``[3, H, W]`` or ``[1, H, W]`` in 0..1 with pixel centres at integers."""
    pixels = image.detach().cpu().float().clamp(0, 1).permute(1, 2, 0).numpy()
    axes.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    axes.set_xlim(-0.5, image.shape[-1] - 0.5)
    axes.set_ylim(image.shape[-2] - 0.5, -0.5)


def draw_points(
    axes: Axes, points: Tensor, *, colour: str = PREDICTED, filled: bool = True, size: float = 8
) -> None:
    """Draw ``[K, 2]`` xy pixels as dots with a dark rim, or as rings; points that are not finite are left out."""
    kept = points.detach().cpu().float().reshape(-1, 2)
    kept = kept[torch.isfinite(kept).all(dim=1)]
    if filled:
        axes.scatter(kept[:, 0], kept[:, 1], s=size, c=colour, edgecolors="black", linewidths=0.4, zorder=3)
    else:
        axes.scatter(
            kept[:, 0], kept[:, 1], s=size * 2, facecolors="none", edgecolors=colour, linewidths=0.9, zorder=2
        )


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]

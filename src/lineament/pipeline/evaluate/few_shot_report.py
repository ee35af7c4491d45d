"""What a few-shot study found, as a table, a plot for each test set, and metric cards."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lineament.files import write_text
from lineament.metrics.card import MetricCard, over_seeds, write_cards
from lineament.pipeline.evaluate.few_shot import Cell, FewShotTestSet, errors_of
from lineament.pipeline.evaluate.few_shot_plan import VARIANTS, FewShotPlan
from lineament.report.figures import COLOURS, save_figure
from lineament.report.tables import Table


def write_few_shot(
    plan: FewShotPlan, cells: Sequence[Cell], test_sets: Sequence[FewShotTestSet], folder: Path
) -> list[Path]:
    """Write ``few-shot.md``, ``few-shot.png`` (with its numbers as json) and ``few-shot.cards.json``.

    Args:
        plan: What was compared.
        cells: Its cells; what was not measured stays empty.
        test_sets: What was measured on.
        folder: Where to write.

    Returns:
        The files.
    """
    text = folder / "few-shot.md"
    write_text(text, "\n".join(_markdown(few_shot_table(plan, cells, test_set)) for test_set in test_sets))
    cards = folder / "few-shot.cards.json"
    write_cards(few_shot_cards(plan, cells, test_sets), cards)
    return [text, plot_few_shot(folder / "few-shot.png", plan, cells, test_sets), cards]


def few_shot_table(plan: FewShotPlan, cells: Sequence[Cell], test_set: FewShotTestSet) -> Table:
    """One row for each variant, one column for each number of labels: mean and standard deviation over seeds.

    What was not measured is empty; where seeds are missing, their number is said.
    """
    columns = ["learnt by", *(_count(count, "label") for count in plan.counts)]
    units = ["", *[f"% of {test_set.normalise_by}"] * len(plan.counts)]
    table = Table(
        f"{test_set.title} ({len(test_set.source)} faces, {_count(len(plan.seeds), 'seed')})", columns, units
    )
    for variant in plan.variants:
        row = [errors_of(cells, variant, count, test_set.title) for count in plan.counts]
        table.add(VARIANTS[variant].title, *(_mean_text(errors, len(plan.seeds)) for errors in row))
    return table


def _mean_text(errors: Sequence[float], seeds: int) -> str:
    if not errors:
        return ""
    mean = f"{statistics.fmean(errors):.2f}"
    std = f" ± {statistics.pstdev(errors):.2f}" if len(errors) > 1 else ""
    return mean + std + (f" ({_count(len(errors), 'seed')})" if len(errors) < seeds else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _markdown(table: Table) -> str:
    lines = [f"**{table.title}**", "", f"| {' | '.join(table.headers())} |"]
    lines.append("|" + "---|" * len(table.columns))
    lines += [f"| {' | '.join(map(str, row))} |" for row in table.rows]
    return "\n".join(lines) + "\n"


def plot_few_shot(
    path: Path, plan: FewShotPlan, cells: Sequence[Cell], test_sets: Sequence[FewShotTestSet]
) -> Path:
    """Error against the number of labels, both logarithmic; bars show the standard deviation over seeds.

    Args:
        path: The PNG to write.
        plan: What was compared.
        cells: Its cells; what was not measured is left out.
        test_sets: One pair of axes each.
    """
    figure = Figure(figsize=(5.4 * len(test_sets) + 0.6, 4.2), layout="constrained")
    for axes, test_set in zip(figure.subplots(1, len(test_sets), squeeze=False)[0], test_sets, strict=True):
        for variant, colour in zip(plan.variants, COLOURS * len(plan.variants), strict=False):
            errors = {count: errors_of(cells, variant, count, test_set.title) for count in plan.counts}
            measured = {count: each for count, each in errors.items() if each}
            axes.errorbar(
                list(measured),
                [statistics.fmean(each) for each in measured.values()],
                yerr=[statistics.pstdev(each) for each in measured.values()] if len(plan.seeds) > 1 else None,
                color=colour,
                label=VARIANTS[variant].title,
                marker="o",
                markersize=4,
                linewidth=1.4,
                capsize=3,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(plan.counts, [str(count) for count in plan.counts])
        axes.minorticks_off()
        low, high = axes.get_ylim()
        ticks = [tick for tick in (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 80) if low <= tick <= high]
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("labelled faces")
        axes.set_ylabel(f"landmark error (% of {test_set.normalise_by})")
        axes.set_title(test_set.title, fontsize="medium")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    numbers = {
        "cells": [
            {"variant": cell.variant, "labels": cell.count, "seed": cell.seed, "errors": cell.errors}
            for cell in cells
        ]
    }
    return save_figure(figure, path, numbers)


def few_shot_cards(
    plan: FewShotPlan, cells: Sequence[Cell], test_sets: Sequence[FewShotTestSet]
) -> list[MetricCard]:
    """One card for each test set, variant and number of labels: the mean over seeds with its standard deviation."""
    cards = []
    for test_set in test_sets:
        for variant in plan.variants:
            for count in plan.counts:
                each = [
                    MetricCard(
                        name=f"{test_set.title}: {VARIANTS[variant].title}, {_count(count, 'label')}",
                        value=cell.errors[test_set.title],
                        unit=f"% of {test_set.normalise_by} distance",
                        definition="mean over faces of the mean distance of their landmarks from the truth",
                        normaliser=test_set.normalise_by,
                        protocol=f"labels drawn by the seed; test boxes jittered by {plan.box_jitter:g}",
                        count=len(test_set.source),
                        seed=cell.seed,
                        data=test_set.source.name,
                        fingerprint=test_set.source.fingerprint,
                    )
                    for cell in cells
                    if (cell.variant, cell.count) == (variant, count)
                ]
                if each:
                    cards.append(over_seeds(each) if len(each) > 1 else each[0])
    return cards

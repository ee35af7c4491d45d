"""What a few-shot study found, as a table, a plot for each set of judged faces, and metric cards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lineament.files import write_text
from lineament.metrics.card import MetricCard, over_seeds, write_cards
from lineament.pipeline.evaluate.few_shot import WAYS, Cell, FewShotPlan, Judge, over_seeds_of
from lineament.report.figures import COLOURS, save_figure
from lineament.report.tables import Table


def write_few_shot(
    plan: FewShotPlan, cells: Sequence[Cell], judges: Sequence[Judge], folder: Path
) -> list[Path]:
    """Write ``few-shot.md``, ``few-shot.png`` (with its numbers as json) and ``few-shot.cards.json``.

    Args:
        plan: What was compared.
        cells: All cells of the plan.
        judges: What was measured on.
        folder: Where to write.

    Returns:
        The files.
    """
    text = folder / "few-shot.md"
    write_text(text, "\n".join(_markdown(few_shot_table(plan, cells, judge)) for judge in judges))
    cards = folder / "few-shot.cards.json"
    write_cards(few_shot_cards(plan, cells, judges), cards)
    return [text, plot_few_shot(folder / "few-shot.png", plan, cells, judges), cards]


def few_shot_table(plan: FewShotPlan, cells: Sequence[Cell], judge: Judge) -> Table:
    """One row for each way, one column for each number of labels: mean over the seeds and their deviation."""
    columns = ["learnt by", *(_count(count, "label") for count in plan.counts)]
    units = ["", *[f"% of {judge.normalise_by}"] * len(plan.counts)]
    table = Table(
        f"{judge.title} ({len(judge.source)} faces, {_count(len(plan.seeds), 'seed')})", columns, units
    )
    for way in plan.ways:
        row = [over_seeds_of(cells, way, count, judge.title) for count in plan.counts]
        several = len(plan.seeds) > 1
        texts = [f"{mean:.2f} ± {deviation:.2f}" if several else f"{mean:.2f}" for mean, deviation in row]
        table.add(WAYS[way].title, *texts)
    return table


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _markdown(table: Table) -> str:
    lines = [f"**{table.title}**", "", f"| {' | '.join(table.headers())} |"]
    lines.append("|" + "---|" * len(table.columns))
    lines += [f"| {' | '.join(map(str, row))} |" for row in table.rows]
    return "\n".join(lines) + "\n"


def plot_few_shot(path: Path, plan: FewShotPlan, cells: Sequence[Cell], judges: Sequence[Judge]) -> Path:
    """Error against the number of labels, both logarithmic; bars show the deviation over seeds.

    Args:
        path: The PNG to write.
        plan: What was compared.
        cells: All cells of the plan.
        judges: One pair of axes each.
    """
    figure = Figure(figsize=(5.4 * len(judges) + 0.6, 4.2), layout="constrained")
    for axes, judge in zip(figure.subplots(1, len(judges), squeeze=False)[0], judges, strict=True):
        for way, colour in zip(plan.ways, COLOURS * len(plan.ways), strict=False):
            points = [over_seeds_of(cells, way, count, judge.title) for count in plan.counts]
            means, deviations = zip(*points, strict=True)
            axes.errorbar(
                plan.counts,
                means,
                yerr=deviations if len(plan.seeds) > 1 else None,
                color=colour,
                label=WAYS[way].title,
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
        axes.set_ylabel(f"landmark error (% of {judge.normalise_by})")
        axes.set_title(judge.title, fontsize="medium")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    numbers = {
        "cells": [
            {"way": cell.way, "labels": cell.count, "seed": cell.seed, "errors": cell.errors}
            for cell in cells
        ]
    }
    return save_figure(figure, path, numbers)


def few_shot_cards(plan: FewShotPlan, cells: Sequence[Cell], judges: Sequence[Judge]) -> list[MetricCard]:
    """One card for each judge, way and number of labels: the mean over seeds with its deviation."""
    cards = []
    for judge in judges:
        for way in plan.ways:
            for count in plan.counts:
                each = [
                    MetricCard(
                        name=f"{judge.title}: {WAYS[way].title}, {_count(count, 'label')}",
                        value=cell.errors[judge.title],
                        unit=f"% of {judge.normalise_by} distance",
                        definition="mean over faces of the mean distance of their landmarks from the truth",
                        normaliser=judge.normalise_by,
                        protocol=f"labels drawn by the seed; judged boxes jittered by {plan.box_jitter:g}",
                        count=len(judge.source),
                        seed=cell.seed,
                        data=judge.source.name,
                        fingerprint=judge.source.fingerprint,
                    )
                    for cell in cells
                    if (cell.way, cell.count) == (way, count)
                ]
                cards.append(over_seeds(each) if len(each) > 1 else each[0])
    return cards

"""The report of a run: key images, learning curves, evaluation table, provenance."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from lineament.report.figures import plot_curves
from lineament.report.html import Report
from lineament.report.tables import Table
from lineament.training.config import config_to_dict
from lineament.training.logs import read_lines
from lineament.training.registry import get_recipe, recipes
from lineament.training.run import Run

# More points than this make a curve no clearer, only slower to draw.
MOST_POINTS = 400


def write_run_report(run: Run) -> Path:
    """Write ``report.html`` from what lies in the run directory, and return its path."""
    train_lines, evaluations = run.metrics("train"), run.metrics("evaluation")
    done = train_lines[-1]["step"] if train_lines else 0
    report = Report(run.recipe, f"Method {run.method}: {done} of {run.config['steps']} steps trained.")
    command = train_command(run)
    _add_images(report, run, command)
    report.section("Learning curves")
    for path, caption in _draw_curves(run, train_lines, evaluations):
        report.image(path, caption, command=command)
    if evaluations:
        report.section("Evaluation")
        report.table(_evaluation_table(evaluations))
    report.section("How it was made")
    report.command(command)
    report.facts("Provenance", _provenance(run, done))
    report.facts("Configuration", run.config)
    return report.write(run.report)


def train_command(run: Run) -> str:
    """Return a command line that trains the run anew.

    Fields that have the value of the recipe or its preset are left out, and so are those that the base decided.
    """
    defaults: dict[str, Any] = {}
    words = ["lineament", "train", run.recipe]
    if run.recipe in recipes():
        defaults = config_to_dict(get_recipe(run.recipe).config(run.preset))
    if run.preset:
        words += ["--preset", run.preset]
    for flag, given in (("--data", run.data), ("--validation", run.validation)):
        if given:
            words += [flag, *given]
    words += ["--run", str(run.folder)]
    if run.precision != "32-true":
        words += ["--precision", run.precision]
    for name, value in run.config.items():
        if name in run.inherited or (name in defaults and defaults[name] == value):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return " ".join(shlex.quote(word) for word in words)


def _add_images(report: Report, run: Run, command: str) -> None:
    folders = sorted((run.folder / "figures").glob("[0-9]*"))
    if not folders:
        return
    step = int(folders[-1].name)
    for path in sorted(folders[-1].glob("*.png")):
        name = path.stem.replace("_", " ").replace("-", " ")
        report.image(path, f"{name[:1].upper()}{name[1:]}, after {step} steps.", command=command)


def _draw_curves(
    run: Run, train_lines: list[dict[str, Any]], evaluations: list[dict[str, Any]]
) -> list[tuple[Path, str]]:
    folder = run.folder / "figures" / "curves"
    drawn = []
    losses = _curves(train_lines)
    if losses:
        path = folder / "training.png"
        plot_curves(path, losses, x_label="step", y_label="training value", title="Training", log_y=True)
        drawn.append((path, "Training values by step (means over neighbouring steps)."))
    for name, curve in _curves(evaluations).items():
        path = folder / f"evaluation_{name.replace('/', '_')}.png"
        plot_curves(path, {name: curve}, x_label="step", y_label=name, title="Evaluation")
        drawn.append((path, f"Evaluation by step: {name}."))
    return drawn


def _curves(lines: list[dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Collect every value by name over steps, averaged over runs of steps where there are many."""
    names = list(dict.fromkeys(key for line in lines for key in line))
    curves = {}
    for name in names:
        if name in ("step", "kind") or name.startswith("learning_rate/"):
            continue
        points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        run_length = math.ceil(len(points) / MOST_POINTS)
        chunks = [points[i : i + run_length] for i in range(0, len(points), max(run_length, 1))]
        if chunks:
            curves[name] = (
                [float(chunk[-1][0]) for chunk in chunks],
                [sum(value for _, value in chunk) / len(chunk) for chunk in chunks],
            )
    return curves


def _evaluation_table(evaluations: list[dict[str, Any]]) -> Table:
    names = [
        key
        for key in dict.fromkeys(key for line in evaluations for key in line)
        if key not in ("step", "kind")
    ]
    table = Table("Evaluation by step", ("step", *names))
    for line in evaluations[-20:]:
        table.add(line["step"], *(line.get(name) for name in names))
    return table


def _provenance(run: Run, done: int) -> dict[str, object]:
    sessions = run.environment()
    last = sessions[-1] if sessions else {}
    timing = read_lines(run.folder / "timing.jsonl")
    facts: dict[str, object] = {
        "recipe": run.recipe,
        "seed": run.config.get("seed"),
        "steps": done,
        "samples seen": done * int(run.config["batch_size"]),
        "data": ", ".join(run.data) or "given in Python",
        "validation": ", ".join(run.validation) or "none given: the training data",
        "precision": run.precision,
        "sessions": len(sessions),
    }
    for key in (
        "data_name",
        "data_samples",
        "data_fingerprint",
        "commit",
        "lineament",
        "torch",
        "python",
        "device",
    ):
        facts[key.replace("_", " ")] = last.get(key)
    if timing:
        facts["speed"] = f"{timing[-1]['samples_per_second']:.1f} samples/s"
    return facts

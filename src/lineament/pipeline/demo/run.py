"""The demo: learn without labels, show a few labelled faces, read a real photo, write a report."""

from __future__ import annotations

from pathlib import Path

from lineament.errors import LineamentError
from lineament.pipeline.demo.report import DemoReport, write_demo_report
from lineament.pipeline.demo.training import PLANS, DemoPlan, train_demo
from lineament.progress import Progress


def plan_named(*, real: bool, tiny: bool) -> DemoPlan:
    """Return one of the four plans: on built-in faces or real data, whole or only a few steps."""
    return PLANS[("real-tiny" if tiny else "real") if real else ("tiny" if tiny else "full")]


def run_demo(
    plan: DemoPlan,
    out: Path,
    *,
    seed: int,
    packs: Path | None,
    progress: Progress,
    overwrite: bool,
    command: str,
) -> DemoReport:
    """Train, measure, draw, and write ``out/report.html``.

    Args:
        plan: How much of everything.
        out: Folder for the runs ``descriptors`` and ``landmarks``, the figures, the cards and the report.
        seed: Seed of faces, training and measurements.
        packs: Folder of the real data packs, or None for built-in faces alone.
        progress: Shows how far the drawing and detecting is.
        overwrite: Replace an older demo in ``out``.
        command: The command line, for the report.

    Returns:
        The report, and how well the model did on the real photo.

    Raises:
        LineamentError: If ``out`` is in use and ``overwrite`` is False.
        DataError: If the packs lack what is needed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise LineamentError(
            f"the folder {out} is not empty: choose another with --out, or give --overwrite."
        )
    result = train_demo(plan, out, seed=seed, packs=packs, progress=progress, overwrite=overwrite)
    return write_demo_report(result, plan, out, command=command)

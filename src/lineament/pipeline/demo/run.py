"""The demo: a real photo with the shipped model, then learning without labels and from few; writes a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lineament.errors import LineamentError
from lineament.pipeline.demo.photo import ABSENT, PHOTO, mark_photo
from lineament.pipeline.demo.report import DemoReport, write_demo_report
from lineament.pipeline.demo.training import PLANS, DemoPlan, train_demo
from lineament.pipeline.evaluate.portraits import portrait_pack
from lineament.progress import Progress

# What a demo writes into its folder beside the runs, and the images in `figures`, each with its numbers.
FILES = ("report.html", "cards.json", "few-shot.cards.json", "photo.json")
FIGURES = (
    PHOTO,
    "photo",
    "photo-trained",
    "loss",
    "matching",
    "descriptors",
    "other",
    "match",
    "few-shot",
    "unseen",
    "portraits",
)


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
    tell: Callable[[str], None] = lambda _: None,
) -> DemoReport:
    """Mark the photo with the shipped model; then train, measure, draw, and write ``out/report.html``.

    Args:
        plan: How much of everything.
        out: Folder for the runs ``descriptors`` and ``landmarks``, the figures, the cards and the report.
        seed: Seed of faces, training and measurements.
        packs: Folder of the real data packs, or None for built-in faces alone.
        progress: Shows how far the drawing and detecting is.
        overwrite: Replace an older demo in ``out``.
        command: The command line, for the report.
        tell: Gets the sentence about the shipped model on the photo, seconds after the start.

    Returns:
        The report, and how well the landmarks trained here did on the real photo.

    Raises:
        LineamentError: If ``out`` is in use and ``overwrite`` is False.
        DataError: If the packs lack what is needed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not overwrite:
        raise LineamentError(
            f"the folder {out} is not empty: choose another with --out, or give --overwrite."
        )
    if packs is not None:
        # Missing packs are told before anything is written.
        portrait_pack(packs)
    if overwrite:
        clear_demo(out)
    shipped = mark_photo(out / "figures")
    tell(ABSENT if shipped is None else shipped.sentence)
    if shipped is not None and shipped.path is not None:
        tell(str(shipped.path))
    result = train_demo(plan, out, seed=seed, packs=packs, progress=progress, overwrite=overwrite)
    return write_demo_report(result, plan, out, command=command, shipped=shipped)


def clear_demo(out: Path) -> None:
    """Remove the page, cards and figures of an older demo, and nothing else that may lie in its folder.

    A new one writes fewer where it has no portraits, no shipped model, or landmarks that fail on the photo; its runs
    replace the older ones as they are trained.
    """
    for name in FILES:
        (out / name).unlink(missing_ok=True)
    for name in FIGURES:
        for ending in (".png", ".json"):
            (out / "figures" / f"{name}{ending}").unlink(missing_ok=True)

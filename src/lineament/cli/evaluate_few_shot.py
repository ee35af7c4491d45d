"""`lineament evaluate few-shot`: landmark error against the number of labels, for several variants of learning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lineament.cli.parse import parse


@dataclass
class Command:
    """Learn landmarks from few labels in several variants, and show how the error falls with their number.

    Every variant sees the same labelled faces. Writes a table, a plot and metric cards; an interrupted study is simply
    repeated and goes on with the models that are missing. Example:
    `lineament evaluate few-shot --fabrec runs/faces --data labelled/ --unlabelled photos/ --test test/ --out study/`.
    """

    # Labelled faces that the labels are drawn from: a folder, NAME:FOLDER, NAME?option=value.
    data: str
    # Test set of labelled faces; people of the data above should not be among them.
    test: str
    # Folder for table, plot, cards.
    out: Path
    # Run of fabrec-ae to build on.
    fabrec: Path | None = None
    # Run of descriptors to build on (dve-modern, dve-smallnet-64d ...).
    dve: Path | None = None
    # Faces whose labels are not seen, for variants that learn from such faces too (fabrec-modern); several are joined.
    unlabelled: tuple[str, ...] = ()
    # Portraits without labels (the folder of a portrait pack): disagreement with the detector's five points.
    portraits: Path | None = None
    # Numbers of labelled faces.
    counts: tuple[int, ...] = (1, 5, 10, 50, 500)
    # Seeds; each draws other labels.
    seeds: tuple[int, ...] = (0, 1, 2)
    # Variants: fabrec, fabrec-tuned, fabrec-modern, fabrec-faithful, supervised, dve, no-autoencoder,
    # no-unlabelled, plain; when left out, those of the runs given (supervised: of the fabrec run, fabrec-modern: where
    # --unlabelled is given too), without the last three.
    variants: tuple[str, ...] = ()
    # Steps of the variants that learn by gradient descent.
    steps: int = 750
    # Learning rate of those variants; 0 leaves each recipe's own, made for its default steps.
    rate: float = 0.0
    # Move and scale each test box by up to this share of its side.
    box_jitter: float = 0.0
    # Where the models run: cpu or cuda.
    device: str = "cpu"


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "evaluate few-shot", arguments)
    from lineament.data.cache import WITHOUT_MAPS, CachedSource
    from lineament.data.registry import open_data
    from lineament.errors import UsageError
    from lineament.pipeline.evaluate.few_shot import (
        FewShotPlan,
        FewShotTestSet,
        default_variants,
        run_few_shot,
    )
    from lineament.pipeline.evaluate.few_shot_report import write_few_shot
    from lineament.pipeline.evaluate.portraits import portrait_test_set
    from lineament.progress import progress
    from lineament.training.sources import open_joined

    if not 0 <= command.box_jitter < 1:
        raise UsageError(f"--box-jitter lies in 0..1, not {command.box_jitter}.")
    bases = {name: run for name, run in (("fabrec", command.fabrec), ("dve", command.dve)) if run is not None}
    variants = command.variants or default_variants(bases, bool(command.unlabelled))
    plan = FewShotPlan(
        command.counts, command.seeds, variants, command.steps, command.rate, command.box_jitter
    )
    labelled, test = (
        CachedSource(open_data(text), fields=WITHOUT_MAPS) for text in (command.data, command.test)
    )
    unlabelled = (
        CachedSource(open_joined(command.unlabelled), fields=WITHOUT_MAPS) if command.unlabelled else None
    )
    test_sets = [FewShotTestSet(f"unseen faces of {test.name}", test)]
    if command.portraits:
        test_set = portrait_test_set(command.portraits, progress)
        test_sets.append(
            FewShotTestSet("disagreement with the detector on portraits", test_set, "5", "inter-pupil")
        )
    cells = run_few_shot(
        plan,
        bases,
        labelled,
        test_sets,
        command.out,
        unlabelled=unlabelled,
        progress=progress,
        device=command.device,
    )
    written = write_few_shot(plan, cells, test_sets, command.out)
    print(written[0].read_text(encoding="utf-8"), end="")
    print(f"wrote {', '.join(map(str, written))}")
    return 0

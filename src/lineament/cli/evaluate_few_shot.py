"""`lineament evaluate few-shot`: landmark error against the number of labels, for several variants of learning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lineament.cli.parse import parse
from lineament.pipeline.evaluate.few_shot_plan import FewShotPlan


@dataclass
class Command:
    """Learn landmarks from few labels in several variants, and show how the error falls with their number.

    Every variant sees the same labelled faces; those on --landmarks learn the scheme that the labels have. Writes a
    table, a plot and metric cards; an interrupted study is simply repeated and goes on with the models that are
    missing, and other --counts, --seeds and --variants add to what is in --out. Example:
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
    # Run or model of `landmarks` to build on (face-68).
    landmarks: Path | None = None
    # Faces whose labels are not seen, for variants that learn from such faces too (fabrec-modern); several are joined.
    unlabelled: tuple[str, ...] = ()
    # Portraits without labels (the folder of a portrait pack): disagreement with the detector's five points.
    portraits: Path | None = None
    # What is compared.
    study: FewShotPlan = field(default_factory=FewShotPlan)
    # Where the models run: cpu or cuda.
    device: str = "cpu"
    # Measure again what was measured with other settings; without it such results are refused.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "evaluate few-shot", arguments)
    from lineament.data.cache import WITHOUT_MAPS, CachedSource
    from lineament.data.registry import open_data
    from lineament.faces.normalisers import usual_normaliser
    from lineament.pipeline.evaluate.few_shot import FewShotTestSet, covering, read_cells, run_few_shot
    from lineament.pipeline.evaluate.few_shot_report import write_few_shot
    from lineament.pipeline.evaluate.portraits import portrait_test_set
    from lineament.progress import progress
    from lineament.training.sources import open_joined

    given = {"fabrec": command.fabrec, "dve": command.dve, "landmarks": command.landmarks}
    bases = {name: run for name, run in given.items() if run is not None}
    plan = command.study.settled(bases, bool(command.unlabelled))
    labelled, test = (
        CachedSource(open_data(text), fields=WITHOUT_MAPS) for text in (command.data, command.test)
    )
    unlabelled = (
        CachedSource(open_joined(command.unlabelled), fields=WITHOUT_MAPS) if command.unlabelled else None
    )
    which = test[0].scheme
    usual = {} if which is None else {"normalise_by": usual_normaliser(which)}
    test_sets = [FewShotTestSet(f"unseen faces of {test.name}", test, **usual)]
    if command.portraits:
        test_set = portrait_test_set(command.portraits, progress)
        test_sets.append(
            FewShotTestSet("disagreement with the detector on portraits", test_set, "5", "inter-pupil")
        )
    run_few_shot(
        plan,
        bases,
        labelled,
        test_sets,
        command.out,
        unlabelled=unlabelled,
        progress=progress,
        device=command.device,
        overwrite=command.overwrite,
    )
    cells = read_cells(command.out)
    written = write_few_shot(covering(plan, cells), cells, test_sets, command.out)
    print(written[0].read_text(encoding="utf-8"), end="")
    print(f"wrote {', '.join(map(str, written))}")
    return 0

"""Checks the folder tree of GMPI's published program: what each of its data sets has, lacks, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lineament.data.readers.afhq import LABELS
from lineament.data.records import RecordSource
from lineament.data.registry import open_source
from lineament.errors import DataError
from lineament.methods.gmpi.datasets import BASE_FILES, SCENES
from lineament.methods.gmpi.pose_formats import FAIL_LIST, read_coefficient_file, stem
from lineament.methods.gmpi.published_layout import published_layout, read_fail_list
from lineament.methods.gmpi.recipes import CURRICULA
from lineament.methods.gmpi.recipes import PLACE as RUNTIME
from lineament.pipeline.prepare.published_options import PAPER

NETWORKS = "ckpts/stylegan2_pretrained"
# Networks that were trained for others to begin with are in a folder of their own.
_TRANSFER = "transfer-learning-source-nets"
# Images of the published archives of FFHQ; the numbers of the other data sets are not told for sure.
_FFHQ = 70_000
# Faults of one kind that are named.
_SHOWN = 3


@dataclass(frozen=True)
class PublishedSet:
    """A data set of the published program.

    Attributes:
        recipe: That trains on it.
        reader: Reader of its images.
        images: Its zip archive or folder in ``runtime_dataset``.
        network: The StyleGAN2 that its training begins with.
        side: Of its images, in pixels.
        count: Images that the published set has; None where it is not known for sure.
    """

    recipe: str
    reader: str
    images: str
    network: str
    side: int
    count: int | None


def published_sets() -> list[PublishedSet]:
    """The five data sets of the paper."""
    sets = []
    for name, curriculum in CURRICULA.items():
        reader, images = curriculum.images
        is_ffhq = reader == "ffhq"
        folder = f"{NETWORKS}/{_TRANSFER}" if is_ffhq else NETWORKS
        sets.append(
            PublishedSet(
                f"gmpi-{name}",
                reader,
                images,
                f"{folder}/{BASE_FILES[name]}",
                SCENES[name].resolution,
                _FFHQ if is_ffhq else None,
            )
        )
    return sets


@dataclass
class SetReport:
    """What the tree has of one data set.

    Attributes:
        name: Of the recipe that trains on it.
        there: What was found, for people.
        lacking: Files and folders that are not there, as the tree names them.
        faults: What is wrong with those that are there.
        started: Whether images or poses are there.
    """

    name: str
    there: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    started: bool = False

    def lines(self) -> list[str]:
        """Say it, the first line with the state."""
        state = (
            "faulty"
            if self.faults
            else "absent"
            if not self.started
            else "lacking"
            if self.lacking
            else "ready"
        )
        lines = [f"{state:8} {self.name:13} {'; '.join(self.there)}".rstrip()]
        if self.started:
            lines += [f"{'':8} lacks {path}" for path in self.lacking]
        return lines + [f"{'':8} {fault}" for fault in self.faults]


def check_tree(root: Path, advance: Callable[[], None] = lambda: None) -> list[SetReport]:
    """Look at every data set of the tree; images are not decoded, all poses are read.

    Args:
        root: The folder with ``ckpts`` and ``runtime_dataset``, or ``runtime_dataset`` itself.
        advance: Called after each data set.

    Raises:
        DataError: If nothing of the tree is there.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: give the one that holds {RUNTIME}.")
    runtime = root / RUNTIME if (root / RUNTIME).is_dir() else root
    top = root if runtime != root else root.parent
    reports, sets = [], published_sets()
    for published in sets:
        reports.append(_check_set(published, runtime, top))
        advance()
    if not any(report.started for report in reports):
        named = ", ".join(published.images for published in sets)
        raise DataError(
            f"{root} holds none of {named}: give the folder that holds {RUNTIME}, or that folder."
        )
    return reports


def _check_set(published: PublishedSet, runtime: Path, top: Path) -> SetReport:
    report = SetReport(published.recipe)
    images, side = runtime / published.images, published.side
    layout = published_layout(published.reader, side, runtime, PAPER.detector)
    has_poses = published.reader != "afhqcat"
    report.started = images.exists() or (has_poses and layout.poses.exists())
    source: RecordSource | None = None
    if images.exists():
        source = _open(published, images, side, report)
    else:
        report.lacking.append(f"{RUNTIME}/{published.images}")
    if has_poses and not layout.coefficients.is_dir():
        report.lacking.append(f"{RUNTIME}/{layout.coefficients.relative_to(runtime)}")
    elif has_poses:
        failed = read_fail_list(layout.unposed)
        if not layout.unposed.is_file():
            report.lacking.append(f"{RUNTIME}/{layout.poses.name}/{FAIL_LIST}")
        _check_poses(layout.coefficients, failed, source, report)
    network = top / published.network
    if not network.is_file():
        report.lacking.append(published.network)
    else:
        with network.open("rb") as file:
            if file.read(1) == b"\x80":
                report.there.append("its StyleGAN2")
            else:
                report.faults.append(f"{published.network} is no pickle of StyleGAN2-ADA: fetch it again")
    return report


def _open(published: PublishedSet, images: Path, side: int, report: SetReport) -> RecordSource | None:
    """The images, where they can be opened."""
    options = {"flips": "needed"} if published.reader == "metfaces" else {}
    try:
        source = open_source(published.reader, images, rejects="none", **options)
    except DataError as error:
        report.faults.append(str(error).rstrip("."))
        return None
    assert isinstance(source, RecordSource)
    count = f"{len(source):,} images"
    if published.count and len(source) != published.count:
        count += f" of the {published.count:,} that were published"
    report.there.append(count)
    found = source.kind_of(0).width
    if found != side:
        report.faults.append(f"{published.images} holds images of {found} px, not {side}")
    bad = {record.id: record.fault for record in source.records if record.fault}
    _count(report, bad, f"of its images cannot be used ({LABELS} or flips)")
    return source


def _check_poses(folder: Path, failed: list[str], source: RecordSource | None, report: SetReport) -> None:
    """Every image has a pose or stands on the list of failures; every pose can be read."""
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.mat")}
    damaged: dict[str, str] = {}
    for name in sorted(files):
        try:
            read_coefficient_file(files[name])
        except DataError as error:
            damaged[name] = str(error).rstrip(".")
    report.there.append(f"{len(files):,} poses, {len(failed):,} failures")
    _count(report, damaged, "poses cannot be read")
    if source is None:
        return
    names = {stem(record.id): record.id for record in source.records}
    listed = {each for name in failed for each in (name, stem(name))}
    without = sorted(
        name for key, name in names.items() if key not in files and listed.isdisjoint((key, name))
    )
    _count(report, dict.fromkeys(without, f"has no pose and is not in {FAIL_LIST}"), "images have no pose")
    _count(
        report,
        dict.fromkeys(sorted(files.keys() - names.keys()), "belongs to no image"),
        "poses have no image",
    )


def _count(report: SetReport, bad: dict[str, str], what: str) -> None:
    if bad:
        shown = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:_SHOWN])
        more = f"; and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        report.faults.append(f"{len(bad):,} {what} ({shown}{more})")

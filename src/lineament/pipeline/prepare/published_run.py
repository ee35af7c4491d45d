"""Landmarks and camera poses of FFHQ and MetFaces in the layout of GMPI's published preparation (docs/methods/gmpi.md).

The published chain needs three environments and is moved by hand from one to the next; here it is one command that may
be interrupted at any moment. What another program left in the layout is read and never replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from lineament.data.cache_format import file_sha256
from lineament.data.registry import open_source
from lineament.data.sample import FaceSource
from lineament.data.subset import sample_digest, sample_id, sample_kind
from lineament.errors import DataError, LineamentError
from lineament.methods.gmpi.pose_formats import stem
from lineament.methods.gmpi.published_layout import (
    PublishedLayout,
    published_layout,
    read_fail_list,
    write_fail_list,
    write_pose_table,
)
from lineament.parallel import ordered_map
from lineament.pipeline.predict.results import run_digest
from lineament.pipeline.prepare.files import LEFT_OUT, write_left_out
from lineament.pipeline.prepare.flips import write_flips
from lineament.pipeline.prepare.options import PosedOptions, PrepareOptions
from lineament.pipeline.prepare.published import FoundPose, PoseFinder
from lineament.pipeline.prepare.published_files import Journal, claimed, take_stock
from lineament.pipeline.prepare.published_options import PublishedOptions
from lineament.progress import Progress, silent

CHUNK = 8
AGAIN = "run the same command again, it goes on where it stopped"
# Of our landmarks and head, and of the network, as the table says it.
MADE_BY = {"head": "head fit", "deep3d": "deep3d", "none": "detector"}


@dataclass
class PublishedReport:
    """What a run did.

    Attributes:
        data: The images, as ``--data`` takes them.
        layout: Where the results are.
        poses: What poses come from: ``deep3d``, ``head`` or ``none``.
        images: Images of the data set.
        skipped: Those that were done before.
        read: Those that another program had done.
        done: Images with a pose (with landmarks, where no poses were asked for).
        left_out: Kind of reason -> images.
        flips: Flips that were written; None where the data set has none.
    """

    data: str
    layout: PublishedLayout
    poses: str
    images: int
    skipped: int
    read: int
    done: int
    left_out: Counter[str] = field(default_factory=Counter)
    flips: int | None = None

    def summary(self) -> str:
        """Say the result in a few lines."""
        what, where = ("landmarks", self.layout.results)
        if self.poses != "none":
            what, where = "poses", self.layout.coefficients
        lines = [f"{self.done} of {self.images} images have {what}: {where}"]
        if self.flips is not None:
            lines.insert(0, f"wrote {self.flips} flips to {self.data.partition(':')[2]}")
        if self.read:
            lines.append(f"{self.read} were read from files of another program")
        if self.skipped:
            lines.append(f"{self.skipped} were done before")
        if self.left_out:
            shown = ", ".join(f"{count} {kind}" for kind, count in self.left_out.most_common())
            home = self.layout.detections if self.poses == "none" else self.layout.poses
            lines.append(f"left out {self.left_out.total()} ({shown}): {home / LEFT_OUT}")
        if self.poses == "none":
            lines.append(
                "poses: give --deep3d epoch_20.pth, or leave --preset paper out for poses of our own"
            )
        else:
            lines.append(f"to train: --data {self.data} --pose {self.layout.poses}")
        return "\n".join(lines)


def prepare_published(
    data_set: str,
    root: Path,
    out: Path,
    cutting: PrepareOptions,
    options: PublishedOptions,
    posed: PosedOptions | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> PublishedReport:
    """Find landmarks and poses of a published data set's images.

    Args:
        data_set: ``ffhq`` or ``metfaces``; the latter gets flips first.
        root: The zip archive or folder of images.
        out: The published ``runtime_dataset``, in which the results get their published names.
        cutting: Detector, smallest face, least score, and whether faces that are not upright are looked for.
        options: Which face counts, and what poses come from.
        posed: The landmark model, and how well a head must fit, where poses come from it.
        overwrite: Start again; what another program wrote stays.
        workers: Processes; the result does not depend on their number.
        progress: Shows progress.

    Raises:
        UsageError: On options that do not go together.
        CheckpointError: If weights cannot be read or do not fit.
        LineamentError: If the folder was prepared in another way, or cannot be written.
        DataError: If images are missing, files of another program are damaged, or no face can be used.
    """
    cutting = options.detection(cutting)
    cutting.check()
    posed = posed or PosedOptions()
    finder = PoseFinder(_Nothing(), cutting, options, posed, {})
    model = finder.open()
    try:
        if out.exists() and not out.is_dir():
            raise LineamentError(f"{out} is a file: name the folder for the results.")
        flips = write_flips(root, out, workers, AGAIN, progress) if data_set == "metfaces" else None
        images = root if flips is None else flips.folder
        options_of = {} if flips is None else {"flips": "needed"}
        source: FaceSource = open_source(data_set, images, **options_of)
        kind = sample_kind(source, 0)
        layout = published_layout(data_set, kind.width if kind else 0, out, cutting.detector)
        settings = _settings(source, cutting, options)
        if model is not None:
            settings |= {
                "landmark_model": run_digest(model.run.folder),
                "max_head_error": posed.max_head_error,
            }
        home = layout.detections if options.poses == "none" else layout.poses
        with claimed(home, settings, layout, overwrite):
            names = _names(source)
            digests = {name: sample_digest(source, index) for index, name in enumerate(names)}
            stock = take_stock(home, layout, digests, options.poses)
            rows = dict(stock.rows)
            todo = [index for index, name in enumerate(names) if name not in rows]
            known = {index: stock.points[names[index]] for index in todo if names[index] in stock.points}
            finder.source, finder.known = source, known
            journal = Journal(home, layout, names)

            def keep(index: int, found: FoundPose) -> None:
                name = names[index]
                rows[name] = journal.add(name, digests[name], found, MADE_BY[options.poses])

            try:
                with progress("finding faces and poses", len(names), "images", len(rows)) as step:
                    _search(finder, todo, workers, keep, step)
            finally:
                journal.close()
            _finish(home, layout, [rows[name] for name in names], options.poses)
    except OSError as error:
        raise LineamentError(
            f"cannot write the results in {out} ({error.strerror or error}): free some space or make it writable, then "
            f"{AGAIN}."
        ) from error
    reasons = [row["reason"].partition(":")[0] for row in rows.values() if row["reason"]]
    if len(reasons) == len(names):
        raise DataError(f"no image of {source.name} can be used: see {home / LEFT_OUT}.")
    return PublishedReport(
        f"{data_set}:{images}",
        layout,
        options.poses,
        len(names),
        len(stock.rows) - stock.read,
        stock.read,
        len(names) - len(reasons),
        Counter(reasons),
        None if flips is None else flips.written,
    )


def _search(
    finder: PoseFinder,
    todo: Sequence[int],
    workers: int,
    keep: Callable[[int, FoundPose], None],
    step: Callable[[], None],
) -> None:
    """Look at the images ``todo``, some at a time, and keep what is found in each, in their order."""
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    with ordered_map(finder, chunks, max(1, min(workers, len(chunks))), AGAIN) as results:
        for index, found in zip(todo, chain.from_iterable(results), strict=True):
            keep(index, found)
            step()


def _names(source: FaceSource) -> list[str]:
    """Names of the images; two that differ in their endings alone would share their files."""
    names = [sample_id(source, index) for index in range(len(source))]
    twice = [name for name, count in Counter(map(stem, names)).items() if count > 1]
    if twice:
        raise DataError(f"{source.name} holds two images called {twice[0]}: keep one of them.")
    return names


def _settings(source: FaceSource, cutting: PrepareOptions, options: PublishedOptions) -> dict[str, Any]:
    """All that decides landmarks and poses, as JSON holds it."""
    sought = {name: getattr(cutting, name) for name in ("detector", "min_face", "min_score", "upright")}
    weights = None if options.deep3d is None else file_sha256(options.deep3d)
    return {
        "source": source.name,
        **sought,
        "preset": asdict(options)["preset"],
        "poses": options.poses,
        "deep3d": weights,
    }


def _finish(home: Path, layout: PublishedLayout, rows: Sequence[Mapping[str, Any]], poses: str) -> None:
    """Write lists and table, each complete or as before."""
    write_left_out(home / LEFT_OUT, {row["name"]: row["reason"] for row in rows if row["reason"]})
    own = {row["name"] for row in rows}
    lists = [(layout.undetected, [row["name"] for row in rows if row["points"] is None and row["reason"]])]
    if poses != "none":
        lists.append((layout.unposed, [row["name"] for row in rows if row["reason"]]))
    for path, failed in lists:
        # Names of images that are not here belong to another part of the data set.
        others = [name for name in read_fail_list(path) if name not in own]
        if not (failed or path.parent.is_dir()):
            continue
        write_fail_list(path, [*failed, *others])
    if poses != "none":
        write_pose_table(layout.table, rows)


class _Nothing:
    """In place of the images, until they are there."""

    name = fingerprint = "nothing"

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Any:
        raise IndexError(index)

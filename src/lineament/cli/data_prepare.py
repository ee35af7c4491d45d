"""`lineament data prepare`: from photos to face crops."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from lineament.cli.parse import parse
from lineament.errors import UsageError
from lineament.pipeline.prepare.options import PosedOptions, PrepareOptions
from lineament.pipeline.prepare.published_options import DATA_SETS, PublishedOptions
from lineament.progress import progress


@dataclass
class Command:
    """Find the face in every photo, cut it out by a named rule, list what was left out and why.

    `3dfaw` is not cut out: its keypoints and depths become train.npz, valid.npz and test.npz, as DepthNets read them.

    `ffhq` and `metfaces` are cut out already. Found are the five landmarks and the camera of each image, written in
    the layout of GMPI's published preparation: .txt and .mat files, fail_list.txt, and poses.parquet. `metfaces` gets
    its flips first. --out is the published runtime_dataset; what is in it already is read. Example: `lineament data
    prepare ffhq runtime_dataset/ffhq256x256.zip --out runtime_dataset/`.

    With `--for gmpi` the result is what `lineament train gmpi-folder` reads: images cut by the crop ffhq, dataset.json
    with the camera of each, faces.csv with the angles, left_out.csv and poses.sheet.png. Example: `lineament data
    prepare folder photos/ --for gmpi --resolution 256 --out posed/`.

    Otherwise it writes shards/ (plain tar files of images), index.parquet (with the transform from each crop back to
    its photo), cache.json and left_out.csv. Running it again goes on where it stopped, does what is new or has
    changed, and repairs damaged shards. Examples: `lineament data prepare folder photos/ --out crops/`, `lineament
    data prepare celeba /data/celeba --split train --crop dve-celeba --out celeba70/`.
    """

    # A data set (see `lineament data list`); `folder` for a folder of photos.
    name: Positional[str]
    # Folder of the photos or data set.
    root: Positional[Path]
    # Folder to write.
    out: Path
    # Part of the data set; the first one when not given.
    split: str | None = None
    # How faces are found and cut out.
    cutting: PrepareOptions = field(default_factory=PrepareOptions)
    # What the result is for, where it is more than crops: gmpi.
    purpose: Annotated[Literal["gmpi"] | None, arg(name="for")] = None
    # What is made for it.
    posed: PosedOptions = field(default_factory=PosedOptions)
    # For ffhq and metfaces.
    published: PublishedOptions = field(default_factory=PublishedOptions)
    # Processes that read, search and cut.
    workers: int = 2
    # Start again: remove the crops of an older run.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "data prepare", arguments)
    from lineament.data.registry import open_source
    from lineament.pipeline.prepare.keypoints import prepare_keypoints
    from lineament.pipeline.prepare.posed_run import PosedReport, prepare_posed
    from lineament.pipeline.prepare.published_run import PublishedReport, prepare_published
    from lineament.pipeline.prepare.run import PrepareReport, prepare

    if command.workers < 1:
        raise UsageError(f"--workers must be at least 1, not {command.workers}.")
    command.cutting.check()
    _refuse_unused(command)
    if command.root.is_dir() and command.out.resolve().is_relative_to(command.root.resolve()):
        raise UsageError(
            f"{command.out} lies inside {command.root}: the crops would be read as photos next time, name "
            "a folder outside."
        )
    if command.name == "3dfaw":
        given = _changed(command.cutting, PrepareOptions())
        given += ["for"] if command.purpose else []
        given += ["split"] if command.split is not None else []
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"3dfaw is read and not cut out: leave out {flags}, which would change nothing.")
        print(prepare_keypoints(command.root, command.out, command.overwrite, progress))
        return 0
    out, cutting, workers = command.out, command.cutting, command.workers
    report: PrepareReport | PosedReport | PublishedReport
    try:
        if command.name in DATA_SETS:
            how = cutting, command.published, command.posed
            report = prepare_published(
                command.name, command.root, out, *how, command.overwrite, workers, progress
            )
        else:
            source = open_source(command.name, command.root, split=command.split)
            if command.purpose:
                report = prepare_posed(
                    source, out, cutting, command.posed, command.overwrite, workers, progress
                )
            else:
                report = prepare(source, out, cutting, command.overwrite, workers, progress)
    except KeyboardInterrupt:
        print("the same command goes on from here.", file=sys.stderr)
        raise
    print(report.summary())
    return 0


def _changed(options: object, default: object) -> list[str]:
    return [name for name, value in vars(options).items() if value != getattr(default, name)]


def _refuse_unused(command: Command) -> None:
    """Refuse options of the one purpose that would change nothing for the other."""
    sought = ("detector", "min_face", "min_score", "upright")
    if command.name in DATA_SETS:
        unused = [name for name in _changed(command.cutting, PrepareOptions()) if name not in sought]
        fitted = ("landmark_model", "max_head_error") if command.published.poses == "head" else ()
        unused += [name for name in _changed(command.posed, PosedOptions()) if name not in fitted]
        unused += ["for"] * bool(command.purpose) + ["split"] * (command.split is not None)
        why = f"changes nothing for {command.name}, whose images are cut out already"
    elif published := _changed(command.published, PublishedOptions()):
        unused, why = published, f"for {' and '.join(DATA_SETS)} alone"
    elif command.purpose is None:
        unused, why = _changed(command.posed, PosedOptions()), "for --for gmpi alone"
    else:
        given = replace(command.cutting, crop="box") if command.cutting.crop == "ffhq" else command.cutting
        unused = [name for name in _changed(given, PrepareOptions()) if name not in sought]
        why = "not for --for gmpi, whose faces are detected and cut by the crop ffhq"
        command.posed.check()
    if unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise UsageError(f"{flags}: {why}; leave it out.")

"""`lineament data prepare`: from photographs to face crops."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Find the face in every photograph, cut it out by a named rule, list what was left out and why.

    `3dfaw` is not cut out: its keypoints and depths become train.npz, valid.npz and test.npz, as DepthNets read them.

    Writes shards/ (plain tar files of pictures), index.parquet (with the transform from each crop back to its
    photograph), cache.json and left_out.csv. Running it again goes on where it stopped, does what is new or has
    changed, and repairs damaged shards. Examples: `lineament data prepare folder photos/ --out crops/`, `lineament
    data prepare celeba /data/celeba --split train --crop dve-celeba --out celeba70/`.
    """

    # A data set (see `lineament data list`); `folder` for a folder of photographs.
    name: Positional[str]
    # Folder of the photographs or data set.
    root: Positional[Path]
    # Folder to write.
    out: Path
    # Rule by which faces are cut out: box, dve-celeba, dve-hourglass, fabrec, ffhq, ...
    crop: str = "box"
    # Side of the crops in pixels; the published one of the rule when not given.
    size: int | None = None
    # What is kept around the crop on every side, as a share of its side, for random moves and other views of the face;
    # box keeps 0.15 when not given, fabrec the region that it moves, sqrt(2) times the crop.
    around: float | None = None
    # What fabrec grows a face box by above and below, as shares of its height; 0.05 0.10 when not given.
    margins: tuple[float, float] | None = None
    # auto: the rule may use landmarks, known or detected; box: by the face box alone.
    by: Literal["auto", "box"] = "auto"
    # main: the one face a portrait is of; all: every face found.
    faces: Literal["main", "all"] = "main"
    # Part of the data set; the first one when not given.
    split: str | None = None
    # Detector for photographs without a known face: mtcnn or lbp.
    detector: str = "mtcnn"
    # Detect faces even where the data set knows them.
    detect: bool = False
    # Smallest face, longer side of its box in pixels of the photograph.
    min_face: float = 20.0
    # Least confidence of a detected face, 0..1.
    min_score: float = 0.7
    # File format of the crops: webp and png lose nothing (webp is smaller and faster), jpg is a fourth of their size.
    format: Literal["webp", "png", "jpg"] = "webp"
    # Quality of jpg, 1 to 100.
    quality: int = 95
    # Processes that read, search and cut.
    workers: int = 2
    # Start again: remove the crops of an older run.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "data prepare", arguments)
    from lineament.data.registry import open_source
    from lineament.errors import UsageError
    from lineament.pipeline.prepare.run import PrepareOptions, prepare
    from lineament.pipeline.progress import progress

    if command.workers < 1 or (command.size is not None and command.size < 1) or command.min_face <= 0:
        raise UsageError("--workers, --size and --min-face must be positive.")
    if command.root.is_dir() and command.out.resolve().is_relative_to(command.root.resolve()):
        raise UsageError(
            f"{command.out} lies inside {command.root}: the crops would be read as photographs next time, name "
            "a folder outside."
        )
    if command.name == "3dfaw":
        from lineament.pipeline.prepare.keypoints import prepare_keypoints

        print(prepare_keypoints(command.root, command.out, command.overwrite, progress))
        return 0
    source = open_source(command.name, command.root, split=command.split)
    options = PrepareOptions(
        crop=command.crop,
        size=command.size,
        around=command.around,
        margins=command.margins,
        by=command.by,
        faces=command.faces,
        detector=command.detector,
        detect=command.detect,
        min_face=command.min_face,
        min_score=command.min_score,
        encoding=command.format,
        quality=command.quality,
    )
    try:
        report = prepare(source, command.out, options, command.overwrite, command.workers, progress)
    except KeyboardInterrupt:
        print("lineament: interrupted; the same command goes on from here.", file=sys.stderr)
        return 1
    print(report.summary())
    return 0

"""Trains a small GMPI from nothing on drawn faces or on the portraits of a data pack: what `make gmpi` runs.

Interrupted, the same command line goes on, the trainings at their last checkpoint. docs/methods/gmpi.md says what comes
of it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages import Record, Stage, make_all, pack_words

from lineament.packs import COLOUR, find_packs, packs_folder

# The cameras of the portrait world (docs/synthetic.md), which are known: yaw and pitch are drawn with these.
SCENE = (
    "--mean-pitch",
    "0.1571",
    "--yaw-std",
    "0.289",
    "--pitch-std",
    "0.127",
    "--truncation",
    "2",
    "--mirror",
)
# Few images, which the discriminator would know by heart; mirror images are among them.
FEW = ("--augment", "adaptive", "--no-mirror")


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        preset: Of both trainings.
        faces: Drawn faces to learn from, and others like them to compare with.
        side: Of all images in pixels.
        compared: Options of the evaluations.
        geometry: Those of GMPI's alone.
        drawn: Options of samples and videos.
        frames: Of a video.
    """

    preset: str
    faces: tuple[int, int]
    side: int
    compared: tuple[str, ...]
    geometry: tuple[str, ...]
    drawn: tuple[str, ...]
    frames: int


SIZES = {
    # Two cores, less than an hour and a half for each source of images.
    "full": Size("cpu64", (4000, 5000), 64, (), (), ("--seeds", "0..7", "--truncation", "0.7"), 100),
    # Shows that everything works, teaches nothing.
    "tiny": Size(
        "tiny", (8, 8), 16, ("--generated", "8", "--real", "0"), ("--people", "2"), ("--planes", "8"), 3
    ),
}


@dataclass(frozen=True)
class Source:
    """Images to learn from.

    Attributes:
        data: What `--data` says of those to learn from.
        poses: Where their cameras are.
        real: What `--data` says of those to compare with.
        scene: What is known of the cameras; the rest is estimated.
        base: Options of the base's training.
    """

    data: tuple[str, ...]
    poses: str
    real: str
    scene: tuple[str, ...] = ()
    base: tuple[str, ...] = ()


def drawn_faces(size: Size, out: Path, packs: Path | None, workers: int) -> tuple[list[Stage], Source]:
    """Drawn faces, whose cameras are known; of the ICT head where its pack is there."""
    head = ("--head", "builtin") if packs is None else ("--head", "ict", *pack_words(packs))
    stages = []
    for name, count, world in zip(("faces", "other-faces"), size.faces, (1, 2), strict=True):
        words = (
            "data",
            "synth",
            "--world",
            "portrait",
            *head,
            "--size",
            str(size.side),
            "--count",
            str(count),
        )
        words += ("--seed", str(world), "--sensor", "0", "--grey", "0", "--poses", "--out", str(out / name))
        stages.append(Stage(f"draw {name}", words, machine=("--workers", str(max(1, workers))), again=True))
    faces, others = (str(out / name / "images") for name in ("faces", "other-faces"))
    return stages, Source((faces,), faces, others, SCENE)


def colour_portraits(size: Size, out: Path, packs: Path | None, workers: int) -> tuple[list[Stage], Source]:
    """Photos, whose cameras are estimated."""
    if packs is None:
        raise SystemExit(
            "portraits need the data packs: get them with `lineament data fetch`, or give --packs."
        )
    stages = []
    for split in ("train", "test"):
        words = ("data", "prepare", "portraits", str(packs / COLOUR), "--split", split, "--for", "gmpi")
        # Real images to compare with are not mirrored: a face and its mirror image are no two faces.
        words += ("--resolution", str(size.side), *(() if split == "train" else ("--no-mirrored",)))
        words += ("--out", str(out / f"portraits-{split}"))
        stages.append(Stage(f"cut {split}", words, machine=("--workers", str(max(1, workers))), again=True))
    learnt, others = (str(out / f"portraits-{split}") for split in ("train", "test"))
    return stages, Source((f"folder:{learnt}",), learnt, f"folder:{others}", base=FEW)


SOURCES = {"synthetic": drawn_faces, "portraits": colour_portraits}


def plan(
    name: str, size: Size, out: Path, packs: Path | None, workers: int, device: str, seed: int
) -> Iterator[Stage]:
    """What is done with a source: images, base, GMPI, scores of both, and what it looks like."""
    stages, source = SOURCES[name](size, out, packs, workers)
    yield from stages
    runs = {each: out / f"{name}-{each}{f'-seed{seed}' if seed else ''}" for each in ("base", "gmpi")}
    data, machine = ("--data", *source.data), ("--device", device)
    options = {
        "base": ("stylegan2", "--preset", size.preset, *source.base),
        "gmpi": (
            *("gmpi-folder", "--preset", size.preset, "--base", str(runs["base"])),
            *("--pose", source.poses, *source.scene),
        ),
    }
    for each, run in runs.items():
        words = ("train", *options[each], *data, "--seed", str(seed), "--run", str(run))
        yield Stage(f"train {run.name}", words, run, machine)
    geometry = {"base": (), "gmpi": size.geometry}
    for each, run in runs.items():
        compared = (*size.compared, *geometry[each])
        words = ("evaluate", str(run), "--protocol", "gmpi", *compared, "--data", source.real)
        yield Stage(f"evaluate {run.name}", words)
    views = {
        "sample": ("--yaw", "-25,-12,0,12,25"),
        "video": ("--path", "circle", "--frames", str(size.frames)),
    }
    for verb, cameras in views.items():
        yield Stage(f"{verb} {runs['gmpi'].name}", ("gmpi", verb, str(runs["gmpi"]), *size.drawn, *cameras))


def main(arguments: list[str] | None = None) -> int:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=["synthetic"], help="synthetic (by default), portraits")
    parser.add_argument("--out", type=Path, default=Path("runs/gmpi64"), help="folder of all that is made")
    parser.add_argument(
        "--packs", type=Path, help="folder of the data packs; without it heads are the built-in ones"
    )
    parser.add_argument("--size", choices=SIZES, default="full", help="how much of everything")
    parser.add_argument("--seed", type=int, default=0, help="of both trainings")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1), help="processes at once")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(SOURCES))
    if unknown:
        parser.error(f"no images {', '.join(unknown)}: choose from {', '.join(SOURCES)}")
    packs = packs_folder(given.packs)
    found = find_packs(given.packs) if given.packs else packs if packs.is_dir() else None
    stages = {
        f"{name}: {stage.name}": stage
        for name in given.names
        for stage in plan(name, SIZES[given.size], given.out, found, given.workers, given.device, given.seed)
    }
    make_all(stages, Record(given.out / "record.json"), dry_run=given.dry_run)
    return 0


if __name__ == "__main__":
    sys.exit(main())

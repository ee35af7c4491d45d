"""Trains the models that come with the package, from drawn faces and the data packs: what `make models` runs.

Every model is a list of `lineament` commands. Interrupted, the same command line goes on: drawing and training where
they stopped, all else from the last command that ended. A list that changed is refused rather than mixed with what an
older one made.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages import Record, Stage, make_all, pack_words

from lineament.packs import COLOUR, GREY, JUDGE, find_packs

CARDS = Path(__file__).parent / "models"
# What the keypoints of `face-depth` vary by: errors of landmarks in distances of the outer eye corners, and degrees.
KEYPOINTS = "noise=0.01&max_yaw=70&max_pitch=35"


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        faces: Drawn faces by head, with the seed of their world.
        side: Of their images in pixels.
        landmarks: Options of the training of `face-68`.
        scale: Options of what `face-68` learns then: how sure it is of its points.
        limit: Whether there are faces enough to measure how unsure it may be of one.
        dense: Options of the training of `face-dense`, which needs the head of the packs; none without.
        depth: Options of the training of `face-depth`.
        keypoints: Faces by head that `face-depth` learns from.
        real: Whether unlabelled portraits take part.
    """

    faces: dict[str, tuple[int, int]]
    side: int
    landmarks: tuple[str, ...]
    depth: tuple[str, ...]
    keypoints: dict[str, int]
    scale: tuple[str, ...]
    limit: bool = True
    dense: tuple[str, ...] = ()
    real: bool = True


_HALF = ("--precision", "bf16-mixed")
# Few weights learn the scale, and nothing else can be spoilt by a high rate.
_RATE = ("--learning-rate", "5e-3")
SIZES = {
    # Two cores, less than three hours.
    "full": Size(
        {"ict": (14336, 1), "builtin": (5056, 2)},
        192,
        ("--preset", "full", "--steps", "15000", *_HALF),
        ("--steps", "3000"),
        {"ict": 8000, "builtin": 8000},
        ("--preset", "full", "--steps", "1500", *_RATE, *_HALF),
        dense=("--preset", "dense", *_HALF),
    ),
    # One large GPU with 16 cores beside it, eight minutes.
    "gpu": Size(
        {"ict": (30016, 1), "builtin": (10048, 2)},
        192,
        ("--preset", "gpu", *_HALF),
        ("--steps", "3000"),
        {"ict": 8000, "builtin": 8000},
        ("--preset", "gpu", "--steps", "300", *_RATE, *_HALF),
        dense=("--preset", "dense", "--steps", "1500", *_HALF),
    ),
    # The same network and batches in a minute or two and without the packs: shows that a machine can do it.
    "gpu-check": Size(
        {"builtin": (1024, 2)},
        192,
        ("--preset", "gpu", "--steps", "200", *_HALF),
        ("--steps", "100"),
        {"builtin": 500},
        ("--preset", "gpu", "--steps", "20", *_RATE, *_HALF),
        limit=False,
        real=False,
    ),
    # Shows that everything works, teaches nothing.
    "tiny": Size(
        {"builtin": (24, 2)},
        64,
        ("--preset", "tiny"),
        ("--preset", "tiny"),
        {"builtin": 12},
        ("--preset", "tiny"),
        limit=False,
        real=False,
    ),
}


def face_68(size: Size, out: Path, packs: Path | None, workers: int, device: str) -> Iterator[Stage]:
    """Landmarks: synthetic labels of both heads, unlabelled portraits; then, from labels alone, how sure it is."""
    yield from _drawn(size, out, packs, workers)
    placed, run = (out / "training" / name for name in ("face-68", "face-68-sure"))
    first, *_ = size.faces
    held_out = f"synthetic:{out / f'faces-{first}'}?split=val"
    data = ("--data", *(f"synthetic:{out / f'faces-{head}'}?split=train" for head in size.faces))
    data += ("--validation", held_out)
    machine = ("--workers", str(max(0, workers - 1)), "--device", device)
    words = ("train", "landmarks", *size.landmarks, *data, *_unlabelled(size, packs), "--run", str(placed))
    yield Stage("train", words, placed, machine)
    words = ("train", "landmarks", "--base", str(placed), "--scale-only", *size.scale, *data)
    yield Stage("train scale", (*words, "--run", str(run)), run, machine)
    for head in size.faces:
        tested = f"synthetic:{out / f'faces-{head}'}?split=test"
        yield Stage(f"measure {head}", ("evaluate", str(run), "--data", tested))
    yield from _judged(size, run, packs)
    yield _pack("face-68", run, out, *(("--faces", held_out) if size.limit else ()))


def face_dense(size: Size, out: Path, packs: Path | None, workers: int, device: str) -> Iterator[Stage]:
    """Places all over the face, on `face-68`, by the exact correspondence of the drawn faces of one head."""
    if not size.dense:
        return
    run = out / "training" / "face-dense"
    faces = f"synthetic:{out / 'faces-ict'}?scheme=400-dense"
    words = ("train", "landmarks", "--base", str(out / "training" / "face-68"), *size.dense)
    words += (
        "--data",
        f"{faces}&split=train",
        "--validation",
        f"{faces}&split=val",
        *_unlabelled(size, packs),
    )
    machine = ("--workers", str(max(0, workers - 1)), "--device", device)
    yield Stage("train", (*words, "--run", str(run)), run, machine)
    yield Stage("measure", ("evaluate", str(run), "--data", f"{faces}&split=test"))
    yield from _judged(size, run, packs, "--protocol", "matching")
    yield _pack("face-dense", run, out)


def face_depth(size: Size, out: Path, packs: Path | None, workers: int, device: str) -> Iterator[Stage]:
    """Depth of keypoints: exact depths of keypoints of both heads."""
    run = out / "training" / "face-depth"
    where = f":{packs}" if packs is not None and "ict" in size.keypoints else ""
    data = [
        f"synthetic-keypoints{where if head == 'ict' else ''}?head={head}&{KEYPOINTS}&count={count}"
        for head, count in size.keypoints.items()
    ]
    tested = [each.rpartition("&")[0] for each in data]
    words = ("train", "depthnet-modern", *size.depth, "--data", *data)
    words += ("--validation", f"{tested[0]}&split=valid", "--run", str(run))
    yield Stage("train", words, run, ("--device", device))
    for each in tested:
        yield Stage(f"measure {each}", ("evaluate", "depth", str(run), "--data", f"{each}&split=test"))
    yield _pack("face-depth", run, out)


MODELS = {"face-depth": face_depth, "face-68": face_68, "face-dense": face_dense}


def _drawn(size: Size, out: Path, packs: Path | None, workers: int) -> Iterator[Stage]:
    """The drawing of all faces."""
    for head, (count, seed) in size.faces.items():
        world = ("--world", "photo", "--head", head, "--size", str(size.side), "--sensor", "0", "--grey", "0")
        words = ("data", "synth", *world, "--count", str(count), "--seed", str(seed))
        where = ("--out", str(out / f"faces-{head}"), *pack_words(packs))
        yield Stage(f"draw {head}", words + where, machine=("--workers", str(max(1, workers))), again=True)


def _unlabelled(size: Size, packs: Path | None) -> tuple[str, ...]:
    """Options that name the unlabelled portraits."""
    if not size.real or packs is None:
        return ()
    return ("--unlabelled", *(f"portraits:{packs / pack}?split=train" for pack in (GREY, COLOUR)))


def _judged(size: Size, run: Path, packs: Path | None, *options: str) -> Iterator[Stage]:
    """Comparisons with an independent tool on the test splits of the portraits, where its points are there."""
    if not size.real or packs is None or not (packs / JUDGE).is_dir():
        return
    for pack, judge in ((GREY, "gray"), (COLOUR, "colour")):
        tested = f"portraits:{packs / pack}?split=test"
        words = (
            "evaluate",
            str(run),
            "--data",
            tested,
            "--judge",
            str(packs / JUDGE / f"{judge}.npz"),
            *options,
        )
        yield Stage(f"judge {judge}", words)


def _pack(name: str, run: Path, out: Path, *options: str) -> Stage:
    folder, card = out / "packed" / name, CARDS / f"{name}.yaml"
    words = ("models", "pack", str(run), str(folder), "--card", str(card), *options, "--overwrite")
    return Stage("pack", words)


def main(arguments: list[str] | None = None) -> int:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MODELS), help="models to make; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/models"), help="folder of all that is made")
    parser.add_argument("--packs", type=Path, help="folder of the data packs")
    parser.add_argument("--size", choices=SIZES, default="full", help="how much of everything")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1), help="processes at once")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(MODELS))
    if unknown:
        parser.error(f"no model {', '.join(unknown)}: choose from {', '.join(MODELS)}")
    size = SIZES[given.size]
    packs = find_packs(given.packs) if size.real else None
    record = Record(given.out / "record.json")
    stages: dict[str, Stage] = {}
    for name in given.names:
        made = list(MODELS[name](size, given.out, packs, given.workers, given.device))
        if not made:
            print(f"== {name}: left out, --size {given.size} has no head to learn it from", flush=True)
        stages |= {f"{name}: {stage.name}": stage for stage in made}
    make_all(stages, record, dry_run=given.dry_run)
    if not given.dry_run:
        packed = given.out / "packed"
        print(f"made in {packed}: LINEAMENT_MODELS={packed} takes them before those of the package.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Trains the models that come with the package, from drawn faces and the data packs: what `make models` runs.

Every model is a list of `lineament` commands. Interrupted, the same command line goes on: drawing and training where
they stopped, all else from the last command that ended. A list that changed is refused rather than mixed with what an
older one made.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    dense: tuple[str, ...] = ()
    real: bool = True


_HALF = ("--precision", "bf16-mixed")
SIZES = {
    # Two cores, less than three hours.
    "full": Size(
        {"ict": (14336, 1), "builtin": (5056, 2)},
        192,
        ("--preset", "full", "--steps", "15000", *_HALF),
        ("--steps", "3000"),
        {"ict": 8000, "builtin": 8000},
        dense=("--preset", "dense", *_HALF),
    ),
    # One large GPU with 16 cores beside it, eight minutes.
    "gpu": Size(
        {"ict": (30016, 1), "builtin": (10048, 2)},
        192,
        ("--preset", "gpu", *_HALF),
        ("--steps", "3000"),
        {"ict": 8000, "builtin": 8000},
        dense=("--preset", "dense", "--steps", "1500", *_HALF),
    ),
    # The same network and batches in a minute or two and without the packs: shows that a machine can do it.
    "gpu-check": Size(
        {"builtin": (1024, 2)},
        192,
        ("--preset", "gpu", "--steps", "200", *_HALF),
        ("--steps", "100"),
        {"builtin": 500},
        real=False,
    ),
    # Shows that everything works, teaches nothing.
    "tiny": Size(
        {"builtin": (24, 2)}, 64, ("--preset", "tiny"), ("--preset", "tiny"), {"builtin": 12}, real=False
    ),
}


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: Of this stage of its model.
        words: Behind `lineament`.
        run: The run directory that it trains; None where it does not train.
        machine: Options that change no number (processes, device), behind the words.
        again: Whether repeating it is cheap and goes on by itself.
    """

    name: str
    words: tuple[str, ...]
    run: Path | None = None
    machine: tuple[str, ...] = field(default=(), compare=False)
    again: bool = False


def face_68(size: Size, out: Path, packs: Path | None, workers: int, device: str) -> Iterator[Stage]:
    """Landmarks: synthetic labels of both heads, unlabelled portraits."""
    yield from _drawn(size, out, packs, workers)
    run = out / "training" / "face-68"
    first, *_ = size.faces
    data = ("--data", *(f"synthetic:{out / f'faces-{head}'}?split=train" for head in size.faces))
    data += ("--validation", f"synthetic:{out / f'faces-{first}'}?split=val", *_unlabelled(size, packs))
    machine = ("--workers", str(max(0, workers - 1)), "--device", device)
    yield Stage("train", ("train", "landmarks", *size.landmarks, *data, "--run", str(run)), run, machine)
    for head in size.faces:
        tested = f"synthetic:{out / f'faces-{head}'}?split=test"
        yield Stage(f"measure {head}", ("evaluate", str(run), "--data", tested))
    yield from _judged(size, run, packs)
    yield _pack("face-68", run, out)


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
        where = ("--out", str(out / f"faces-{head}"), *_packs(packs))
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


def _packs(packs: Path | None) -> tuple[str, ...]:
    return () if packs is None else ("--packs", str(packs))


def _pack(name: str, run: Path, out: Path) -> Stage:
    folder, card = out / "packed" / name, CARDS / f"{name}.yaml"
    return Stage("pack", ("models", "pack", str(run), str(folder), "--card", str(card), "--overwrite"))


class Record:
    """Which stages were begun with which words, and which ended; a file of JSON that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}

    def note(self, key: str, **facts: Any) -> None:
        """Add facts of a stage."""
        self.stages.setdefault(key, {}).update(facts)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.stages, indent=1) + "\n")
        temporary.replace(self.path)


def refuse_other_words(stages: dict[str, Stage], record: Record) -> None:
    """Refuse a list before any of it is run, which may take hours.

    Raises:
        SystemExit: If an older list of other words has made, or begun, what a stage would make.
    """
    for key, stage in stages.items():
        words, begun = list(stage.words), record.stages.get(key, {}).get("words")
        if begun is not None and begun != words:
            raise SystemExit(
                f"{key} was begun as `{shlex.join(begun)}` and is now `{shlex.join(words)}`: "
                "choose another --out, or remove what is there."
            )


def make(stage: Stage, key: str, record: Record) -> bool:
    """Run a stage unless it is done; whether it did anything.

    Raises:
        SystemExit: If it fails, with its exit code.
    """
    words, known = list(stage.words), record.stages.get(key)
    if known is not None and known.get("done") and not stage.again:
        return False
    resumed = known is not None and stage.run is not None and (stage.run / "config.yaml").is_file()
    if resumed:
        words = ["resume", str(stage.run)]
    record.note(key, words=list(stage.words))
    print(f"== {key}: lineament {shlex.join([*words, *stage.machine])}", flush=True)
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "lineament", *words, *stage.machine], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    seconds = (known or {}).get("seconds", 0.0) + time.monotonic() - begun
    record.note(key, done=True, seconds=round(seconds, 1))
    return True


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
    if not given.dry_run:
        refuse_other_words(stages, record)
    for key, stage in stages.items():
        if given.dry_run:
            print(shlex.join(["lineament", *stage.words, *stage.machine]))
        elif not make(stage, key, record):
            print(f"== {key}: done before", flush=True)
    if not given.dry_run:
        packed = given.out / "packed"
        print(f"made in {packed}: LINEAMENT_MODELS={packed} takes them before those of the package.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

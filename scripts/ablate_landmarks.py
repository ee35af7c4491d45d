"""What each ingredient of `face-68` brings: the same training with one more ingredient a row, over several seeds.

Rows: synthetic labels alone (faces and nothing else, nothing drawn over them); what photographs have (accessories,
hard light, profiles among other faces); unlabelled portraits; the wider network. Every row has as many labelled faces,
images a step and steps. Measured on a photo world that no training saw and, where the packs are there, as the
disagreement with an independent tool on the test splits of the portraits. Repeated, the command goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from lineament.errors import DataError
from lineament.packs import COLOUR, GREY, JUDGE, find_packs

# The widths of the plain network that the wider one replaced.
NARROW = ("--widths", "24", "40", "64", "96")
# Turns as the photo world has them, so that rows differ in what is seen and not in the poses.
POSES = ("--max-yaw", "90", "--max-pitch", "40", "--max-roll", "30")
WORLDS = {"plain": ("--world", "plain", *POSES), "photo": ("--world", "photo")}


def rows(faces: dict[str, Path], packs: Path) -> dict[str, tuple[str, ...]]:
    """Options of the training of each row, by its name."""
    plain = ("--data", f"synthetic:{faces['plain']}?split=train", "--no-occlusions")
    photo = ("--data", f"synthetic:{faces['photo']}?split=train")
    unlabelled = ("--unlabelled", *(f"portraits:{packs / pack}?split=train" for pack in (GREY, COLOUR)))
    return {
        "synthetic labels": (*plain, *NARROW),
        "+ what photos have": (*photo, *NARROW),
        "+ unlabelled portraits": (*photo, *NARROW, *unlabelled),
        "+ wider network": (*photo, *unlabelled),
    }


def lineament(*words: str) -> None:
    """Run the command line.

    Raises:
        SystemExit: With its exit code, if it fails.
    """
    done = subprocess.run([sys.executable, "-m", "lineament", *words], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def draw(folder: Path, count: int, seed: int, packs: Path, *options: str) -> Path:
    """Draw a world unless it is there; its folder."""
    words = (
        "--size",
        "192",
        "--head",
        "ict",
        "--packs",
        str(packs),
        "--count",
        str(count),
        "--seed",
        str(seed),
    )
    lineament("data", "synth", *options, *words, "--workers", "1", "--out", str(folder))
    return folder


def measured(run: Path, tested: Path, packs: Path) -> dict[str, float]:
    """What a run is measured by, in % of the distance of the outer eye corners."""
    found = {"synthetic": _value(run, "synthetic", ("--data", f"synthetic:{tested}"))}
    for pack, name in ((GREY, "gray"), (COLOUR, "colour")):
        against = (f"portraits:{packs / pack}?split=test", "--judge", str(packs / JUDGE / f"{name}.npz"))
        found[name] = _value(run, name, ("--data", *against))
    return found


def _value(run: Path, name: str, words: tuple[str, ...]) -> float:
    path = run / "evaluations" / f"{name}.cards.json"
    if not path.is_file():
        lineament("evaluate", str(run), *words, "--out", str(path))
    cards = json.loads(path.read_text())
    # Of a judge's cards the one with boxes moved by 5 % of their side, as the shipped model is reported.
    return float(next((card for card in cards if " 5 %" in card["protocol"]), cards[0])["value"])


def table(values: dict[str, list[dict[str, float]]]) -> str:
    """A markdown table: mean and standard deviation over seeds."""
    columns = list(next(iter(values.values()))[0])
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row, seeds in values.items():
        cells = []
        for column in columns:
            each = [seed[column] for seed in seeds]
            spread = f" ± {statistics.stdev(each):.2f}" if len(each) > 1 else ""
            cells.append(f"{statistics.mean(each):.2f}{spread}")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Draw, train and measure every row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--packs", type=Path, default=None, help="folder of the data packs")
    parser.add_argument("--faces", type=int, default=14336, help="drawn faces to learn from, of each world")
    parser.add_argument("--tested", type=int, default=640, help="drawn faces of the world to measure on")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="bf16-mixed")
    given = parser.parse_args()
    try:
        packs = find_packs(given.packs)
    except DataError as wrong:
        raise SystemExit(str(wrong)) from wrong
    # Training degrades its images by itself; what is measured on has the flaws of its world.
    clean = ("--sensor", "0", "--grey", "0")
    faces = {
        name: draw(given.out / name, given.faces, 1, packs, *world, *clean) for name, world in WORLDS.items()
    }
    tested = draw(given.out / "tested", given.tested, 900001, packs, *WORLDS["photo"])
    values: dict[str, list[dict[str, float]]] = {}
    # Seed by seed, so that what an interrupted study has is a whole table of fewer seeds.
    for seed in range(given.seeds):
        for number, (row, words) in enumerate(rows(faces, packs).items()):
            run = given.out / f"row-{number}-seed-{seed}"
            if (run / "config.yaml").is_file():
                lineament("resume", str(run))
            else:
                plain = ("--preset", "full", "--steps", str(given.steps), "--precision", given.precision)
                lineament("train", "landmarks", *plain, *words, "--seed", str(seed), "--run", str(run))
            values.setdefault(row, []).append(measured(run, tested, packs))
        print(table(values), flush=True)
        (given.out / "table.md").write_text(table(values) + "\n")


if __name__ == "__main__":
    main()

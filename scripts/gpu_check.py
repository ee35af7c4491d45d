"""What `gpu_check.sh` runs: steps in processes of their own, each with a limit, and one line of JSON at the end."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

# Seconds for everything; the last step is given what is left.
DEADLINE = 525
BENCHES = (
    "exchange-loss",
    "dve",
    "fabrec",
    "landmarks",
    "rasterize",
    "facewarp",
    "detect",
    "mpi",
    "gmpi-generator",
    "gmpi-step",
)
# A training of two steps: network and optimiser on the device, a checkpoint, an evaluation, figures.
RECIPES = ("dve-smallnet-16d", "fabrec-ae", "depthnet-modern", "landmarks", "stylegan2")
# The last step: faces drawn on the machine, then the shipped landmark model's preset for a GPU. Among the other steps
# it is short and needs no data pack; alone (`--only face-68`) it is the whole recipe, with the packs in PACKS.
MODEL = "face-68"
PACKS = os.environ.get("GPU_CHECK_PACKS", ".gpu/packs")


@dataclass(frozen=True)
class Step:
    """One process.

    Attributes:
        name: By which ``--only`` knows it.
        kind: ``ceilings``, ``tests``, ``bench`` or ``training``.
        words: What is run, behind the interpreter.
        limit: Seconds after which it is ended.
    """

    name: str
    kind: str
    words: tuple[str, ...]
    limit: int


def plan(device: str, repeats: int, folder: str, only: tuple[str, ...] = ()) -> list[Step]:
    """All steps in the order of their worth: a machine that is taken away early has told the most."""
    lineament = ("-m", "lineament")
    bench = ("--device", device, "--repeats", str(repeats))
    chosen = ("-m", "gpu") if device != "cpu" else ("-k", "simulated or interpreted")
    tests = ("-m", "pytest", "tests/ops", "-p", "no:cacheprovider", "-rs", *chosen)
    steps = [Step("ceilings", "ceilings", (*lineament, "bench", "ceilings", *bench), 60)]
    steps.append(Step("tests", "tests", tests, 180))
    steps += [Step(name, "bench", (*lineament, "bench", name, *bench), 90) for name in BENCHES]
    for recipe in RECIPES:
        run = os.path.join(folder, recipe)  # noqa: PTH118
        words = (*lineament, "train", recipe, "--preset", "tiny", "--device", device, "--run", run)
        steps.append(Step(f"train {recipe}", "training", words, 60))
    size = "tiny" if device == "cpu" else "gpu" if only == (MODEL,) else "gpu-check"
    made = ("--size", size, "--device", device, "--out", os.path.join(folder, "models"))  # noqa: PTH118
    packs = ("--packs", PACKS) if size == "gpu" else ()
    script = ("scripts/make_models.py", MODEL, *made, *packs)
    steps.append(Step(MODEL, "training", script, DEADLINE if size == "gpu" else 180))
    return steps


def environment() -> dict[str, str]:
    """The environment of the steps: packages that were brought along come after those of the machine."""
    found = dict(os.environ)
    site = found.pop("GPU_CHECK_SITE", "")
    if site:
        own = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        found["PYTHONPATH"] = os.pathsep.join([found["PYTHONPATH"], *own, site])
    return found


def run(step: Step, left: float) -> dict[str, Any]:
    """Run a step; what it printed last, its exit code (None where it ran out of time), and its seconds."""
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, *step.words],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1.0, min(step.limit, left)),
        )
    except subprocess.TimeoutExpired as late:
        said = (late.stderr or b"").decode(errors="replace")[-500:]
        return {"code": None, "out": "", "said": f"out of time. {said}", "seconds": time.monotonic() - start}
    return {
        "code": done.returncode,
        "out": done.stdout,
        "said": (done.stderr or done.stdout)[-1500:] if done.returncode else "",
        "seconds": time.monotonic() - start,
    }


def last_json(text: str) -> dict[str, Any]:
    """The last line that is a JSON object; {} where there is none."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    return {}


def share(figures: dict[str, Any], ceilings: dict[str, Any]) -> dict[str, Any]:
    """What share of which ceiling a bench reaches; {} where nothing was measured."""
    for key in ("share_of_floor", "share"):
        if figures.get(key):
            return {"share": figures[key], "of": "its own convolutions and matrix products, timed alone"}
    milliseconds = figures.get("median_ms")
    if milliseconds and figures.get("gflop") and ceilings.get("product_gflops"):
        reached = 1e3 * figures["gflop"] / milliseconds / ceilings["product_gflops"]
        return {"share": round(reached, 5), "of": "the float32 matrix product"}
    if milliseconds and figures.get("moved_mb") and ceilings.get("copy_gb_s"):
        reached = figures["moved_mb"] / milliseconds / ceilings["copy_gb_s"]
        return {"share": round(reached, 5), "of": "the copy"}
    return {}


def counts(text: str) -> dict[str, int]:
    """Numbers of tests by outcome, from pytest's last line."""
    found = re.findall(r"(\d+) (passed|failed|skipped|error)", text)
    return {outcome: int(number) for number, outcome in found}


def judge(step: Step, answer: dict[str, Any], summary: dict[str, Any]) -> bool:
    """Put the answer of a step into the summary; whether it is as it should be."""
    good: bool = answer["code"] == 0
    entry: dict[str, Any] = {"seconds": round(answer["seconds"], 1)}
    if step.kind == "tests":
        entry |= counts(answer["out"])
        # Tests that only skip have shown nothing.
        good = good and entry.get("passed", 0) > 0 and not entry.get("skipped")
    elif step.kind in ("ceilings", "bench"):
        figures = last_json(answer["out"])
        kept = ("work", "median_ms", "min_ms", "ratio", "training_step_ratio", "large_ms", "large_ratio")
        ceilings = ("product_gflops", "product_bf16_gflops", "copy_gb_s") if step.kind == "ceilings" else ()
        entry |= {key: figures[key] for key in (*kept, *ceilings) if key in figures}
        reached = share(figures, summary["ceilings"]) if step.kind == "bench" else {}
        entry |= reached
        good = good and "median_ms" in figures and (step.kind == "ceilings" or bool(reached))
    if not good:
        entry["said"] = answer["said"] or answer["out"][-1500:]
    if step.kind == "ceilings":
        summary["ceilings"] = entry
    else:
        summary[{"tests": "tests", "bench": "benches", "training": "trainings"}[step.kind]][step.name] = entry
    return good


def device_name(device: str) -> str:
    """The device in words, by a process of its own: this one never touches it."""
    code = f"import torch; print(torch.__version__, torch.cuda.get_device_name() if {device != 'cpu'} else 'CPU')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or done.stderr.strip()[-300:]


def main() -> int:
    """Run the steps and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the check without a GPU")
    parser.add_argument("--repeats", type=int, default=10, help="timed calls of each bench")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="run these steps alone")
    parser.add_argument("--dry-run", action="store_true", help="print what would run")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        steps = plan(given.device, given.repeats, folder, tuple(given.only))
        unknown = sorted(set(given.only) - {step.name for step in steps})
        if unknown:
            parser.error(
                f"no step {', '.join(unknown)}: choose from {', '.join(step.name for step in steps)}"
            )
        steps = [step for step in steps if not given.only or step.name in given.only]
        if given.dry_run:
            for step in steps:
                print(f"{step.limit:4d} s  {shlex.join(['python3', *step.words])}")
            return 0
        summary: dict[str, Any] = {"device": device_name(given.device), "passed": False, "seconds": 0.0}
        summary |= {"ceilings": {}, "tests": {}, "benches": {}, "trainings": {}}
        good = True
        for step in steps:
            answer = run(step, DEADLINE - (time.monotonic() - started))
            passed = judge(step, answer, summary)
            good = good and passed
            print(
                f"{step.name}: {'good' if passed else 'FAILED'}, {answer['seconds']:.0f} s", file=sys.stderr
            )
    summary |= {"passed": good, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(summary))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

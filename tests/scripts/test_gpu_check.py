"""The check of a machine with a GPU, as far as a CPU can tell: its plan, its judgement, and a run without a GPU."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lineament.methods
from lineament.pipeline.bench import BENCHES
from lineament.training.registry import get_recipe

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu_check.sh"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT.with_suffix(".py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    return module


def call(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    changed = {"PYTHON": sys.executable, "GPU_CHECK_WHEELS": str(tmp_path / "none"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(SCRIPT), *words], env=os.environ | changed, capture_output=True, text=True, check=False
    )


def test_the_script_is_sound(tmp_path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    shown = call(tmp_path, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "-m pytest tests/ops" in shown.stdout and "--device cuda" in shown.stdout
    wrong = call(tmp_path, "--only", "rasterise")
    assert wrong.returncode == 2 and "rasterize" in wrong.stderr


def test_every_bench_of_a_gpu_is_in_the_plan(check: ModuleType) -> None:
    """And no other: those that compute on the CPU alone refuse a device."""
    able = set()
    for name, (module, _) in BENCHES.items():
        run = importlib.import_module(f"lineament.pipeline.bench.{module}").run
        able |= {name} if "device" in inspect.signature(run).parameters else set()
    assert {*check.BENCHES, "ceilings"} == able
    assert check.DEADLINE <= 540
    steps = check.plan("cuda", 10, "folder")
    assert len({step.name for step in steps}) == len(steps)
    assert steps[0].kind == "ceilings", "shares are of what was measured before"


def test_a_recipe_of_every_method_is_trained(check: ModuleType) -> None:
    methods = [each.name for each in pkgutil.iter_modules(lineament.methods.__path__) if each.ispkg]
    assert sorted(get_recipe(name).method for name in check.RECIPES) == sorted(methods)


def test_a_run_without_a_gpu_ends_in_one_line(tmp_path: Path) -> None:
    done = call(tmp_path, "--device", "cpu", "--repeats", "1", "--only", "ceilings")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    summary = json.loads(line)
    assert summary["passed"] is True and summary["seconds"] > 0
    ceilings = summary["ceilings"]
    assert min(ceilings[key] for key in ("product_gflops", "product_bf16_gflops", "copy_gb_s")) > 0.1


def answer(out: str, code: int | None = 0) -> dict[str, Any]:
    return {"code": code, "out": out, "said": "", "seconds": 1.0}


def empty() -> dict[str, Any]:
    ceilings = {"product_gflops": 50_000.0, "copy_gb_s": 3000.0}
    return {"ceilings": ceilings, "tests": {}, "benches": {}, "trainings": {}}


@pytest.mark.parametrize(
    ("figures", "share"),
    [
        ({"median_ms": 2.0, "share_of_floor": 0.7}, 0.7),
        ({"median_ms": 2.0, "share": 0.6, "gflop": 100.0}, 0.6),
        ({"median_ms": 4.0, "gflop": 100.0}, 0.5),
        ({"median_ms": 0.5, "moved_mb": 300.0}, 0.2),
    ],
)
def test_shares_are_of_the_ceiling_that_binds(
    check: ModuleType, figures: dict[str, Any], share: float
) -> None:
    summary = empty()
    step = check.Step("some", "bench", (), 60)
    assert check.judge(step, answer("noise\n" + json.dumps(figures)), summary)
    assert summary["benches"]["some"]["share"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("kind", "given", "good"),
    [
        ("tests", answer("12 passed in 3.00s"), True),
        ("tests", answer("12 passed, 1 skipped in 3.00s"), False),
        ("tests", answer("3 skipped in 0.10s"), False),
        ("tests", answer("1 failed, 11 passed in 3.00s", 1), False),
        ("bench", answer('{"median_ms": 1.0}'), False),
        ("bench", answer("no figures"), False),
        ("bench", answer("", None), False),
        ("training", answer("runs/x/report.html"), True),
        ("training", answer("", 1), False),
    ],
)
def test_what_shows_nothing_is_no_success(
    check: ModuleType, kind: str, given: dict[str, Any], good: bool
) -> None:
    summary = empty()
    assert check.judge(check.Step("some", kind, (), 60), given, summary) is good
    (entry,) = [each for part in ("tests", "benches", "trainings") for each in summary[part].values()]
    assert ("said" in entry) is not good


def test_a_step_that_hangs_is_ended_and_named(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    step = check.Step("slow", "bench", ("-c", "import time; time.sleep(60)"), 1)
    given = check.run(step, 100.0)
    assert given["code"] is None and given["seconds"] < 30
    assert not check.judge(step, given, summary := empty())
    assert "out of time" in summary["benches"]["slow"]["said"]

"""Two processes (gloo) train as one does with the same global batch; batch norm is synchronised."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_toy import assert_same_runs, toy, train_toy

from lineament.training.run import open_run

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    script = str(HERE / "two_processes.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            script,
            str(folder),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_losses_equal_those_of_one_process(two_processes: Path, tmp_path: Path):
    one = train_toy(tmp_path / "one", toy(dropout=0.0, batch_size=8, evaluate_every=4))
    two = open_run(two_processes / "whole")
    pairs = list(zip(one.metrics(), two.metrics(), strict=True))
    assert len(pairs) == 15
    for alone, together in pairs:
        assert alone.keys() == together.keys()
        for key, value in alone.items():
            assert together[key] == (pytest.approx(value, abs=1e-5) if key != "kind" else value)
    weights = [run.read_checkpoint().groups for run in (one, two)]
    for group in ("networks", "ema"):
        assert weights[0][group].keys() == weights[1][group].keys()
        for key, value in weights[0][group].items():
            torch.testing.assert_close(weights[1][group][key], value, rtol=1e-4, atol=1e-5)


def test_two_processes_resume_bitwise(two_processes: Path):
    assert_same_runs(open_run(two_processes / "straight"), open_run(two_processes / "cut"))
    states = open_run(two_processes / "cut").read_checkpoint().state["random"]
    assert len(states) == 2
    assert not torch.equal(states[0]["torch"], states[1]["torch"])


def test_one_process_may_go_on_where_two_stopped(
    two_processes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = open_run(two_processes / "cut")
    train_toy(run.folder, toy(batch_size=8), resumed=True)
    assert "had 2 processes and now has 1" in capsys.readouterr().err


def test_synchronised_batch_norm_equals_that_of_the_whole_batch(two_processes: Path):
    # The comparison runs in both processes (two_processes.py), which leave a file when it holds.
    assert sorted(path.name for path in two_processes.glob("norm-*")) == ["norm-0", "norm-1"]

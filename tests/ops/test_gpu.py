"""GPU kernels against the reference twin: on a GPU where there is one, else in numba's CUDA simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.ops.gpu_chain import run, scene
from tests.ops.meshes import cosine, relative_error

from lineament.errors import UsageError
from lineament.ops import rasterize


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert set(expected[0].unique().tolist()) >= {-1, 0} or int(expected[0].max()) > 3, (
        "the scene shows nothing"
    )
    assert float((found[0] != expected[0]).float().mean()) < 0.005
    for ours, twin in zip(found[1:], expected[1:], strict=True):
        assert bool(twin.any())
        assert cosine(ours, twin) > 1 - 1e-6
        assert relative_error(ours, twin) < 1e-4


def test_simulated_gpu_agrees_with_the_twin(tmp_path):
    # JIT off: the formulas shared with the CPU kernels must be plain Python inside the simulator.
    simulated = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    program = [sys.executable, "-m", "tests.ops.gpu_chain", "cuda", str(tmp_path / "found.pt")]
    done = subprocess.run(
        program, env=os.environ | simulated, cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert_same(torch.load(tmp_path / "found.pt"), run("reference"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_the_twin():
    assert_same(run("auto", device="cuda"), run("reference"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_numba_is_refused_on_the_gpu():
    vertices, faces = scene()
    with pytest.raises(UsageError, match="different devices"):
        rasterize(vertices.cuda(), faces, 4, 4)
    with pytest.raises(UsageError, match="impl='numba' runs on the CPU"):
        rasterize(vertices.cuda(), faces.cuda(), 4, 4, impl="numba")

"""The parity tests on other recordings: the open set's seeds, sizes, shapes and counts are not written in them.

The recordings are made by our own programs (``tests/parity/other``), so this proves that the tests are general, not
that ours equals the reference.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.parity.other import record_depthnet, record_dve, record_fabrec, record_gmpi
from tests.parity.recorded import METHODS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORDERS: dict[str, Callable[[Path, int], None]] = {
    "dve": record_dve.write,
    "depthnet": record_depthnet.write,
    "fabrec": record_fabrec.write,
}


@pytest.mark.parametrize(
    ("method", "seed"),
    [
        ("dve", 5),
        *(pytest.param(method, seed, marks=pytest.mark.slow) for method in METHODS for seed in (6, 7)),
    ],
)
def test_the_same_tests_pass_on_another_recording(tmp_path: Path, method: str, seed: int):
    goldens = tmp_path / "goldens"
    RECORDERS[method](goldens / method, seed)
    modules = sorted(str(path.relative_to(ROOT)) for path in HERE.glob(f"test_{method}_*.py"))
    modules.append("tests/parity/test_recorded_sets.py")
    # Nothing is left out for want of a file of this method.
    absent = [f"no {goldens / other}" for other in METHODS if other != method]
    skipped = skipped_of(goldens, modules)
    assert all(any(line.endswith(each) for each in absent) for line in skipped), skipped


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6, 7])
def test_those_of_gmpis_networks_pass_on_another_recording(tmp_path: Path, seed: int):
    goldens = tmp_path / "goldens"
    record_gmpi.write(goldens / "gmpi_networks", seed)
    parts = ("blocks", "generator", "discriminator")
    assert not skipped_of(goldens, [f"tests/parity/test_gmpi_networks_{part}.py" for part in parts])


def skipped_of(goldens: Path, modules: list[str]) -> list[str]:
    """Run the modules on recordings; they must pass, and what was skipped is returned."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "--goldens",
        str(goldens),
    ]
    done = subprocess.run(
        [*command, *modules],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]

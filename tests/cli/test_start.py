"""What the command line imports, and how long its shortest calls take."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lineament.cli.main import VERBS

# Seconds; several times what an idle machine takes, since tests run beside others (docs/benchmarks.md has the figures).
HELP, IMPORT, PHOTO = 4.0, 3.0, 40.0
HEAVY = (
    "kornia",
    "torchmetrics",
    "matplotlib",
    "trimesh",
    "lightning_fabric",
    "torch._dynamo",
    "torch._inductor",
)
# Prints, after the work, which modules are there.
RUN = """
import json, sys
from lineament.cli.main import main
code = main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
# Shows the help of each verb ("--" begins one) in one process, and what has been imported after each.
HELP_OF_EACH = """
import json, sys
from lineament.cli.main import main
imported = {}
for verb in " ".join(sys.argv[1:]).split("-- ")[1:]:
    assert main([*verb.split(), "--help"]) == 0
    imported[verb.strip()] = sorted(sys.modules)
print(json.dumps(imported), file=sys.stderr)
"""


def timed(*words: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - start, done


def modules(*arguments: str) -> set[str]:
    """What is imported once a command line is done."""
    _, done = timed("-c", RUN, *arguments)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_and_import_are_quick_and_need_no_torch():
    assert not {"torch", "numpy", "tyro", *HEAVY} & modules("--help")
    seconds, done = timed("-m", "lineament", "--help")
    assert "landmarks" in done.stdout and seconds < HELP
    seconds, done = timed(
        "-c", "import lineament, sys; print('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert done.stdout.strip() == "False" and seconds < IMPORT


def test_help_of_no_verb_imports_torch_or_numpy():
    """Options lie in modules of their own, apart from what computes with them."""
    _, done = timed("-c", HELP_OF_EACH, *(word for verb in VERBS for word in ("--", *verb.split())))
    imported: dict[str, list[str]] = json.loads(done.stderr.splitlines()[-1])
    assert list(imported) == list(VERBS)
    assert {verb: bad for verb in VERBS if (bad := {"torch", "numpy", *HEAVY} & set(imported[verb]))} == {}


def test_landmarks_on_a_photograph_import_what_they_need(
    landmark_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from PIL import Image
    from skimage.data import astronaut

    photo = tmp_path / "photo.jpg"
    Image.fromarray(astronaut()).save(photo)
    arguments = ("landmarks", str(photo), "--model", str(landmark_run), "--out")
    imported = modules(*arguments, str(tmp_path / "first"))
    assert not set(HEAVY) & imported
    # Of the model that is taken when none is named, too.
    assert not {*HEAVY, "scipy.spatial", "scipy.optimize"} & modules(
        "landmarks", str(photo), "--out", str(tmp_path / "default")
    )
    assert not {"scipy.optimize", "skimage", "imageio", "pyarrow"} & imported
    # The tables of recipes are read to find a name; the recipes of other methods are not.
    others = [name for name in imported if ".fabrec." in name or ".depthnet." in name]
    assert sorted(others) == ["lineament.methods.depthnet.recipes", "lineament.methods.fabrec.recipes"]
    seconds, _ = timed("-m", "lineament", *arguments, str(tmp_path / "second"))
    torch_seconds, _ = timed("-c", "import torch")
    with capsys.disabled():
        print(f" landmarks on one photo {seconds:.2f} s, import torch alone {torch_seconds:.2f} s", end="")
    assert seconds < PHOTO
    assert len(list((tmp_path / "second").iterdir())) == 4

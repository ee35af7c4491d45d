"""A method is one folder: `LINEAMENT_METHODS` finds it, and the command line trains it as it trains any other."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lineament.cli.main import main
from lineament.training.run import open_run

METHODS = Path(__file__).parent / "toy_methods"
DATA = "synthetic?count=4&size=32"


@dataclass
class Done:
    stdout: str
    stderr: str


class Command:
    """Types a command in this process, with `LINEAMENT_METHODS` set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: str, methods: str = str(METHODS), code: int = 0) -> Done:
        self.monkeypatch.setenv("LINEAMENT_METHODS", methods)
        found = main(words)
        done = Done(*self.capsys.readouterr())
        assert found == code, done.stderr
        return done


@pytest.fixture
def lineament(
    toy_methods: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(monkeypatch, capsys)


@pytest.mark.parametrize("folder", [METHODS, METHODS / "brightness"], ids=["holds-it", "is-it"])
def test_its_recipes_are_listed(folder: Path, lineament: Command):
    shown = lineament("recipes", "brightness*", methods=str(folder)).stdout
    assert "how bright a face is, 2 channels" in shown and "brightness-wide" in shown
    shown = lineament("recipes", methods=os.pathsep.join(["", str(folder)])).stdout
    assert "dve-modern" in shown and "brightness-thin" in shown


def test_it_trains_and_resumes_bitwise(tmp_path: Path, lineament: Command):
    words = ["--data", DATA, "--device", "cpu", "--batch-size", "2", "--checkpoint-every", "2"]
    lineament("train", "brightness-wide", *words, "--preset", "tiny", "--run", str(tmp_path / "run"))
    run = open_run(tmp_path / "run")
    assert (run.recipe, run.method, run.config["width"]) == ("brightness-wide", "brightness", 16)
    lines = run.metrics("train")
    assert [line["steps_before"] for line in lines] == [0, 1, 2, 3]
    # As after a kill: the last checkpoint is gone, and the run goes on from the one before.
    kept, last = sorted(run.checkpoints.iterdir())
    assert (kept.name, last.name) == ("00000002", "00000004")
    before = run.read_checkpoint().groups["networks"]
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    lineament("resume", str(run.folder), "--device", "cpu", "--workers", "1")
    after = run.read_checkpoint().groups["networks"]
    assert run.metrics("train") == lines
    assert all(bool((value == after[key]).all()) for key, value in before.items())
    shown = lineament("train", "brightness-thin", "--help").stdout
    assert "Channels of the hidden layer." in shown and "--width" in shown


def test_without_data_it_says_what_it_trains_on(tmp_path: Path, lineament: Command):
    words = ["--device", "cpu", "--batch-size", "2", "--steps", "1", "--run", str(tmp_path / "a run")]
    said = lineament("train", "brightness-thin", *words).stderr
    assert "no --data is given: training on synthetic (drawn faces)." in said
    # What is named can be pasted, also where a folder has a blank in its name.
    said = lineament("train", "brightness-thin", "--data", DATA, *words, code=1).stderr
    assert f"`lineament resume '{tmp_path / 'a run'}'`" in said


def test_the_snippet_of_the_docs_runs_as_it_stands(tmp_path: Path, lineament: Command):
    words = ["--data", DATA, "--device", "cpu", "--preset", "tiny", "--run", str(tmp_path / "run")]
    lineament("train", "dve-smallnet-3d", *words, methods="")
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    snippet = page.split("In Python:")[1].split("```python")[1].split("```")[0]
    assert "open_run" in snippet and "load_networks" in snippet
    code = snippet.replace("runs/dve-smallnet-16d", str(tmp_path / "run")) + "\nprint(sorted(networks))\n"
    # A fresh process: nothing was registered or imported before.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "['descriptor']", done.stderr


def test_one_recipe_imports_no_other_method():
    code = (
        "import sys\n"
        "from lineament.training.registry import get_recipe, recipes\n"
        "assert len(recipes()) > 30 and get_recipe('dve-modern').summary\n"
        "assert 'torch' not in sys.modules, 'a table of recipes imports torch'\n"
        "get_recipe('fabrec-landmarks').build(preset='tiny')\n"
        "others = [m for m in sys.modules if m.startswith(('lineament.methods.dve.', 'lineament.methods.depthnet.'))]\n"
        "assert {m.rpartition('.')[2] for m in others} == {'recipes'}, others\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "LINEAMENT_METHODS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_what_is_no_method_is_said(tmp_path: Path, lineament: Command):
    assert "there is no folder /nowhere" in lineament("recipes", methods="/nowhere", code=2).stderr
    assert "holds no method" in lineament("recipes", methods=str(tmp_path), code=2).stderr
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "__init__.py").write_text("")
    (broken / "recipes.py").write_text("import no_such_module\n")
    said = lineament("recipes", methods=str(tmp_path), code=1).stderr
    assert "broken" in said and "no_such_module" in said and "Traceback" not in said
    # A folder with the name of another module would hide behind it.
    (tmp_path / "json").mkdir()
    for name in ("__init__.py", "recipes.py"):
        (tmp_path / "json" / name).write_text("")
    said = lineament("recipes", methods=str(tmp_path / "json"), code=2).stderr
    assert "name of another module" in said


def test_an_installed_method_is_found_by_its_entry_point(tmp_path: Path):
    info = tmp_path / "far-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: far\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[lineament.methods]\nfar = brightness.recipes\n")
    path = os.pathsep.join([str(tmp_path), str(METHODS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "lineament", "recipes", "brightness*"],
        env={**os.environ, "PYTHONPATH": path, "LINEAMENT_METHODS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "brightness-thin" in done.stdout, done.stderr

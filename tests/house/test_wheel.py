"""A wheel of the package works outside of the checkout, without a network: its models, tables and verbs are in it."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

ROOT = Path(__file__).parents[2]
# In place of a cable that is pulled: every connection of the new environment fails.
NO_NETWORK = """
import socket

def refuse(*words, **more):
    raise OSError("the test has no network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that holds this package from a wheel, and sees what it depends on where that is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    # With a checkout on its path pip takes the package for installed.
    settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    offline = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(folder / "dist"), str(source)]
    subprocess.run(build, check=True, env=settings)
    (wheel,) = (folder / "dist").glob("*.whl")
    place = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", *offline, str(wheel)], check=True, env=settings)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    (packages / "sitecustomize.py").write_text(NO_NETWORK)
    return place


def run(environment: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A verb of the installed package, in a folder, with nothing of this process's settings."""
    hidden = ("PYTHONPATH", "LINEAMENT_MODELS", "LINEAMENT_METHODS", "LINEAMENT_PACKS")
    settings = {key: value for key, value in os.environ.items() if key not in hidden}
    settings["XDG_CACHE_HOME"] = str(folder / "cache")
    command = [str(environment / "bin" / "lineament"), *words]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


def test_the_wheel_holds_what_is_no_code(environment: Path):
    (package,) = environment.glob("lib/python*/site-packages/lineament")
    ours = ROOT / "src" / "lineament"
    data = {
        path.relative_to(ours)
        for path in ours.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    }
    assert Path("shipped/README.md") in data and Path("pipeline/fetch/tables/ict_facekit/LICENSE") in data
    assert {path for path in data if not (package / path).is_file()} == set()


def test_models_are_listed(environment: Path, tmp_path: Path):
    done = run(environment, tmp_path, "models", "--json")
    assert done.returncode == 0, done.stderr
    for model in json.loads(done.stdout):
        assert model["shipped"] and not model["problem"]
        assert Path(model["folder"]).is_relative_to(environment)


def test_packs_are_asked_for_by_one_verb_alone(environment: Path, tmp_path: Path):
    done = run(environment, tmp_path, "data", "fetch", "portraits-colour")
    assert done.returncode == 1 and "cannot be reached" in done.stderr.splitlines()[-1], done.stderr
    assert (tmp_path / "cache" / "lineament" / "packs" / "downloads").is_dir()


def test_landmarks_on_a_photo(environment: Path, tmp_path: Path):
    (listed,) = [run(environment, tmp_path, "models", "--json").stdout]
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.png")
    done = run(environment, tmp_path, "landmarks", "photo.png")
    if "face-68" not in {model["name"] for model in json.loads(listed)}:
        assert done.returncode == 2 and "face-68, which would be taken, does not come with" in done.stderr
        pytest.skip("face-68 does not come with the package yet")
    assert done.returncode == 0, done.stderr
    (face,) = json.loads((tmp_path / "photo.png.landmarks.json").read_text())["faces"]
    assert len(face["landmarks"]) == 68

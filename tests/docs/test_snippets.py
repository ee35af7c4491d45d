"""Snippets of the documents do what they say, in a process where nothing else has run before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.documents import ROOT, Document

from lineament.cli.main import main


def test_a_run_is_opened_as_the_page_on_training_says(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "dve-smallnet-16d"
    words = ["--preset", "tiny", "--data", "synthetic?count=4&size=64", "--run", str(folder)]
    assert main(["train", "dve-smallnet-16d", *words]) == 0
    (snippet,) = (
        fence.text
        for fence in Document(ROOT / "docs" / "training.md").fences
        if fence.language == "python" and "open_run" in fence.text
    )
    told = "\nprint(len(run.metrics('train')), *networks, any(each.training for each in networks.values()))"
    done = subprocess.run(
        [sys.executable, "-c", snippet + told], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, *names, training = done.stdout.split()
    assert int(count) > 0 and names == ["descriptor"] and training == "False"


def test_the_networks_of_gmpi_are_built_as_their_page_says(tmp_path: Path) -> None:
    page = Document(ROOT / "docs" / "methods" / "gmpi-networks.md")
    (snippet,) = (fence.text for fence in page.fences if fence.language == "python")
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sizes = ("[1, 8, 64, 64]", "[1, 3, 64, 64]", "[1, 3, 64, 64]")
    assert done.stdout.strip() == " ".join(f"torch.Size({size})" for size in sizes)

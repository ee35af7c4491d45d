"""`lineament evaluate depth` and `lineament train` of a DepthNet, from the command line to cards, dump and figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.cli.main import main
from lineament.data.keypoint_depth import collect
from lineament.data.registry import open_data

DATA = "synthetic-keypoints?split=test&count=6"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("depth") / "run"
    words = ["train", "depthnet-modern", "--preset", "tiny", "--data", "synthetic-keypoints?count=20"]
    assert main([*words, "--validation", DATA, "--run", str(folder), "--device", "cpu"]) == 0
    return folder


def test_cards_grid_dump_and_figures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dump, figures = tmp_path / "depths", tmp_path / "figures"
    words = ["evaluate", "depth", str(run), "--data", DATA, "--dump", str(dump), "--figures", str(figures)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    for part in ("DepthCorr", "keypoint error with true depth", "source\\target", "faces.png"):
        assert part in printed
    with np.load(tmp_path / "depths.npz") as file:
        preds = file["preds"]
    assert preds.shape == (6, 6, 66) and preds.dtype == np.float64
    assert not preds[np.arange(6), np.arange(6)].any() and preds[0, 1].any()
    (cards,) = (run / "evaluations").glob("depth-*.json")
    names = [card["name"] for card in json.loads(cards.read_text())]
    assert names == ["DepthCorr", "keypoint error", "keypoint error with true depth"]
    assert len(list(figures.glob("*.png"))) == 4


def test_runs_of_several_seeds_are_averaged(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = tmp_path / "other"
    words = [
        "train",
        "depthnet-modern",
        "--preset",
        "tiny",
        "--data",
        "synthetic-keypoints?count=20",
        "--seed",
        "1",
    ]
    assert main([*words, "--validation", DATA, "--run", str(other), "--device", "cpu"]) == 0
    assert main(["evaluate", "depth", str(run), "--data", DATA]) == 0
    assert "2 seeds" not in capsys.readouterr().out
    assert main(["evaluate", "depth", str(run), str(other), "--data", DATA]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("depthnet-modern, 2 steps") and "2 seeds: DepthCorr" in row
    values = [
        json.loads(next((each / "evaluations").glob("depth-*.json")).read_text())[0]["value"]
        for each in (run, other)
    ]
    assert f"DepthCorr {sum(values) / 2:.4g} ±" in row


def test_depths_of_single_faces_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    faces = collect(open_data(DATA))
    assert faces.depth is not None
    kps = torch.cat([faces.keypoints.transpose(1, 2), -2 * faces.depth[:, None]], dim=1)[[3, 1, 5]]
    ids = np.array([faces.ids[row].encode() for row in (3, 1, 5)])
    np.savez(tmp_path / "mofa.npz", ids=ids, kps=kps.numpy())
    assert main(["evaluate", "depth", str(tmp_path / "mofa.npz"), "--data", DATA]) == 0
    # Sign and scale of the depth do not matter.
    assert "DepthCorr: 66 of at most 66" in capsys.readouterr().out
    np.savez(tmp_path / "mofa.npz", ids=np.array(["nobody"]), kps=kps[:1].numpy())
    assert main(["evaluate", "depth", str(tmp_path / "mofa.npz"), "--data", DATA]) == 1
    assert "nobody" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--data", DATA], 2, "at least one run"),
        (["nowhere"], 2, "say what to score on"),
        (["nowhere", "--data", DATA], 1, "no run directory"),
        (["a", "b", "--data", DATA, "--dump", "c"], 2, "one run at a time"),
        (["a", "--data", DATA, "--count", "-1"], 2, "--count"),
        (["a", "--photos", ".", "--frontal", "0"], 2, "--frontal"),
        (
            ["a", "--data", DATA, "--head", "ict", "--frontal", "9"],
            2,
            "leave out --head, --frontal",
        ),
    ],
)
def test_wrong_words(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "depth", *words]) == code
    assert said in capsys.readouterr().err

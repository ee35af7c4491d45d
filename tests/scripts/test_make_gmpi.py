"""The script that trains a small GMPI from nothing: its plan, all of it on a tiny scale, and that it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import make_gmpi
import pytest
import stages

from lineament.cli.main import main
from lineament.training.registry import get_recipe
from lineament.training.run import open_run


def in_this_process(words: list[str], **_: object) -> SimpleNamespace:
    """Run a command without the seconds that another interpreter needs to start."""
    assert words[1:3] == ["-m", "lineament"]
    return SimpleNamespace(returncode=main(words[3:]))


def test_every_size_can_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for size, chosen in make_gmpi.SIZES.items():
        words = ["--dry-run", "--size", size, "--packs", str(tmp_path), "--out", str(tmp_path / "out")]
        assert make_gmpi.main(["synthetic", "portraits", *words]) == 0
        planned = capsys.readouterr().out
        for recipe in ("stylegan2", "gmpi-folder"):
            assert planned.count(f"lineament train {recipe} --preset {chosen.preset}") == 2
            get_recipe(recipe).config(chosen.preset)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        make_gmpi.main(["portrait", *words])


def test_drawn_faces_become_a_gmpi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "subprocess", SimpleNamespace(run=in_this_process))
    # Without packs, whatever this machine has.
    monkeypatch.setattr(make_gmpi, "packs_folder", lambda given: tmp_path / "none")
    words = ["--size", "tiny", "--device", "cpu", "--workers", "1", "--out", str(tmp_path)]
    assert make_gmpi.main(words) == 0
    run = open_run(tmp_path / "synthetic-gmpi")
    assert run.config["base"].endswith("synthetic-base") and run.config["yaw_std"] == 0.289
    assert any(run.folder.rglob("*.mp4")) and any(run.folder.rglob("colour.png"))
    for each in ("base", "gmpi"):
        cards = json.loads(next((tmp_path / f"synthetic-{each}").glob("evaluations/gmpi-*.json")).read_text())
        assert any(
            "Frechet distance" in card["name"]
            for card in (cards if isinstance(cards, list) else cards["cards"])
        )
    # As after a kill in the middle of a training: it is resumed to the same weights; the rest is left.
    weights = {path: path.read_bytes() for path in tmp_path.rglob("networks.safetensors")}
    record = json.loads((tmp_path / "record.json").read_text())
    del record["synthetic: train synthetic-gmpi"]["done"]
    (tmp_path / "record.json").write_text(json.dumps(record))
    run_again: list[str] = []

    def watched(words: list[str], **_: object) -> SimpleNamespace:
        run_again.append(words[3])
        return in_this_process(words)

    monkeypatch.setattr(stages, "subprocess", SimpleNamespace(run=watched))
    assert make_gmpi.main(words) == 0
    assert run_again == ["data", "data", "resume"]
    assert weights == {path: path.read_bytes() for path in tmp_path.rglob("networks.safetensors")}


def test_portraits_without_packs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_gmpi, "packs_folder", lambda given: tmp_path / "none")
    with pytest.raises(SystemExit, match="lineament data fetch"):
        make_gmpi.main(["portraits", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()

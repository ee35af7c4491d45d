"""The script that trains the shipped models: its plan, and that a repeated command goes on."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import stages

from lineament.capabilities import DepthPredictor, LandmarkPredictor
from lineament.inference import DEFAULT_MODELS, load
from lineament.training.model_card import read_card
from lineament.training.registry import get_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_models", ROOT / "scripts" / "make_models.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_models"] = module
    spec.loader.exec_module(module)
    return module


def test_every_size_can_be_planned(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / script.JUDGE).mkdir()
    words = ["--dry-run", "--packs", str(tmp_path), "--out", str(tmp_path / "out")]
    for size in script.SIZES:
        assert script.main([*words, "--size", size]) == 0
        planned = capsys.readouterr().out
        chosen = script.SIZES[size]
        trained = [options for options in (chosen.landmarks, chosen.scale, chosen.dense) if options]
        assert planned.count("--scale-only") == 1 and ("--faces" in planned) is chosen.limit
        assert planned.count("lineament train depthnet") == 1
        assert planned.count("lineament train landmarks") == len(trained)
        assert ("--judge" in planned) is chosen.real
        for options in trained:
            get_recipe("landmarks").config(options[options.index("--preset") + 1])
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        script.main(["face-86", *words])


def test_the_card_of_face_68_says_what_is_done(script: ModuleType) -> None:
    card, size = read_card(script.CARDS / "face-68.yaml"), script.SIZES["full"]
    for count, seed in size.faces.values():
        assert count % 64 == 0 and f"{count:,}" in card.data and f"seed {seed}" in card.data
    words = size.landmarks
    assert f"preset `{words[words.index('--preset') + 1]}`" in card.training
    assert f"{int(words[words.index('--steps') + 1]):,} steps" in card.training
    assert words[words.index("--precision") + 1] in card.training and f"{size.side} px" in card.data
    scale = size.scale
    assert f"{int(scale[scale.index('--steps') + 1]):,} steps" in card.training


def test_every_model_has_a_card_that_says_what_it_is_not_for(script: ModuleType) -> None:
    assert set(script.MODELS) <= set(DEFAULT_MODELS.values())
    for name in script.MODELS:
        card = read_card(script.CARDS / f"{name}.yaml")
        assert card.summary and card.licence and card.data and "make models" in card.training
        assert "identifying" in card.limits


def test_other_words_are_refused_before_anything_is_run(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an older list has made may stand behind hours of new work: here in the last stage of all."""
    run: list[list[str]] = []
    monkeypatch.setattr(stages.subprocess, "run", lambda words, **_: run.append(words))
    record = {"face-68: pack": {"words": ["models", "pack", "elsewhere"]}}
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit, match="face-68: pack was begun as `models pack elsewhere` and is now"):
        script.main(["--size", "tiny", "--out", str(tmp_path)])
    assert run == [] and json.loads((tmp_path / "record.json").read_text()) == record


@pytest.mark.slow
def test_a_repeated_command_goes_on(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    words = ["--size", "tiny", "--out", str(tmp_path), "--device", "cpu", "--workers", "1"]
    assert script.main(words) == 0
    weights = {path: path.read_bytes() for path in tmp_path.glob("packed/*/weights.safetensors")}
    # `face-dense` needs the head of the packs.
    assert {path.parent.name for path in weights} == {"face-68", "face-depth"}
    for name, wanted in (("face-68", LandmarkPredictor), ("face-depth", DepthPredictor)):
        assert load(tmp_path / "packed" / name).has(wanted)
    # As after a kill in the middle of a training: it is resumed, and what follows is done again.
    record = json.loads((tmp_path / "record.json").read_text())
    for key in ("face-68: train", "face-68: pack"):
        del record[key]["done"]
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert script.main(["face-68", *words]) == 0
    assert weights == {path: path.read_bytes() for path in tmp_path.glob("packed/*/weights.safetensors")}
    with pytest.raises(SystemExit, match="was begun as"):
        script.main(["face-68", *words[:-1], "1", "--size", "full", "--packs", str(tmp_path)])

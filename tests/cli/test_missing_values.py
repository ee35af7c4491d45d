"""What an empty shell variable leaves behind, an option without values or an empty word, is refused, not guessed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from lineament.cli.main import VERBS, main
from lineament.cli.parse import options_of_several
from lineament.cli.train import TrainOptions
from lineament.training.registry import get_recipe


def several() -> list[tuple[str, str]]:
    """Every option of every verb, and of every recipe's training, that takes any number of values."""
    found = []
    for verb, (module, _) in VERBS.items():
        command = getattr(importlib.import_module(f"lineament.cli.{module}"), "Command", None)
        if command is not None:
            found += [(verb, option) for option in options_of_several(command)]
    found += [("train dve-modern", option) for option in options_of_several(TrainOptions)]
    for recipe in ("landmarks", "fabrec-modern", "depthnet-modern"):
        config = get_recipe(recipe).config_class
        found += [(f"train {recipe}", option) for option in options_of_several(config)]
    return found


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2, words
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    return sentence


def test_the_options_are_found():
    assert {
        ("train dve-modern", "--data"),
        ("train dve-modern", "--validation"),
        ("train landmarks", "--unlabelled"),
        ("train landmarks", "--widths"),
        ("landmarks", "--format"),
        ("analyze", "--crops"),
        ("evaluate few-shot", "--unlabelled"),
        ("evaluate depth", "--photos"),
    } <= set(several())


@pytest.mark.parametrize("behind", [[], ["--overwrite"]], ids=["last", "before another"])
def test_an_option_of_several_values_without_one_is_refused(
    behind: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for verb, option in several():
        for spelt in (option, option.replace("-", "_").replace("__", "--", 1)):
            sentence = refused([*verb.split(), spelt, *behind], capsys)
            assert f"{option} is given without a value" in sentence, (verb, spelt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["detect", ""], "word 1 behind `lineament detect` is empty"),
        (["detect", "a.png", "--out", ""], "the value of --out is empty"),
        (["train", "dve-modern", "--data", ""], "the value of --data is empty"),
        (["train", "dve-modern", "--data="], "the value of --data is empty"),
        (["train", "dve-modern", "--data", "a", "--run", "", "--steps", "1"], "the value of --run is empty"),
        (["match", "a.png", ""], "word 2 behind `lineament match` is empty"),
    ],
)
def test_an_empty_word_is_refused(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert says in refused(words, capsys)
    assert not list(tmp_path.iterdir())


def test_negative_numbers_are_values_and_help_is_given(capsys: pytest.CaptureFixture[str]):
    # The number is wrong for the recipe, yet it was read.
    assert main(["train", "depthnet-modern", "--widths", "-1", "--steps", "0"]) != 0
    assert "without a value" not in capsys.readouterr().err
    assert main(["train", "depthnet-modern", "--data", "--help"]) == 0

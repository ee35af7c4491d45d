"""The demo at a reduced size: every stage runs, every picture is there, nothing is overwritten unasked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lineament.cli.main import main
from lineament.data.images import read_image
from lineament.pipeline.evaluate.few_shot import _Study


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        # The models of the few-shot plot are trained by helpers: this process only gathers them.
        patch.setattr(_Study, "train_cell", forbidden)
        assert main(["demo", "--tiny", "--out", str(out)]) == 0
    return out


def forbidden(*_: object) -> None:
    raise AssertionError("a helper's model was not found")


def test_report_shows_photo_curves_tables_and_commands(demo: Path):
    page = (demo / "report.html").read_text()
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]{1000})', page)
    assert len(pictures) == len(set(pictures)) >= 6
    titles = [re.sub("<.*?>", "", title) for title in re.findall(r"<h2.*?</h2>", page)]
    assert titles[0] == "A real photograph"
    assert {
        "Numbers",
        "Learning without labels",
        "What the descriptors see",
        "How many labels it takes",
    } <= set(titles)
    for command in (
        "lineament landmarks",
        "lineament match",
        "lineament evaluate",
        "lineament train",
        "demo --tiny",
    ):
        assert command in page
    assert "://" not in re.sub(r"base64,[^\"]*", "", page), "the page must open without a network"


def test_every_picture_has_its_numbers(demo: Path):
    for name in ("photo", "unseen", "descriptors", "match", "loss", "matching", "few-shot"):
        picture = read_image(demo / "figures" / f"{name}.png")
        assert picture.std() > 0.02
        assert json.loads((demo / "figures" / f"{name}.json").read_text())


def test_every_number_has_a_card_and_a_line_to_beat(demo: Path):
    cards = {card["name"]: card for card in json.loads((demo / "cards.json").read_text())}
    assert any("mean shape" in name for name in cards)
    for card in cards.values():
        assert card["count"] > 0
        assert card["seed"] == 0
        assert card["fingerprint"]
        assert card["protocol"]
        assert card["definition"]


def test_helpers_leave_their_work_and_nothing_else(demo: Path):
    names = {
        f"{variant}-{count}-0.json" for variant in ("dve", "fabrec-modern", "supervised") for count in (1, 4)
    }
    assert {path.name for path in (demo / "few-shot" / "cells").iterdir()} == names
    assert [path.name for path in (demo / "few-shot").iterdir()] == ["cells"]
    assert (demo / "autoencoder" / "report.html").exists()
    page = (demo / "report.html").read_text()
    assert page.count("meanwhile, in a process of its own") == 2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(demo: Path, tmp_path: Path):
    assert main(["demo", "--tiny", "--out", str(tmp_path / "again")]) == 0
    for name in ("cards.json", "few-shot.cards.json"):
        assert (tmp_path / "again" / name).read_text() == (demo / name).read_text()


def test_commands_of_the_report_run(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    photo = demo / "figures" / "astronaut.png"
    assert main(["landmarks", str(photo), "--model", str(demo / "landmarks"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "astronaut.png.landmarks.json").exists()
    match = ["match", str(photo), str(photo), "--model", str(demo / "descriptors"), "--out", str(tmp_path)]
    assert main(match) == 0, capsys.readouterr().err


def test_nothing_is_overwritten_unasked(demo: Path, capsys: pytest.CaptureFixture[str]):
    before = (demo / "report.html").read_bytes()
    assert main(["demo", "--tiny", "--out", str(demo)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (demo / "report.html").read_bytes() == before


def test_missing_packs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [
        "demo",
        "--tiny",
        "--real",
        "--packs",
        str(tmp_path / "none"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 1
    assert "none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_packs_without_portraits_are_named(tmp_path: Path, packs: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "ict_facekit").symlink_to(packs / "ict_facekit")
    arguments = [
        "demo",
        "--tiny",
        "--real",
        "--packs",
        str(tmp_path / "packs"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 1
    assert "portraits" in capsys.readouterr().err

"""The demo at a reduced size: every stage runs, every picture is there, nothing is overwritten unasked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lineament.cli.main import main
from lineament.data.images import read_image


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--tiny", "--out", str(out)]) == 0
    return out


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

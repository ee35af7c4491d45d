"""The demo at a reduced size: every stage runs, every picture is there, nothing is overwritten unasked."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import io
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lineament.capabilities import Landmarks
from lineament.cli.main import main
from lineament.data.images import read_image
from lineament.faces.landmark_scheme import LandmarkScheme
from lineament.faces.schemes import scheme
from lineament.pipeline.demo import run as demo_run
from lineament.pipeline.demo.photo import ABSENT, astronaut, find_astronaut, mark_photo
from lineament.pipeline.demo.photo_score import PhotoScore
from lineament.pipeline.demo.report import loss_name, write_demo_report
from lineament.pipeline.demo.training import PLANS, DemoResult, train_demo
from lineament.pipeline.evaluate.few_shot import _Study
from lineament.training.model_card import ModelCard
from lineament.training.model_folder import write_model
from lineament.training.models import FOLDERS
from lineament.training.run import open_run


@dataclass
class Made:
    """A tiny demo: its folder, what it trained, and what its command printed."""

    out: Path
    result: DemoResult
    printed: str


@pytest.fixture(scope="module")
def models(landmark_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model `face-68` that was hardly trained."""
    folder = tmp_path_factory.mktemp("models")
    write_model(open_run(landmark_run), folder / "face-68", ModelCard())
    return folder


@pytest.fixture(scope="module")
def made(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("demo") / "out"
    results: list[DemoResult] = []

    def recording(*arguments: Any, **options: Any) -> DemoResult:
        results.append(train_demo(*arguments, **options))
        return results[-1]

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        # The models of the few-shot plot are trained by helpers: this process only gathers them.
        patch.setattr(_Study, "train_cell", forbidden)
        patch.setattr(demo_run, "train_demo", recording)
        patch.setenv(FOLDERS, str(models))
        with contextlib.redirect_stdout(printed):
            assert main(["demo", "--tiny", "--out", str(out)]) == 0
    return Made(out, results[0], printed.getvalue())


@pytest.fixture(scope="module")
def demo(made: Made) -> Path:
    return made.out


def forbidden(*_: object) -> None:
    raise AssertionError("a helper's model was not found")


def test_the_report_begins_with_the_photo_and_shows_curves_tables_and_commands(demo: Path):
    page = (demo / "report.html").read_text()
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]{1000})', page)
    assert len(pictures) == len(set(pictures)) >= 6
    assert titles_of(page) == [
        "A photo, with the model that comes with the package",
        "Learning without labels",
        "What the descriptors see",
        "How many labels it takes",
        "Landmarks from few labels",
        "Numbers",
        "How it was made",
    ]
    first = page.index("<img")
    assert "The astronaut Eileen Collins" in page[first : page.index("</figure>", first)]
    assert f"lineament landmarks {demo / 'figures' / 'astronaut.png'}</code>" in page
    for command in ("lineament match", "lineament evaluate", "lineament train", "demo --tiny"):
        assert command in page
    assert "://" not in re.sub(r"base64,[^\"]*", "", page), "the page must open without a network"


def test_the_photo_is_marked_before_anything_is_trained(made: Made):
    told, picture, *rest = made.printed.splitlines()
    assert told.startswith("The model face-68 puts 68 landmarks on the photo in ")
    assert picture == str(made.out / "figures" / "photo.png")
    numbers = json.loads((made.out / "figures" / "photo.json").read_text())
    assert len(numbers["predicted"][0]) == 68
    scores = json.loads((made.out / "photo.json").read_text())
    assert scores["shipped"] == numbers["numbers"]["disagreement"] > 0
    assert f"{scores['shipped']:.1f} % of the eye distance" in told
    assert rest, "and the rest of the demo follows"


def test_without_the_model_the_demo_says_so(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv(FOLDERS, raising=False)
    monkeypatch.setattr("lineament.training.models.shipped_folder", lambda: tmp_path / "no-models")
    monkeypatch.setattr(demo_run, "train_demo", lambda *_, **__: made.result)
    assert mark_photo(tmp_path / "figures") is None
    assert main(["demo", "--tiny", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == ABSENT
    page = (tmp_path / "out" / "report.html").read_text()
    assert html.escape(ABSENT) in page
    assert titles_of(page)[0] == "Learning without labels"
    assert not (tmp_path / "out" / "figures" / "photo.png").exists()
    assert json.loads((tmp_path / "out" / "photo.json").read_text())["shipped"] is None


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


def titles_of(page: str) -> list[str]:
    return [re.sub("<.*?>", "", title) for title in re.findall(r"<h2.*?</h2>", page)]


def commands_of(page: str) -> list[list[str]]:
    """Every command that the page shows, as words, each once."""
    shown = dict.fromkeys(re.findall(r"<pre><code>(.*?)</code></pre>", page, flags=re.DOTALL))
    return [shlex.split(html.unescape(command)) for command in shown]


def test_commands_of_the_report_run(
    demo: Path,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Each as it stands, but for where it writes; what trains gives the losses of the run that it stands under."""
    monkeypatch.setenv(FOLDERS, str(models))
    commands = commands_of((demo / "report.html").read_text())
    verbs = [words[1] for words in commands]
    assert all(words[0] == "lineament" for words in commands)
    assert sorted(verbs) == ["demo", "evaluate", "landmarks", "match", "train", "train"]
    for number, (verb, words) in enumerate(zip(verbs, commands, strict=True)):
        folder = tmp_path / str(number)
        if verb == "demo":
            # What made this very folder; `test_the_same_seed_gives_the_same_numbers` runs it again.
            assert words == ["lineament", "demo", "--tiny", "--out", str(demo)]
            continue
        if verb == "train":
            place = words.index("--run") + 1
            original, words[place] = open_run(words[place]), str(folder)
        elif verb in ("landmarks", "match"):
            words += ["--out", str(folder)]
        assert main(words[1:]) == 0, (words, capsys.readouterr().err)
        if verb == "train":
            again = open_run(folder)
            assert again.metrics("train") == original.metrics("train")
            assert again.metrics("evaluation") == original.metrics("evaluation")
        elif verb != "evaluate":
            assert any(folder.iterdir())


@pytest.mark.parametrize("name", PLANS)
def test_the_loss_is_called_what_it_is(name: str, demo: Path):
    config = {**open_run(demo / "descriptors").config, **PLANS[name].descriptors}
    assert config["exchange"] is False
    assert loss_name(config) == "dense correlation loss (without exchange)"
    assert "exchange loss" not in (demo / "report.html").read_text()


def test_names_of_losses_follow_the_fields_of_the_run():
    published = {"exchange": True, "dense_share": 0.0, "warmup": 0.0}
    assert loss_name(published) == "descriptor-exchange loss"
    assert "0.5 without" in loss_name({**published, "dense_share": 0.5})
    assert "first 40%" in loss_name({**published, "warmup": 0.4})
    assert "exchange loss" not in loss_name({**published, "dense_share": 1.0})


class Pretender:
    """A model that answers the detector's five points on the photograph, so many pixels beside them."""

    def __init__(self, five: Tensor, off: float) -> None:
        self.five, self.off = five, off

    @property
    def scheme(self) -> LandmarkScheme:
        return scheme("5")

    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        points = (self.five + torch.tensor([self.off, 0.0])).expand(len(boxes), 5, 2)
        return Landmarks(points, torch.ones(len(boxes), 5))


class PretendedResult(DemoResult):
    """A demo's result with another landmark model."""

    model: Pretender

    def predictor(self) -> Any:
        return self.model


def pretended(made: Made, off: float, mean_off: float) -> PretendedResult:
    fields = {field.name: getattr(made.result, field.name) for field in dataclasses.fields(DemoResult)}
    five = find_astronaut(astronaut())[1]
    result = PretendedResult(**{**fields, "mean_shape": Pretender(five, mean_off)})
    result.model = Pretender(five, off)
    return result


@pytest.mark.parametrize(("off", "wins"), [(9.0, True), (11.0, False), (24.0, False)])
def test_landmarks_that_fail_on_the_photo_are_not_shown_on_it(
    off: float, wins: bool, made: Made, tmp_path: Path
):
    """A success is at most half of the mean shape's disagreement; here the mean shape is 20 pixels off."""
    result = pretended(made, off, 20.0)
    report = write_demo_report(result, PLANS["tiny"], tmp_path / "out", command="lineament demo")
    assert report.photo.convincing is wins
    assert report.photo.model == pytest.approx(report.photo.mean_shape * off / 20)
    page = report.path.read_text()
    lead = html.unescape(re.findall(r'<p class="lead">(.*?)</p>', page)[0])
    assert report.photo.sentence in lead
    assert ("The landmarks trained here fail on the real photo" in lead) is not wins
    assert ("landmarks of the model trained here (left)" in page) is wins
    assert ("lineament landmarks" in page) is wins
    assert (tmp_path / "out" / "figures" / "photo-trained.png").exists() is wins
    # The numbers are told in any case.
    assert json.loads((tmp_path / "out" / "photo.json").read_text())["model"] == report.photo.model
    assert f"{report.photo.mean_shape:.1f} %" in html.unescape(page)


def test_the_command_says_how_the_photo_went_and_ends_with_the_page(made: Made):
    *_, sentence, last = made.printed.strip().splitlines()
    assert last == str(made.out / "report.html")
    numbers = json.loads((made.out / "photo.json").read_text())
    score = PhotoScore(numbers["model"], numbers["mean_shape"])
    assert sentence == score.sentence
    assert (
        "photo-trained.png" in {path.name for path in (made.out / "figures").iterdir()}
    ) is score.convincing


def test_numbers_that_are_not_finite_are_no_success():
    assert not PhotoScore(float("nan"), 18.0).convincing
    assert not PhotoScore(3.0, float("nan")).convincing


def test_nothing_is_overwritten_unasked(demo: Path, capsys: pytest.CaptureFixture[str]):
    before = (demo / "report.html").read_bytes()
    assert main(["demo", "--tiny", "--out", str(demo)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (demo / "report.html").read_bytes() == before


def test_an_older_demo_leaves_no_figures_behind(
    made: Made, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(FOLDERS, str(models))
    monkeypatch.setattr(demo_run, "train_demo", lambda *_, **__: made.result)
    figures = tmp_path / "figures"
    figures.mkdir()
    stale = [figures / name for name in ("portraits.png", "portraits.json", "photo-trained.png")]
    for path in (*stale, figures / "loss.png", figures / "mine.png"):
        path.write_bytes(b"old")
    assert main(["demo", "--tiny", "--out", str(tmp_path), "--overwrite"]) == 0
    convincing = (made.out / "figures" / "photo-trained.png").exists()
    assert [path.exists() for path in stale] == [False, False, convincing]
    assert (figures / "loss.png").read_bytes() != b"old" == (figures / "mine.png").read_bytes()


def test_all_that_a_demo_writes_can_be_cleared(demo: Path):
    assert {path.stem for path in (demo / "figures").iterdir()} <= set(demo_run.FIGURES)
    assert {path.name for path in demo.iterdir() if path.is_file()} <= set(demo_run.FILES)


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

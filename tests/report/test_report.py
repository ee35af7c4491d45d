"""The one-file report: whole, safe, accessible, and it opens in a browser without a network."""

from __future__ import annotations

import base64
import html.parser
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.browser import Shown

from lineament.report.figures import draw_grid, jsonable, plot_curves
from lineament.report.html import Report
from lineament.report.tables import Table

VOID = {"meta", "link", "img", "br"}


class Outline(html.parser.HTMLParser):
    """Collects tags with their attributes and checks that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    report = Report("Faces <& more>", "A lead with 'quotes'.")
    image = torch.rand(3, 12, 10)
    points = torch.tensor([[2.0, 3.0], [float("nan"), 1.0]])
    grid = draw_grid(
        tmp_path / "grid.png", [image] * 3, titles=["a", "b", "c"], predicted=[points], true=[points]
    )
    report.image(grid, "Three faces", command="lineament landmarks 'a b.jpg' > out && echo <ok>")
    report.section("Curves & tables")
    report.image(
        plot_curves(tmp_path / "c.png", {"loss": ([1, 2], [0.5, 0.1])}, x_label="step", y_label="px"), "x"
    )
    table = Table("Errors", ("method", "error", "faces"), ("", "% of inter-ocular", ""), best=1)
    table.add("mean shape", 13.52491, 100)
    table.add("<ours>", 4.0, 100)
    table.add("absent", None, 0)
    report.table(table)
    report.facts("Provenance", {"seed": 3, "commit": None})
    return report.write(tmp_path / "report.html")


def test_the_page_is_whole_and_nests(page: Path):
    outline = Outline()
    outline.feed(page.read_text(encoding="utf-8"))
    assert outline.open == []
    names = [tag for tag, _ in outline.tags]
    assert names.count("h1") == 1
    assert ("html", {"lang": "en"}) in outline.tags
    for tag, attributes in outline.tags:
        if tag == "img":
            assert attributes["alt"]
            kind, data = (attributes["src"] or "").split(",", 1)
            assert kind == "data:image/png;base64"
            assert base64.b64decode(data)[1:4] == b"PNG"
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    assert names.count("caption") == names.count("table") == 2
    assert names.count("img") == names.count("figcaption") == 2
    text = " ".join(outline.words)
    for words in ("Faces <& more>", "echo <ok>", "<ours>", "error (% of inter-ocular)", "13.52", "–"):
        assert words in text


def test_nothing_is_fetched_and_no_script_runs(page: Path):
    text = page.read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "<script" not in text
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_numbers_lie_beside_every_picture(page: Path):
    grid = json.loads((page.parent / "grid.json").read_text())
    assert grid["predicted"] == [[[2.0, 3.0], [None, 1.0]]]
    curve = json.loads((page.parent / "c.json").read_text())
    assert curve["curves"]["loss"] == {"x": [1, 2], "y": [0.5, 0.1]}
    assert curve["y_label"] == "px"


def test_equal_figures_are_equal_files(tmp_path: Path):
    images = [torch.full((1, 6, 8), 0.3), torch.rand(3, 5, 5)]
    for name in ("one", "two"):
        draw_grid(tmp_path / f"{name}.png", images, numbers={"nme": 0.1})
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with pytest.raises(ValueError, match="no images"):
        draw_grid(tmp_path / "none.png", [])


def test_landmarks_are_drawn_where_they_are(tmp_path: Path):
    black = torch.zeros(3, 40, 40)
    draw_grid(tmp_path / "a.png", [black], predicted=[torch.tensor([[30.0, 10.0]])], inches=4.0)
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "a.png").convert("RGB"))).reshape(-1, 3)
    width, height = Image.open(tmp_path / "a.png").size
    yellow = ((pixels[:, 0] > 180) & (pixels[:, 2] < 90)).nonzero()[:, 0]
    x, y = (yellow % width).float().mean() / width, (yellow // width).float().mean() / height
    # Pixel centres at integers: the middle of pixel 30 of 40 is at 30.5 / 40 of the picture.
    assert float(x) == pytest.approx(30.5 / 40, abs=0.02)
    assert float(y) == pytest.approx(10.5 / 40, abs=0.02)


def test_values_json_does_not_know_become_null():
    value = {"a": torch.tensor([1.0, float("inf")]), 2: (float("nan"), Path("x")), "n": None}
    assert jsonable(value) == {"a": [1.0, None], "2": [None, "x"], "n": None}


def test_tables_as_text_and_wrong_widths():
    table = Table("Speed", ("net", "rate"), ("", "images/s"), [("a", 1.0), ("longer", 12345.678)])
    assert table.to_text().splitlines() == ["net     rate (images/s)", "a       1", "longer  1.235e+04"]
    with pytest.raises(ValueError, match="3 cells for 2 columns"):
        table.add("a", 1, 2)
    with pytest.raises(ValueError, match="1 units for 2 columns"):
        Table("Speed", ("net", "rate"), ("s",))


def test_a_browser_shows_it_from_disk(page: Path, tmp_path: Path, show_page: Callable[[Path], Shown]):
    shown = show_page(page)
    assert shown.page.title() == "Faces <& more>"
    assert shown.page.get_by_text("Provenance").first.is_visible()
    pictures = shown.page.locator("img")
    assert pictures.count() >= 2
    for index in range(pictures.count()):
        pictures.nth(index).scroll_into_view_if_needed()
        assert pictures.nth(index).evaluate("image => image.complete && image.naturalWidth > 0")
    shown.page.screenshot(path=tmp_path / "shot.png", full_page=True)
    assert len(Image.open(tmp_path / "shot.png").convert("RGB").getcolors(1 << 24)) > 50
    # A refused style or script would be an error of the console.
    assert shown.faults == [] and shown.outside == []

"""The check finds what readers would refuse, and its list makes them accept the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trees

from lineament.data.registry import open_source, parse_data
from lineament.errors import LineamentError
from lineament.pipeline.prepare.check import check, open_unfiltered, write_report


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(8):
        trees.save_picture(tmp_path / f"{i}.png", 20 + i, 10, i)
    trees.save_picture(tmp_path / "copy.png", 23, 10, 3)
    (tmp_path / "4.png").write_bytes(b"")
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "5.png").read_bytes()[:90])
    return tmp_path


@pytest.mark.parametrize("workers", [1, 3])
def test_faults_copies_and_sizes(photos: Path, workers: int) -> None:
    steps: list[None] = []
    report = check(open_source("folder", photos), workers=workers, advance=lambda: steps.append(None))
    assert list(report.faults) == ["4.png", "torn.jpg"] and len(steps) == report.total == 10
    assert "is empty" in report.faults["4.png"]
    assert report.duplicates == [["3.png", "copy.png"]]
    assert (report.smallest, report.largest) == ((20, 10), (27, 10))
    assert "10 samples, 2 unusable (20.00%)" in report.summary() and "3.png = copy.png" in report.summary()


def test_the_list_is_written_honoured_and_renewed(photos: Path) -> None:
    request = parse_data(photos)
    report = check(open_unfiltered(request))
    assert str(photos / "reject.json") in write_report(report, request, None, False)
    assert len(open_source("folder", photos)) == 8
    assert check(open_source("folder", photos)).faults == {}
    assert "says the same" in write_report(report, request, None, False)
    trees.save_picture(photos / "4.png", 24, 10, 4)
    again = check(open_unfiltered(parse_data(photos)))
    assert list(again.faults) == ["torn.jpg"]
    with pytest.raises(LineamentError, match=r"lists 2 samples, this check found 1.*--overwrite"):
        write_report(again, request, None, False)
    assert "replaced" in write_report(again, request, None, True)
    assert len(open_source("folder", photos)) == 9


def test_labels_are_checked_too(tmp_path: Path) -> None:
    trees.make_portraits(tmp_path)
    index = tmp_path / "index.csv"
    index.write_text(index.read_text().replace("P002,3,4,20,24", "P002,300,4,20,24"))
    report = check(open_source("portraits", tmp_path))
    assert list(report.faults) == ["P002"] and "outside the 40x50" in report.faults["P002"]
    assert report.boxes == 4 and report.landmarks == 0
    trees.make_300w(tmp_path / "w")
    assert len(check(open_source("300w", tmp_path / "w", subset=True), points=5).faults) == 6


def test_nothing_wrong_writes_nothing(tmp_path: Path) -> None:
    trees.save_picture(tmp_path / "a.png", 5, 5)
    request = parse_data(tmp_path)
    assert "no list is written" in write_report(check(open_unfiltered(request)), request, None, False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_single_missing_and_hidden_points_are_counted(tmp_path: Path) -> None:
    trees.save_picture(tmp_path / "a.png", 40, 30, 0)
    trees.save_picture(tmp_path / "b.png", 40, 30, 1)
    points = [[1, 2], None, [3, 4], [5, 6], [7, 8]]
    faces = [
        {"image": "a.png", "landmarks": points, "visible": [True, None, False, False, True]},
        {"image": "b.png", "landmarks": [None] * 5},
    ]
    (tmp_path / "labels.json").write_text(json.dumps({"scheme": "5", "faces": faces}))
    report = check(open_source("folder", tmp_path, rejects="none"))
    assert (report.missing, report.hidden, report.landmarks, list(report.faults)) == (1, 2, 1, ["b.png"])
    assert "1 single points are missing, 2 are hidden but placed" in report.summary()

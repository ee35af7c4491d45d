"""Bad samples: what is wrong, how many may be, and lists of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import trees
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.data.registry import open_source
from lineament.data.rejects import (
    BadFiles,
    box_faults,
    find_rejects,
    label_faults,
    read_rejects,
    usable,
    write_rejects,
)
from lineament.data.sample import FaceSample
from lineament.errors import DataError


def sample(landmarks: object = None, box: object = None) -> FaceSample:
    as_tensor = lambda values: None if values is None else torch.tensor(values, dtype=torch.float32)  # noqa: E731
    return FaceSample("x", torch.zeros(3, 20, 30), box=as_tensor(box), landmarks=as_tensor(landmarks))


@pytest.mark.parametrize(
    ("landmarks", "box", "expected"),
    [
        ([[1, 2], [3, 4]], [0, 0, 10, 10], []),
        (None, None, []),
        ([[float("nan"), 2], [3, 4]], None, []),
        ([[float("nan"), 2], [300, 4]], None, ["all landmarks lie outside the 30x20 image"]),
        ([[float("nan"), 2], [3, float("nan")]], None, ["none of its 2 landmarks has a place"]),
        ([[1, 2], [3, float("inf")]], None, ["1 of 2 landmarks are not finite"]),
        ([[1, 2]], None, ["1 landmarks instead of 2"]),
        ([[1, 2, 3], [3, 4, 5]], None, ["landmarks have the shape (2, 3) instead of [K, 2]"]),
        ([[100, 2], [3, -4]], None, ["all landmarks lie outside the 30x20 image"]),
        ([[100, 2], [3, 4]], None, []),
        (None, [30, 0, 40, 10], ["box (30, 0, 40, 10) lies outside the 30x20 image"]),
        (None, [-9, -9, -1, -1], ["box (-9, -9, -1, -1) lies outside the 30x20 image"]),
        (None, [-9, -9, 50, 50], []),
        (None, [5, 5, 5, 9], ["box (5, 5, 5, 9) is empty"]),
        (None, [9, 5, 5, 9], ["box (9, 5, 5, 9) is empty"]),
        (None, [0, 0, float("nan"), 9], ["box (0, 0, nan, 9) is not finite"]),
        (None, [0, 0, 9], ["box has the shape (3,) instead of [4]"]),
    ],
)
def test_label_faults(landmarks: object, box: object, expected: list[str]) -> None:
    assert label_faults(sample(landmarks, box), points=2) == expected


def test_the_run_stops_above_one_percent() -> None:
    bad = BadFiles(300)
    for name in "abc":
        bad.add(name, f"{name} is broken")
        bad.add(name, "again")
    assert len(bad) == 3 == bad.most
    with pytest.raises(DataError, match=r"4 of 300 samples cannot be used, more than 1\.0%.*d is broken"):
        bad.add("d", "d is broken")


def test_usable_skips_counts_and_stops(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(20):
        trees.save_picture(tmp_path / f"{i:02d}.png", 4, 4, i)
    (tmp_path / "07.png").write_bytes(b"broken")
    source = open_source("folder", tmp_path)
    seen = [index for index, _ in usable(source, tolerance=0.05)]
    assert seen == [i for i in range(20) if i != 7]
    assert "07.png" in caplog.text
    with pytest.raises(DataError, match=r"1 of 20 samples.*07\.png"):
        list(usable(source))


names = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20).filter(
    lambda name: name.strip() == name and not name.startswith("#")
)


@given(rejects=st.dictionaries(names, st.text(st.characters(categories=("L", "N")), max_size=20), max_size=5))
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("suffix", [".json", ".txt"])
def test_lists_come_back(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rejects: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("list") / f"reject{suffix}"
    write_rejects(path, rejects)
    assert read_rejects(path) == rejects


def test_lists_are_found_beside_the_data(tmp_path: Path) -> None:
    assert find_rejects(tmp_path) == {}
    (tmp_path / "reject.txt").write_text("# by hand\n\na b.png\nc.png\t# blurred\n")
    assert find_rejects(tmp_path) == {"a b.png": "", "c.png": "blurred"}
    assert find_rejects(tmp_path, "none") == {}
    (tmp_path / "other.json").write_text(json.dumps({"rejects": {"z": "w"}}))
    assert find_rejects(tmp_path, tmp_path / "other.json") == {"z": "w"}


@pytest.mark.parametrize("content", ["[]", "{}", "nonsense", '{"rejects": 3}'])
def test_unreadable_lists_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "reject.json").write_text(content)
    with pytest.raises(DataError, match=r"reject\.json is not a reject list"):
        find_rejects(tmp_path)
    with pytest.raises(DataError, match=r"gone\.txt"):
        find_rejects(tmp_path, tmp_path / "gone.txt")


@pytest.mark.parametrize(
    ("total", "tolerance", "most"),
    [(99, 0.01, 0), (100, 0.01, 1), (250, 0.01, 2), (10, 0.25, 2), (5, 0.0, 0)],
)
def test_the_tolerated_number_is_rounded_down(total: int, tolerance: float, most: int) -> None:
    bad = BadFiles(total, tolerance)
    assert bad.most == most
    for number in range(most):
        bad.add(str(number), "broken")
    with pytest.raises(DataError, match=f"{most + 1} of {total}"):
        bad.add("one more", "broken")


@pytest.mark.parametrize(
    ("box", "outside"),
    [
        # A picture of 20 x 10 spans -0.5 .. 19.5 and -0.5 .. 9.5.
        ([-5.0, 2.0, -0.5, 6.0], True),
        ([-5.0, 2.0, 0.25, 6.0], False),
        ([19.5, 2.0, 25.0, 6.0], True),
        ([19.25, 2.0, 25.0, 6.0], False),
        ([2.0, -5.0, 6.0, -0.5], True),
        ([2.0, -5.0, 6.0, 0.25], False),
        ([2.0, 9.5, 6.0, 12.0], True),
        ([2.0, 9.25, 6.0, 12.0], False),
    ],
)
def test_a_box_that_touches_the_picture_s_edge_from_outside_is_outside(
    box: list[float], outside: bool
) -> None:
    assert bool(box_faults(torch.tensor(box), 20, 10)) == outside

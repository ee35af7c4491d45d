from pathlib import Path
from typing import Any

import pytest
import torch

from lineament.errors import DataError, UsageError
from lineament.faces.normalisers import normaliser
from lineament.faces.scheme_file import load_scheme, parse_scheme
from lineament.faces.schemes import convert_points, mirror_points, scheme

CAT = """
name: cat-9
description: nine points of a cat
points: ["left_ear[2]", "right_ear[2]", left_eye, right_eye, nose, left_mouth, right_mouth]
mirror:
  - [left_ear_0, right_ear_0]
  - [1, 3]
  - [4-4, 5-5]
  - [left_mouth, right_mouth]
parts: {ears: [0-3], eyes: [left_eye, right_eye], muzzle: [6-8]}
contours: {ears: {points: [0, 1, 3, 2], closed: true}}
eyes: {left: [left_eye], right: [right_eye]}
inter_ocular: [left_eye, right_eye]
convert: {"5": [4-8]}
"""


def minimal(**changed: Any) -> dict[str, Any]:
    return {"name": "mine", "points": ["left_eye", "right_eye", "nose"], "mirror": [[0, 1]], **changed}


def test_user_scheme_is_as_good_as_a_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "cat.yaml"
    path.write_text(CAT)
    cat = scheme(str(path))
    assert len(cat) == 9
    assert cat.names[:2] == ("left_ear_0", "left_ear_1")
    points = torch.rand(9, 2) * 50
    assert torch.allclose(mirror_points(mirror_points(points, cat, 50), cat, 50), points, atol=1e-5)
    assert torch.equal(convert_points(points, cat, "5"), points[4:])
    assert normaliser("inter-ocular")(points, cat) > 0
    assert load_scheme(path) == cat


def test_points_without_a_pair_mirror_to_themselves() -> None:
    assert parse_scheme(minimal()).mirror == (1, 0, 2)
    assert parse_scheme(minimal(mirror=[1, 0, 2])).mirror == (1, 0, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": ["nose", "nose"], "mirror": []}, "'nose' is listed twice"),
        ({"points": []}, "must list the names"),
        ({"points": [1, 2]}, "must start with a letter"),
        ({"name": 68}, "'name' must be a word"),
        ({"mirror": [[0, 1], [1, 2]]}, "'right_eye' is in two pairs"),
        ({"mirror": [1, 2, 0]}, "does not undo itself"),
        ({"mirror": [0, 1]}, "each index of 0-2"),
        ({"mirror": [[0]]}, "not a pair"),
        ({"mirror": [["0-1", 2]]}, "2 points cannot swap with 1"),
        ({"mirror": "left-right"}, "list of pairs"),
        ({"mirror": [["left_eye", "chin"]]}, "'chin'"),
        ({"parts": {"eyes": [0, 5]}}, "index 5 is outside 0-2"),
        ({"parts": {"eyes": [0, 0]}}, "named twice"),
        ({"parts": [0]}, "'parts' must be a mapping"),
        ({"contours": {"line": [0, 1]}}, "contour 'line'"),
        ({"contours": {"line": {"points": [0]}}}, "at least two points"),
        ({"eyes": {"left": [0]}}, "'eyes' must read"),
        ({"inter_ocular": [0]}, "two points"),
        ({"convert": {"5": [0, 1, 2]}}, "3 points are given, it has 5"),
        ({"convert": {"5": 3}}, "list one point"),
        ({"convert": {"other": [[]]}}, "averages nothing"),
        ({"flip": []}, "unknown key 'flip'"),
    ],
)
def test_faults_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_scheme(minimal(**changed))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not a YAML file"),
        ("[1, 2]", "is a mapping"),
        ("", "is a mapping"),
        ("\x00", "not a YAML file"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load_scheme(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load_scheme(tmp_path / "absent.yaml")
    with pytest.raises(UsageError, match="unknown landmark scheme"):
        scheme("cat")

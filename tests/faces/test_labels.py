import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError, UsageError
from lineament.faces.labels import FaceLabel, LabelFile, read_keypoints, write_keypoints
from lineament.faces.schemes import builtin_schemes, scheme, scheme_of_names


def label(name: str = "5", seed: int = 0, image: str = "a b,ü.jpg") -> FaceLabel:
    generator = torch.Generator().manual_seed(seed)
    points = 300.0 * torch.rand(len(scheme(name)), 2, generator=generator) - 20.0
    return FaceLabel(image, points, torch.tensor([1.25, -3.0, 100.0, 1.0 / 3.0 + 60.0]), 0.987654321)


def same(first: FaceLabel, second: FaceLabel) -> None:
    assert first.image == second.image
    for one, other in ((first.landmarks, second.landmarks), (first.box, second.box)):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert torch.equal(one.nan_to_num(-1e6), other.nan_to_num(-1e6))
    assert (first.score is None) == (second.score is None)
    assert first.score is None or first.score == pytest.approx(second.score, rel=1e-8)


@pytest.mark.parametrize("ending", ["json", "csv"])
@pytest.mark.parametrize("name", builtin_schemes())
def test_tables_come_back(tmp_path: Path, ending: str, name: str) -> None:
    faces = [label(name, 0), FaceLabel("b.jpg"), FaceLabel("b.jpg", label(name, 1).landmarks)]
    path = write_keypoints(tmp_path / f"new/labels.{ending}", LabelFile(scheme(name), faces, {"width": 3}))
    # A table holds the names of points alone, which are those of 68 in 68-3d, too.
    told = ending == "json" or scheme_of_names(scheme(name).names) == scheme(name)
    read = read_keypoints(path, None if told else name)
    assert told or name == "68-3d"
    assert read.scheme == scheme(name)
    for given_face, read_face in zip(faces, read.faces, strict=True):
        same(given_face, read_face)
    assert read.meta == ({"width": 3} if ending == "json" else {})
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_confidences_come_back(tmp_path: Path, ending: str) -> None:
    sure = torch.tensor([0.0, 0.25, 0.5, 0.9999, 1.0])
    faces = [FaceLabel("a.jpg", label().landmarks, confidence=sure), FaceLabel("b.jpg", label().landmarks)]
    path = write_keypoints(tmp_path / f"labels.{ending}", LabelFile(scheme("5"), faces))
    first, second = read_keypoints(path).faces
    assert first.confidence is not None and torch.equal(first.confidence, sure)
    assert second.confidence is None
    same(first, faces[0])


def test_a_wrong_number_of_confidences_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    face = {"image": "a.jpg", "landmarks": [[1, 2]] * 5, "confidence": [0.5] * 4}
    path.write_text(json.dumps({"scheme": "5", "faces": [face]}))
    with pytest.raises(DataError, match="confidence of face 0"):
        read_keypoints(path)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(builtin_schemes()))
def test_pts_comes_back(tmp_path_factory: pytest.TempPathFactory, seed: int, name: str) -> None:
    path = tmp_path_factory.mktemp("pts") / "face.pts"
    face = FaceLabel("", label(name, seed).landmarks)
    write_keypoints(path, LabelFile(scheme(name), [face]))
    same(read_keypoints(path).faces[0], face)


def test_pts_counts_pixels_from_one(tmp_path: Path) -> None:
    path = tmp_path / "face.pts"
    path.write_text("version: 1\nn_points: 5\n{\n1 1\n2.5 3\n4 5\n6 7\n8 9\n}\n")
    assert read_keypoints(path).faces[0].landmarks.tolist()[:2] == [[0.0, 0.0], [1.5, 2.0]]  # type: ignore[union-attr]
    write_keypoints(tmp_path / "again.pts", read_keypoints(path))
    assert (tmp_path / "again.pts").read_text() == path.read_text()


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_missing_points_are_kept_only_where_allowed(tmp_path: Path, ending: str) -> None:
    face = label()
    assert face.landmarks is not None
    face.landmarks[3] = math.nan
    path = write_keypoints(tmp_path / f"labels.{ending}", LabelFile(scheme("5"), [face]))
    same(read_keypoints(path, allow_missing=True).faces[0], face)
    with pytest.raises(DataError, match=r"'left_mouth' of a b,ü\.jpg is missing") as caught:
        read_keypoints(path)
    assert str(path) in str(caught.value)
    alone = write_keypoints(tmp_path / "face.pts", LabelFile(scheme("5"), [face]))
    assert "nan nan" in alone.read_text()
    points = read_keypoints(alone, allow_missing=True).faces[0].landmarks
    assert points is not None and torch.equal(points.isnan(), face.landmarks.isnan())


@pytest.mark.parametrize("ending", ["json", "csv", "pts"])
def test_another_scheme_is_refused(tmp_path: Path, ending: str) -> None:
    path = write_keypoints(tmp_path / f"labels.{ending}", LabelFile(scheme("68"), [label("68")]))
    assert read_keypoints(path, "68").scheme == scheme("68")
    with pytest.raises(DataError):
        read_keypoints(path, "66")


FIVE = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "label file is an object"),
        ({"faces": [1]}, "face 0 is not an object"),
        ({"faces": [{"landmarks": FIVE}]}, 'need a "scheme"'),
        ({"scheme": 5, "faces": []}, "name in quotes"),
        ({"scheme": "6", "faces": []}, "unknown landmark scheme"),
        ({"scheme": "5", "faces": [{"image": "x.jpg", "landmarks": FIVE[:4]}]}, r"\(x.jpg\) has 4 landmarks"),
        ({"scheme": "5", "faces": [{"landmarks": [*FIVE[:4], [1, "q"]]}]}, "'right_mouth' of face 0 is 'q'"),
        ({"scheme": "5", "faces": [{"landmarks": [*FIVE[:4], [1]]}]}, "not \\[x, y\\]"),
        ({"scheme": "5", "faces": [{"landmarks": [*FIVE[:4], [1, 1e300]]}]}, "outside any image"),
        ({"scheme": "5", "faces": [{"landmarks": [*FIVE[:4], [1, True]]}]}, "not a number"),
        ({"faces": [{"box": [1, 2, 3]}]}, "x0, y0, x1, y1"),
        ({"faces": [{"box": [1, 2, 1, 4]}]}, "no area"),
        ({"faces": [{"box": 7}]}, "x0, y0, x1, y1"),
        ({"faces": [{"score": "high"}]}, "score of face 0"),
        (
            '{"scheme": "5", "faces": [{"landmarks": [[1,2],[3,4],[NaN,6],[7,8],[9,10]]}]}',
            "'nose' is missing",
        ),
        (
            '{"scheme": "5", "faces": [{"landmarks": [[1,2],[3,4],[Infinity,6],[7,8],[9,10]]}]}',
            "outside any image",
        ),
        ("[" * 100000, "not a JSON file"),
    ],
)
def test_json_faults_are_named(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        read_keypoints(path)
    assert str(path) in str(caught.value)


HEADER = "image," + ",".join(f"{name}_{axis}" for name in scheme("5").names for axis in "xy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "starts with a header"),
        ("x,y\n1,2\n", "starts with a header"),
        ("image,nose_x\na,1\n", "'nose_y' is missing"),
        ("image,nose_x,nose_y,nose_x,nose_y\na,1,2,3,4\n", "two columns are called 'nose_x'"),
        ("image,x0,y0,x1,y1,x2\na,1,2,3,4,5\n", "'y2' is missing"),
        ("image,x0,y0,x1,y1,x3,y3\na,1,2,3,4,5,6\n", "without a gap"),
        (HEADER + "\na.jpg,1,2,3\n", "line 2 has 4 cells"),
        (HEADER + "\na.jpg,1,2,3,4,5,6,7,8,9,q\n", "right_mouth_y of line 2"),
        (HEADER + "\na.jpg,1,2,3,4,nan,6,7,8,9,10\n", "'nose' of a.jpg is missing"),
        ("image,x0,y0,x1,y1\na.jpg,1,2,3,\n", "x0, y0, x1, y1"),
        ("image,x0,y0,x1,y1\na.jpg,3,2,1,9\n", "no area"),
    ],
)
def test_csv_faults_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_keypoints(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2\n3 4\n", "between { and }"),
        ("version: 1\nn_points: 3\n{\n1 2\n}\n", "n_points says 3"),
        ("n_points: many\n{\n1 2\n}\n", "not a count"),
        ("{\n1 2\n3\n}\n", "point 2 is '3'"),
        ("{\n1 1\n2 2\nnan nan\n4 4\n5 5\n}\n", "'nose' is missing"),
    ],
)
def test_pts_faults_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "face.pts"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_keypoints(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("once upon a time\n")
    with pytest.raises(DataError, match="not a label file that can be read"):
        read_keypoints(tmp_path / "labels.txt")
    with pytest.raises(UsageError):
        write_keypoints(tmp_path / "labels", LabelFile(None, []))
    with pytest.raises(DataError, match="cannot read"):
        read_keypoints(tmp_path / "absent.json")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(DataError, match="not a text file"):
        read_keypoints(tmp_path / "binary.csv")
    with pytest.raises(DataError, match="one face"):
        write_keypoints(tmp_path / "face.pts", LabelFile(scheme("5"), [label(), label()]))
    with pytest.raises(DataError, match="without a scheme"):
        write_keypoints(tmp_path / "a.json", LabelFile(None, [label()]))
    with pytest.raises(DataError, match="68 points"):
        write_keypoints(tmp_path / "a.json", LabelFile(scheme("68"), [label()]))
    assert not any(tmp_path.glob("*.json"))

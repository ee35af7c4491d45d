"""`lineament landmarks VIDEO`: following, files, skipping, interruption, bad input, memory."""

from __future__ import annotations

import csv
import json
import math
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from lineament.cli.main import main
from lineament.data.video import Frame, VideoReader, video_writer
from lineament.eight_bit import from_array
from lineament.errors import UsageError
from lineament.faces.boxes import centre, size
from lineament.faces.crops import crop_image
from lineament.faces.detection import Detection, Upright, detect_faces
from lineament.faces.labels import read_keypoints
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.inference import Face
from lineament.pipeline.video.options import FollowOptions
from lineament.pipeline.video.track_faces import follow_faces

FACE = Image.fromarray(data.astronaut()).crop((120, 20, 320, 220)).resize((120, 120))
# Marks of a made-up face about its middle, one level of blue each.
MARKS = torch.tensor([[-12.0, -10.0], [12.0, -10.0], [0.0, 2.0], [-9.0, 13.0], [9.0, 13.0]])
LEVELS = [0.2, 0.35, 0.5, 0.65, 0.8]


def draw_face(image: Tensor, middle: Tensor, size: float = 1.0) -> Tensor:
    """Paint a red square with five blue marks; its marks lie at ``middle + size * MARKS``."""
    x, y = (round(value) for value in middle.tolist())
    half = round(22 * size)
    image[:, max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1] = torch.tensor(
        [0.9, 0.1, 0.05]
    )[:, None, None]
    for (dx, dy), level in zip((size * MARKS).tolist(), LEVELS, strict=True):
        row, column = round(y + dy), round(x + dx)
        image[2, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = level
    return image


class Finder:
    """Finds such faces by their colours, their landmarks in a box only; counts how often it had to search."""

    def __init__(self, blind: range = range(0)) -> None:
        self.searches, self.looks, self.blind = 0, 0, blind

    def detect(self, image: Tensor, min_score: float = 0.7, upright: str = "search") -> list[Detection]:
        self.searches += 1
        if self.looks in self.blind:
            return []
        found = []
        red = image[0] > 0.6
        # Columns without red part the faces.
        columns = red.any(0).int()
        starts = (columns.diff(prepend=torch.zeros(1, dtype=torch.int32)) == 1).nonzero().flatten().tolist()
        for start in starts:
            length = int((columns[start:].cumprod(0)).sum())
            rows = red[:, start : start + length].any(1).nonzero().flatten()
            box = [start - 0.5, float(rows[0]) - 0.5, start + length - 0.5, float(rows[-1]) + 0.5]
            found.append(Detection(torch.tensor(box), 0.9))
        return found

    def is_face(self, face: Face) -> bool:
        return face.uncertainty is None or face.uncertainty < 0.05

    def face(self, image: Tensor, place: Detection) -> Face:
        self.looks += 1
        x0, y0, x1, y1 = (round(value) for value in place.box.tolist())
        cut = image[:, max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1]
        points, sure = [], []
        for level in LEVELS:
            near = ((cut[2] - level).abs() < 0.05) & (cut[0] > 0.6)
            places = near.nonzero().float()
            sure.append(float(len(places) > 0))
            middle = places.mean(0) if len(places) else torch.tensor([(y1 - y0) / 2, (x1 - x0) / 2])
            points.append([float(middle[1]) + max(x0, 0), float(middle[0]) + max(y0, 0)])
        return Face(torch.tensor(points), torch.tensor(sure), place.box, place.score, scheme("5"))


def scene(middles: list[list[tuple[float, float]]], rate: float = 25.0) -> Iterator[Frame]:
    for index, people in enumerate(middles):
        image = torch.full((3, 120, 240), 0.3)
        for x, y in people:
            draw_face(image, torch.tensor([x, y]))
        yield Frame(index, index / rate, image)


def wave(count: int = 60, x: float = 60.0) -> list[tuple[float, float]]:
    return [(x + 20 * math.sin(0.12 * t), 60 + 10 * math.sin(0.2 * t)) for t in range(count)]


@pytest.mark.parametrize("every", [1, 5, 20])
def test_landmarks_follow_moving_faces(every: int):
    path = wave()
    model = Finder()
    found = list(follow_faces(model, scene([[each] for each in path]), FollowOptions(0.0, every)))
    assert [[each.person for each in people] for _, people in found] == [[0]] * len(path)
    for (_, people), middle in zip(found, path, strict=True):
        expected = torch.tensor([round(value) for value in middle]) + MARKS
        assert float((people[0].face.landmarks - expected).abs().max()) <= 0.51
        # The box goes along.
        assert float((centre(people[0].face.box) - torch.tensor(middle)).abs().max()) < 6
    assert model.searches == -(-len(path) // every)
    assert [people[0].detected for _, people in found] == [index % every == 0 for index in range(len(path))]


def test_smoothing_stays_near_the_face():
    path = wave()
    found = follow_faces(Finder(), scene([[each] for each in path]), FollowOptions(1.0, 3))
    errors = [
        float((people[0].face.landmarks - torch.tensor(middle) - MARKS).norm(dim=-1).max())
        for (_, people), middle in zip(found, path, strict=True)
    ]
    assert max(errors) < 0.07 * 45, "a face side is 45 px"


def test_a_face_that_jumps_is_searched_at_once():
    path = [(50.0, 60.0)] * 7 + [(180.0, 60.0)] * 6
    model = Finder()
    found = list(follow_faces(model, scene([[each] for each in path]), FollowOptions(0.0, 100)))
    assert model.searches == 2
    landmarks = found[7][1][0].face.landmarks
    torch.testing.assert_close(landmarks, torch.tensor([180.0, 60.0]) + MARKS, atol=0.5, rtol=0)
    assert found[7][1][0].person == 1, "so far away it is taken for somebody else"


def test_several_people_keep_their_numbers():
    first, second = wave(40, 50.0), wave(40, 180.0)
    middles = [[first[t]] + ([second[t]] if 12 <= t < 30 else []) for t in range(40)]
    found = list(follow_faces(Finder(), scene(middles), FollowOptions(0.0, 4)))
    for (frame, people), there in zip(found, middles, strict=True):
        assert [each.person for each in people] == list(range(len(there))), frame.index
        for each, middle in zip(people, there, strict=True):
            assert float((centre(each.face.box) - torch.tensor(middle)).abs().max()) < 6


def test_a_detector_that_blinks_is_bridged():
    model = Finder(blind=range(10, 13))
    found = list(follow_faces(model, scene([[each] for each in wave(30)]), FollowOptions(0.0, 1)))
    assert all([each.person for each in people] == [0] for _, people in found)
    assert not all(people[0].detected for _, people in found)


class Doubting(Finder):
    """Becomes unsure of everything after some looks."""

    def face(self, image: Tensor, place: Detection) -> Face:
        return replace(super().face(image, place), uncertainty=0.1 if self.looks > 8 else 0.01)


def test_doubt_ends_who_was_followed():
    path = wave(20)
    rejected: list[Face] = []
    model = Doubting()
    found = list(
        follow_faces(model, scene([[each] for each in path]), FollowOptions(0.0, 100), reject=rejected.append)
    )
    # The ninth look, at a followed face, is not believed, nor is what the search that it calls for finds.
    assert [len(people) for _, people in found] == [1] * 8 + [0] * 12
    assert model.searches == 2 and len(rejected) == 1
    kept = follow_faces(Doubting(), scene([[each] for each in path]), FollowOptions(0.0, 100), all_faces=True)
    assert all([each.person for each in people] == [0] for _, people in kept)


def test_numbers_out_of_range_are_refused():
    for options in ((-1.0, 5), (1.0, 0)):
        with pytest.raises(UsageError):
            FollowOptions(*options)


def write_clip(path: Path, count: int = 8) -> Path:
    """A photograph of a face that moves to the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, 10.0) as write:
        for number in range(count):
            canvas = Image.new("RGB", (200, 130), (90, 110, 120))
            canvas.paste(FACE, (5 + 6 * number, 5))
            write(np.asarray(canvas))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("film") / "ein Film ü.mp4")


def test_a_video_gives_tables_and_an_overlay(clip: Path, tmp_path: Path, landmark_run: Path, capsys):
    words = ["landmarks", str(clip), "--model", str(landmark_run), "--out", str(tmp_path)]
    assert main([*words, "--format", "json", "csv", "pts", "--detect-every", "3"]) == 0
    said = capsys.readouterr()
    assert "8 faces of 1 person in 8 frames; wrote" in said.out
    stem = f"{clip.name}.landmarks"
    labels = read_keypoints(tmp_path / f"{stem}.json")
    content = json.loads((tmp_path / f"{stem}.json").read_text())
    assert [face["frame"] for face in content["faces"]] == list(range(8))
    assert [face["time"] for face in content["faces"]] == pytest.approx([number / 10 for number in range(8)])
    assert content["meta"]["frames_per_second"] == pytest.approx(10, rel=1e-3)
    assert content["meta"]["variable_frame_rate"] is False and content["meta"]["people"] == 1
    # The face moves by six pixels a frame, and its boxes with it.
    middles = torch.stack([centre(face.box) for face in labels.faces])
    assert abs(float(middles[6, 0] - middles[0, 0]) - 36) < 5
    table = read_keypoints(tmp_path / f"{stem}.csv")
    for one, other in zip(labels.faces, table.faces, strict=True):
        assert torch.equal(one.landmarks, other.landmarks) and torch.equal(one.confidence, other.confidence)
    rows = list(csv.DictReader((tmp_path / f"{stem}.csv").open()))
    assert [(row["frame"], row["time"], row["person"]) for row in rows][7] == ("7", "0.700000", "0")
    files = sorted((tmp_path / f"{stem}.pts").iterdir())
    assert [file.name for file in files] == [f"{number:06}-0.pts" for number in range(8)]
    last = read_keypoints(files[-1]).faces[0].landmarks
    torch.testing.assert_close(last, labels.faces[-1].landmarks, atol=1e-3, rtol=0)
    with VideoReader(tmp_path / f"{stem}.mp4") as overlay:
        assert (overlay.facts.width, overlay.facts.height) == (200, 130)
        assert len(list(overlay)) == 8
    # Once more does nothing; in another way it is refused.
    before = (tmp_path / f"{stem}.json").stat().st_mtime_ns
    assert main([*words, "--detect-every", "3"]) == 0
    assert "done before" in capsys.readouterr().out
    assert main(words) == 2
    assert "detect_every 3, now 5" in capsys.readouterr().err
    assert (tmp_path / f"{stem}.json").stat().st_mtime_ns == before


def test_runs_of_fabrec_mark_videos_too(clip: Path, tmp_path: Path, capsys):
    from lineament.methods.fabrec.landmark_config import LandmarkConfig
    from lineament.methods.fabrec.recipe_landmarks import LandmarkRecipe
    from lineament.synthetic.source import SyntheticFaces
    from lineament.training.loop import LoopOptions, train

    config = LandmarkConfig(base="random", size=64, width=4, code=8, scheme="5", steps=1, batch_size=2)
    run = tmp_path / "run"
    train(LandmarkRecipe(config), SyntheticFaces(0, 3, 64), run, options=LoopOptions(progress=False))
    found = {}
    for words in ((), ("--bf16",)):
        out = tmp_path / f"out{len(words)}"
        assert main(["landmarks", str(clip), "--model", str(run), "--out", str(out), *words]) == 0
        found[words] = read_keypoints(out / f"{clip.name}.landmarks.json").faces
        assert len(found[words]) == 8
        assert all(face.confidence is not None and face.confidence.shape == (5,) for face in found[words])
    full, half = found.values()
    assert not torch.equal(full[0].landmarks, half[0].landmarks), "eight binary digits show"
    again = ["landmarks", str(clip), "--model", str(run), "--out", str(tmp_path / "out0")]
    assert main(again) == 0 and "done before" in capsys.readouterr().out
    assert main([*again, "--bf16"]) == 2
    assert "made with other settings (bf16 False, now True)" in capsys.readouterr().err


def test_a_folder_may_hold_photographs_and_videos(tmp_path: Path, landmark_run: Path, capsys):
    folder = tmp_path / "mixed"
    write_clip(folder / "sub" / "b.mp4", 2)
    FACE.save(folder / "a.png")
    (folder / "broken.mkv").write_bytes(b"no video")
    Image.new("RGB", (64, 64)).save(folder / "empty.png")
    assert main(["landmarks", str(folder), "--model", str(landmark_run)]) == 1
    said = capsys.readouterr()
    assert "1 videos done, 1 failed" in said.out and "1 faces in 2 images" in said.out
    assert "failed: " in said.err and "broken.mkv" in said.err and "Traceback" not in said.err
    out = tmp_path / "mixed-landmarks"
    assert (out / "sub" / "b.mp4.landmarks.json").exists() and (out / "a.png.landmarks.pts").exists()
    assert not (out / "sub" / "b.mp4.landmarks.pts").exists(), "a file a frame only where it is asked for"
    assert not list(out.glob("broken*"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["BROKEN"], 1, "cannot be read as a video"),
        (["nowhere.mp4"], 1, "there is no video nowhere.mp4"),
        (["GREY"], 1, "no face was found in any of its 3 frames"),
        (["CLIP", "--smooth", "-1"], 2, "smoothing"),
        (["CLIP", "--detect-every", "0"], 2, "every 1 or more frames"),
        (["CLIP", "--boxes", "boxes.json"], 2, "--boxes is for photos"),
        (["CLIP", "--bf16"], 2, "leave --bf16 out"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    words: list[str], code: int, said: str, clip: Path, tmp_path: Path, landmark_run: Path, capsys
):
    broken, grey = tmp_path / "broken.mp4", tmp_path / "grey.mp4"
    broken.write_bytes(b"no video")
    with video_writer(grey, 10.0) as write:
        for _ in range(3):
            write(np.full((64, 64, 3), 120, np.uint8))
    names = {"BROKEN": broken, "GREY": grey, "CLIP": clip}
    before = sorted(tmp_path.rglob("*")) + sorted(clip.parent.rglob("*"))
    arguments = [str(names.get(word, word)) for word in words]
    assert main(["landmarks", *arguments, "--model", str(landmark_run)]) == code
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) + sorted(clip.parent.rglob("*")) == before


def test_an_interruption_leaves_nothing_half_written(
    clip: Path, tmp_path: Path, landmark_run: Path, monkeypatch: pytest.MonkeyPatch
):
    from lineament.pipeline.video import landmarks as video_landmarks

    drawn = []

    def draw(*arguments: object) -> Image.Image:
        drawn.append(1)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return Image.new("RGB", (200, 130))

    monkeypatch.setattr(video_landmarks, "draw_landmarks", draw)
    words = ["landmarks", str(clip), "--model", str(landmark_run), "--out", str(tmp_path)]
    assert main([*words, "--format", "json", "csv", "pts"]) == 130
    assert len(drawn) == 4
    assert not list(tmp_path.iterdir())


def resident() -> float:
    """Megabytes in use now where the system tells, else the most ever used."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def test_a_long_video_does_not_grow_memory(tmp_path: Path):
    """Three hundred frames of 1.4 MB in floating point each, in and out again."""
    path, again = tmp_path / "long.mp4", tmp_path / "again.mp4"
    with video_writer(path, 25.0) as write:
        for frame in scene([[wave(300)[t]] for t in range(300)]):
            large = np.zeros((240, 480, 3), np.uint8)
            large[:120, :240] = (frame.image * 255).byte().permute(1, 2, 0).numpy()
            write(large)
    sizes = []
    with VideoReader(path) as video, video_writer(again, 25.0) as write:
        for frame, people in follow_faces(Finder(), video):
            assert len(people) <= 2
            write((frame.image * 255).byte().permute(1, 2, 0).numpy())
            sizes.append(resident())
    assert len(sizes) == 300
    assert max(sizes[60:]) - sizes[50] < 8, "250 frames kept would be 350 MB"


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_an_animation_is_a_photo_unless_it_is_asked_for(
    tmp_path: Path, landmark_run: Path, ending: str, capsys: pytest.CaptureFixture[str]
):
    frames = []
    for number in range(4):
        canvas = Image.new("RGB", (200, 130), (90, 110, 120))
        canvas.paste(FACE, (5 + 6 * number, 5))
        frames.append(canvas)
    path = tmp_path / f"moving.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, loop=0)
    words = ["landmarks", str(path), "--model", str(landmark_run), "--out"]
    assert main([*words, str(tmp_path / "film"), "--video"]) == 0
    assert "4 faces of 1 person in 4 frames" in capsys.readouterr().out
    assert (tmp_path / f"film/moving.{ending}.landmarks.mp4").is_file()
    assert main([*words, str(tmp_path / "photo")]) == 0
    assert "1 face(s)" in capsys.readouterr().out
    assert (tmp_path / f"photo/moving.{ending}.landmarks.png").is_file()


class DetectedFace:
    """The real detector; landmarks are the five points of a mean face in the box, so that only detection is tested."""

    def detect(
        self, image: Tensor, min_score: float | None = None, upright: Upright = "search"
    ) -> list[Detection]:
        return detect_faces(image, min_score=min_score, upright=upright)[0]

    def is_face(self, face: Face) -> bool:
        return True

    def face(self, image: Tensor, place: Detection) -> Face:
        points = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.58], [0.33, 0.75], [0.67, 0.75]])
        landmarks = place.box[:2] + points * size(place.box)
        return Face(landmarks, torch.ones(5), place.box, place.score, scheme("5"))


@pytest.mark.parametrize("every", [1, 5])
def test_a_turning_head_is_one_person(every: int):
    """The astronaut turned by up to three degrees to and fro: no second face, no second number."""
    photo = from_array(data.astronaut())
    frames = []
    for index in range(24):
        angle = math.radians(3.0) * math.sin(2 * math.pi * index / 24)
        move = Affine2D.from_similarity(0.5, angle, (30.0 * math.sin(angle), -120 * math.sin(angle)))
        frames.append(Frame(index, index / 12, crop_image(photo, move, 256, "edge")))
    found = list(follow_faces(DetectedFace(), frames, FollowOptions(detect_every=every)))
    assert [[each.person for each in people] for _, people in found] == [[0]] * len(frames)

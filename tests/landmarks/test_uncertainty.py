"""What a model takes for no face: its limit, how that is measured, and what the verbs say of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tests.landmarks.marked_faces import Faces, tiny
from torch import Tensor

import lineament
from lineament.cli.main import main
from lineament.data.sample import FaceSample
from lineament.data.video import video_writer
from lineament.errors import DataError, UsageError
from lineament.faces.detection import Detection
from lineament.faces.schemes import scheme
from lineament.faces.uncertainty import face_uncertainty
from lineament.inference import Face
from lineament.pipeline.evaluate.uncertainty import MARGIN, QUANTILE, measure_limit
from lineament.training.loop import LoopOptions, train
from lineament.training.model_card import ModelCard
from lineament.training.model_folder import write_model

LIMIT: dict[str, Any] = {
    "value": 1e-5,
    "margin": 1.5,
    "quantile": 0.98,
    "typical": 5e-6,
    "largest": 6e-6,
    "faces": 300,
    "detector": "yunet",
    "data": ["synthetic:/home/me/faces?split=val"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Landmarks after two steps: unsure of everything."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(
        tiny(steps=2), Faces(), folder, options=LoopOptions(progress=False, report=False, figures=False)
    )


@pytest.fixture
def model(run: Any, tmp_path: Path) -> Path:
    """The run as a model that believes nothing."""
    return write_model(run, tmp_path / "doubts", ModelCard(), limit=LIMIT).folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def test_uncertainty_is_the_median_over_the_longer_side() -> None:
    std = torch.tensor([[1.0, 2.0, 90.0], [4.0, 4.0, 4.0]])
    boxes = torch.tensor([[10.0, 0.0, 30.0, 50.0], [0.0, 0.0, 40.0, 10.0]])
    torch.testing.assert_close(face_uncertainty(std, boxes), torch.tensor([0.04, 0.1]))
    torch.testing.assert_close(face_uncertainty(std[:, :2], boxes), torch.tensor([0.03, 0.1]))
    # Neither the photo's size nor a few lost points change it.
    torch.testing.assert_close(face_uncertainty(3 * std, 3 * boxes), face_uncertainty(std, boxes))


def test_a_model_with_a_limit_rejects_what_the_detector_finds(model: Path, run: Any, photo: Path) -> None:
    doubting, believing = lineament.load(model), lineament.load(run.folder)
    assert doubting.uncertainty_limit == LIMIT["value"] and believing.uncertainty_limit is None
    assert doubting(photo) == [] and len(doubting(photo, all_faces=True)) == 1
    (face,) = believing(photo)
    assert face.uncertainty is not None and face.uncertainty > LIMIT["value"]
    image = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1).float() / 255
    found = doubting.find(image)
    assert not found.faces and len(found.rejected) == 1 and "--all-faces" in found.note
    assert not believing.find(image).note
    # A box that is given is a face, whatever the model thinks.
    assert len(doubting(photo, [face.box.tolist()])) == 1


def test_a_model_of_before_rejects_nothing(model: Path, photo: Path) -> None:
    facts = json.loads((model / "model.json").read_text())
    assert facts["uncertainty_limit"]["data"] == ["synthetic:faces?split=val"], "no folder of this machine"
    assert "taken for no face" in (model / "README.md").read_text()
    del facts["uncertainty_limit"]
    (model / "model.json").write_text(json.dumps(facts))
    assert len(lineament.load(model)(photo)) == 1


@pytest.mark.parametrize("value", [0, -0.1, "a lot", None])
def test_a_limit_that_is_none_is_refused(model: Path, value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((model / "model.json").read_text())
    facts["uncertainty_limit"]["value"] = value
    (model / "model.json").write_text(json.dumps(facts))
    assert main(["landmarks", "photo.png", "--model", str(model)]) != 0
    with pytest.raises(lineament.errors.CheckpointError, match="limit of its uncertainty"):
        lineament.load(model)


def test_landmarks_says_what_it_rejects(
    model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["landmarks", str(photo), "--model", str(model), "--format", "json"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "1 detection was taken for no face" in said and "--all-faces" in said
    assert not list(tmp_path.glob("photo.png.*"))
    assert main([*words, "--all-faces"]) == 0
    result = photo.with_name("photo.png.landmarks.json")
    content = json.loads(result.read_text())
    assert content["meta"]["rejected"] == [] and len(content["faces"]) == 1
    # All faces or some is a setting like others.
    assert main(words) == 2
    assert "all_faces" in capsys.readouterr().err


def test_a_folder_counts_what_is_rejected(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(skimage.data.astronaut()).save(folder / "a.png")
    assert main(["landmarks", str(folder), "--model", str(model)]) == 0
    said = capsys.readouterr().out
    assert "0 faces in 1 images, 1 without a face, 1 taken for no face." in said


@pytest.mark.parametrize("verb", ["analyze", "depth", "turn"])
def test_other_verbs_reject_too(
    verb: str, run: Any, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(run, tmp_path / "doubts", ModelCard(), limit=LIMIT).folder
    flag = "--model" if verb == "analyze" else "--landmarks-model"
    more = ["--yaw", "10"] if verb == "turn" else []
    assert main([verb, str(photo), flag, str(model), *more]) == 1
    assert "taken for no face" in capsys.readouterr().err


def test_match_rejects_by_the_model_that_describes(
    model: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineament.errors import NoFaceError
    from lineament.pipeline.predict.match import find_face

    image = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1).float() / 255
    doubting = lineament.load(model)
    with pytest.raises(NoFaceError, match="taken for no face"):
        find_face(doubting, image, "photo")
    kept = find_face(doubting, image, "photo", all_faces=True)
    torch.testing.assert_close(kept.box, find_face(lineament.load(run.folder), image, "photo").box)


def test_a_video_counts_what_is_rejected(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip.mp4"
    frame = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((256, 256)))
    with video_writer(clip, 10.0) as write:
        for _ in range(6):
            write(frame)
    words = ["landmarks", str(clip), "--model", str(model)]
    assert main(words) == 1
    # Frames 0 and 5 are searched.
    assert "the model took 2 detections for no face: --all-faces keeps them" in capsys.readouterr().err
    assert main([*words, "--all-faces"]) == 0
    content = json.loads(clip.with_name("clip.mp4.landmarks.json").read_text())
    assert content["meta"]["people"] == 1 and content["meta"]["rejected"] == 0


class Known:
    """A model whose uncertainty of a face is written in its image."""

    detector_name = "known"
    run = type("Run", (), {"label": "known"})()

    def __init__(self, read: Callable[[Tensor], float | None] = lambda image: float(image[0, 0, 0])) -> None:
        self.read = read

    def capability(self, wanted: type) -> Known:
        return self

    def detect(
        self, image: Tensor, min_score: float | None = None, upright: str = "search"
    ) -> list[Detection]:
        if float(image[1, 0, 0]):
            return [Detection(torch.tensor([30.0, 30.0, 40.0, 40.0]), 0.99)]
        return [
            Detection(torch.tensor([30.0, 30.0, 40.0, 40.0]), 0.99),
            Detection(torch.tensor([1.0, 1.0, 11.0, 12.0]), 0.7),
        ]

    def face(self, image: Tensor, place: Detection) -> Face:
        # What lies elsewhere than the labelled face is no face.
        unsure = self.read(image) if float(place.box[0]) < 20 else 9.0
        points = torch.zeros(5, 2)
        return Face(points, torch.ones(5), place.box, place.score, scheme("5"), uncertainty=unsure)


class Numbered:
    """Faces of known uncertainty; the first ones are missed by the detector."""

    name = "numbered"
    fingerprint = "numbered"

    def __init__(self, count: int, missed: int = 0) -> None:
        self.count, self.missed = count, missed

    def __len__(self) -> int:
        return self.count + self.missed

    def __getitem__(self, index: int) -> FaceSample:
        image = torch.zeros(3, 48, 48)
        image[1] = float(index < self.missed)
        image[0] = (index - self.missed) / self.count
        return FaceSample(f"{index}", image, box=torch.tensor([0.0, 0.0, 10.0, 10.0]))


def test_the_limit_is_a_quantile_with_a_margin() -> None:
    limit = measure_limit(Known(), Numbered(401, missed=5), ("numbered",), count=1000)  # type: ignore[arg-type]
    values = torch.arange(401) / 401
    assert limit.faces == 401 and limit.detector == "known"
    assert limit.typical == pytest.approx(float(values.quantile(QUANTILE)), abs=1e-6)
    assert limit.value == pytest.approx(MARGIN * limit.typical) and limit.largest == pytest.approx(400 / 401)


def test_too_few_faces_or_no_uncertainty_give_no_limit() -> None:
    with pytest.raises(DataError, match="found 100 of 150 faces in numbered"):
        measure_limit(Known(), Numbered(100, missed=50), ("numbered",))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="does not tell how unsure"):
        measure_limit(Known(lambda _: None), Numbered(300), ("numbered",))  # type: ignore[arg-type]


def test_pack_refuses_faces_that_say_too_little(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "models",
        "pack",
        str(run.folder),
        str(tmp_path / "made"),
        "--faces",
        "synthetic?count=3&size=48",
    ]
    assert main(words) == 1
    assert "needs 200 or more" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()

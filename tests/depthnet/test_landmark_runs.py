"""Any run that puts landmarks on faces gives the keypoints of `turn` and `depth`; others are refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.depthnet.faces import source
from tests.depthnet.turning import astronaut
from tests.fabrec.test_legacy import snapshot

from lineament.capabilities import Landmarks
from lineament.errors import LineamentError, UsageError
from lineament.faces.detection import Detection
from lineament.faces.schemes import convert_points
from lineament.methods.depthnet.recipe_modern import ModernDepthNetConfig, ModernDepthNetRecipe
from lineament.pipeline.import_checkpoint import import_checkpoint
from lineament.pipeline.turn.options import FaceOptions
from lineament.pipeline.turn.run import FaceRequest
from lineament.training.loop import LoopOptions, train

BOX = torch.tensor([150.0, 20.0, 300.0, 220.0])


def test_a_fabrec_run_of_98_points_gives_68(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot(tmp_path / "published")
    import_checkpoint("fabrec", tmp_path / "published", tmp_path / "run")
    request = FaceRequest.open(FaceOptions(landmarks_model=tmp_path / "run"))
    model = request.landmarks
    assert model is not None and len(model.scheme) == 98
    monkeypatch.setattr(model, "detect", lambda *_: [Detection.given(box=BOX)])
    # A network without training sees nothing; the points are what a trained one would answer.
    low, high = BOX[:2], BOX[2:]
    answer = low + (high - low) * torch.rand(98, 2, generator=torch.Generator().manual_seed(2))
    asked = []

    def landmarks(image: torch.Tensor, boxes: torch.Tensor) -> Landmarks:
        asked.append(boxes)
        return Landmarks(answer[None], torch.ones(1, 98))

    model.predictor = SimpleNamespace(scheme=model.scheme, landmarks=landmarks)
    found = request.points(astronaut(), Path("astronaut.png"))
    torch.testing.assert_close(found.points, convert_points(answer, "98", "68"))
    assert len(asked) == 1 and "run" in found.origin


def test_a_fabrec_autoencoder_is_refused(tmp_path: Path):
    snapshot(tmp_path / "published", landmarks=0)
    import_checkpoint("fabrec", tmp_path / "published", tmp_path / "run")
    with pytest.raises(UsageError, match="without landmarks"):
        FaceRequest.open(FaceOptions(landmarks_model=tmp_path / "run"))


def test_runs_without_landmarks_are_refused(tmp_path: Path):
    config = ModernDepthNetConfig(steps=1, batch_size=4, widths=(8,), evaluate_count=2)
    quiet = LoopOptions(progress=False, report=False, figures=False)
    train(ModernDepthNetRecipe(config), source(4), tmp_path / "depth", options=quiet)
    with pytest.raises(
        UsageError, match="holds depths of keypoints, no landmarks: `lineament depth PHOTO --model"
    ):
        FaceRequest.open(FaceOptions(landmarks_model=tmp_path / "depth"))
    with pytest.raises(LineamentError, match="no run"):
        FaceRequest.open(FaceOptions(landmarks_model=tmp_path / "nowhere"))

"""Any run that puts landmarks on faces gives the keypoints of `turn` and `depth`; others are refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.depthnet.turning import astronaut
from tests.fabrec.test_legacy import snapshot

from lineament.errors import CheckpointError, LineamentError, UsageError
from lineament.faces.detection import Detection
from lineament.faces.schemes import convert_points
from lineament.methods.depthnet.recipe_modern import ModernDepthNetConfig, ModernDepthNetRecipe
from lineament.pipeline.import_checkpoint import import_checkpoint
from lineament.pipeline.predict.models_fabrec import FabrecModel
from lineament.pipeline.turn import points as points_module
from lineament.pipeline.turn.run import make_request
from lineament.training.run import create_run

BOX = torch.tensor([150.0, 20.0, 300.0, 220.0])


def test_a_fabrec_run_of_98_points_gives_68(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot(tmp_path / "published")
    import_checkpoint("fabrec", tmp_path / "published", tmp_path / "run")
    request = make_request(None, tmp_path / "run", None, "builtin", None, "cpu")
    model = request.landmarks
    assert isinstance(model, FabrecModel) and len(model.scheme) == 98
    monkeypatch.setattr(points_module, "find_face", lambda image, name: Detection.given(box=BOX))
    # A network without training sees nothing; the points are what a trained one would answer.
    low, high = BOX[:2], BOX[2:]
    answer = low + (high - low) * torch.rand(98, 2, generator=torch.Generator().manual_seed(2))
    asked = []

    def predict(image: torch.Tensor, box: torch.Tensor) -> SimpleNamespace:
        asked.append(box)
        return SimpleNamespace(points=answer, confidence=torch.ones(98))

    predict.scheme = model.scheme  # type: ignore[attr-defined]
    model.predictor = predict  # type: ignore[assignment]
    found = request.points(astronaut(), Path("astronaut.png"))
    torch.testing.assert_close(found.points, convert_points(answer, "98", "68"))
    assert len(asked) == 1 and "run" in found.origin


def test_a_fabrec_autoencoder_is_refused(tmp_path: Path):
    snapshot(tmp_path / "published", landmarks=0)
    import_checkpoint("fabrec", tmp_path / "published", tmp_path / "run")
    with pytest.raises(UsageError, match="without landmarks"):
        make_request(None, tmp_path / "run", None, "builtin", None, "cpu")


def test_runs_without_landmarks_are_refused(tmp_path: Path):
    create_run(tmp_path / "depth", ModernDepthNetRecipe(ModernDepthNetConfig()), "32-true")
    with pytest.raises(CheckpointError, match=r"'depthnet'.*dve or fabrec"):
        make_request(None, tmp_path / "depth", None, "builtin", None, "cpu")
    with pytest.raises(LineamentError, match="no run"):
        make_request(None, tmp_path / "nowhere", None, "builtin", None, "cpu")

"""Published snapshots: recognised by what they hold, written as runs, refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lineament.cli.main import main
from lineament.errors import CheckpointError, UsageError
from lineament.inference import load
from lineament.methods.fabrec.model import Fabrec, Layout
from lineament.pipeline.import_checkpoint import import_checkpoint

META = {"epoch": 191, "total_iter": 2595984, "total_time": 639421, "best_score": 999}


def snapshot(folder: Path, landmarks: int = 98, **changed: Any) -> Fabrec:
    """A thin snapshot in the published form."""
    torch.manual_seed(0)
    model = Fabrec(Layout(128, 4, 6), landmarks)
    record = {"arch": "Fabrec", "z_dim": 6, "input_size": 128, "state_dict": model.state_dict(), **changed}
    folder.mkdir(parents=True)
    torch.save(record, folder / "saae.mdl")
    (folder / "meta.json").write_text(json.dumps(META))
    return model


def test_a_landmark_snapshot_becomes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = snapshot(tmp_path / "lms_wflw" / "00150")
    assert (
        main(["import", "fabrec", str(tmp_path / "lms_wflw" / "00150"), "--run", str(tmp_path / "run")]) == 0
    )
    text = capsys.readouterr().out
    assert "fabrec-landmarks, step 2595984" in text
    assert "ignored D_z.*: not needed for landmarks." in text
    found = load(tmp_path / "run")
    assert len(found.scheme) == 98
    faces = found(torch.rand(3, 90, 80), boxes=[[10.0, 10.0, 70.0, 80.0]])
    assert faces[0].landmarks.shape == (98, 2)
    weights = found.run.load_networks()
    assert torch.equal(weights["transfer"].state_dict()["t2.weight"], model.LMH.t2.weight)
    assert torch.equal(weights["encoder"].state_dict()["fc.bias"], model.Q.fc.bias)
    assert import_checkpoint("fabrec", tmp_path / "lms_wflw" / "00150", tmp_path / "run").model is None


def test_an_autoencoder_snapshot_can_be_trained_on(tmp_path: Path):
    snapshot(tmp_path / "aae", landmarks=0)
    done = import_checkpoint("fabrec", tmp_path / "aae", tmp_path / "run")
    assert done.run.recipe == "fabrec-ae"
    assert set(done.run.load_networks()) >= {
        "encoder",
        "decoder",
        "code_discriminator",
        "image_discriminator",
    }
    with pytest.raises(UsageError, match="autoencoder without landmarks"):
        load(tmp_path / "run")(torch.rand(3, 90, 80))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"state_dict": {}}, "lacks the weights of Q"),
        ({"state_dict": {"foo.weight": torch.zeros(1)}}, "not a snapshot of 3FabRec"),
        ({"input_size": 1024}, "input_size is 1024"),
        ({"z_dim": "many"}, "z_dim is 'many'"),
        ({"z_dim": 7}, "has the shape"),
    ],
)
def test_what_is_no_snapshot_is_refused(tmp_path: Path, changed: dict[str, Any], message: str):
    snapshot(tmp_path / "x", **changed)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint("fabrec", tmp_path / "x", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_damaged_facts_are_refused(tmp_path: Path):
    snapshot(tmp_path / "x")
    (tmp_path / "x" / "meta.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"meta\.json cannot be read"):
        import_checkpoint("fabrec", tmp_path / "x", tmp_path / "run")

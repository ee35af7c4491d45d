"""`lineament import`: what is printed, what is written, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.dve.old_checkpoints import (
    SMALLNET_CONFIG,
    landmark_config,
    regressor_state,
    sequence_state,
    write_checkpoint,
)

from lineament.cli.main import main
from lineament.methods.dve.model import SmallNet
from lineament.training.run import open_run


@pytest.fixture
def published(tmp_path: Path) -> Path:
    state = dict(SmallNet(16).state_dict())
    return write_checkpoint(tmp_path / "checkpoint-epoch100.pth", state, SMALLNET_CONFIG, pickled=True)


def test_prints_what_it_found_and_where_it_is(published: Path, capsys: pytest.CaptureFixture[str]):
    out = published.parent / "run"
    assert main(["import", "dve", str(published), "--run", str(out)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "SmallNet, 16 dimensions",
        "epoch",
        "100",
        "CelebAPrunedAligned_MAFLVal",
        "ConfigParser",
        "recipe",
    ):
        assert words in printed
    assert printed.splitlines()[-1] == str(out)
    assert open_run(out).load_networks()["descriptor"].training is False
    assert main(["import", "dve", str(published), "--run", str(out)]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_prints_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    state = sequence_state(dict(SmallNet(3).state_dict()), regressor_state(3, 5, 4))
    path = write_checkpoint(tmp_path / "old.pth", state, landmark_config(3, 5, 4, 100))
    assert main(["import", "dve", str(path), "--run", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "5 landmarks, 4 intermediate points each" in printed
    assert "ignored 1.descriptors (1 weight): never used by the published forward pass." in printed
    assert "ignored 1.linear.*.weight (5 weights)" in printed


def test_default_folder_is_named_after_family_and_file(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(published.parent)
    assert main(["import", "dve", published.name]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "runs/dve-checkpoint-epoch100"
    assert (published.parent / "runs" / "dve-checkpoint-epoch100" / "config.yaml").is_file()


def test_refusals_are_one_sentence(published: Path, capsys: pytest.CaptureFixture[str]):
    out = str(published.parent / "run")
    foreign = published.parent / "foreign.pth"
    torch.save({"arch": "ResNet", "state_dict": {"fc.weight": torch.zeros(2)}}, foreign)
    cut = published.parent / "cut.pth"
    cut.write_bytes(published.read_bytes()[:5000])
    used = published.parent / "used"
    used.mkdir()
    (used / "mine.txt").write_text("keep")
    cases = [
        (["import", "dvee", str(published)], 2, "did you mean 'dve'"),
        (["import", "dve", str(foreign), "--run", out], 1, "not a checkpoint of Descriptor Vector Exchange"),
        (["import", "dve", str(cut), "--run", out], 1, "copy it again"),
        (["import", "dve", str(cut.with_name("none.pth")), "--run", out], 1, "no such file"),
        (["import", "dve", str(published), "--run", str(used)], 1, "not empty"),
    ]
    for arguments, code, words in cases:
        assert main(arguments) == code
        error = capsys.readouterr().err.strip()
        assert words in error and len(error.splitlines()) == 1 and "Traceback" not in error
    assert not Path(out).exists()
    assert (used / "mine.txt").read_text() == "keep"


def test_overwrite_replaces_the_run_and_nothing_else(published: Path):
    out = published.parent / "run"
    assert main(["import", "dve", str(published), "--run", str(out)]) == 0
    (out / "mine.txt").write_text("keep")
    later = write_checkpoint(published.parent / "later.pth", dict(SmallNet(3).state_dict()), epoch=7)
    assert main(["import", "dve", str(later), "--run", str(out)]) == 1
    assert main(["import", "dve", str(later), "--run", str(out), "--overwrite"]) == 0
    run = open_run(out)
    assert run.config["channels"] == 3 and run.read_checkpoint().step == 7
    assert (out / "mine.txt").read_text() == "keep"
    assert run.environment()[0]["imported"]["file"] == "later.pth" and len(run.environment()) == 1

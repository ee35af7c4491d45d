"""Published checkpoint forms: dictionary and pair, torch 0.4's serialisation, AIGN; wrong files."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.depthnet.faces import random_faces
from torch import nn

from lineament.errors import CheckpointError
from lineament.inference import load
from lineament.interop.torch_file import read_torch_file
from lineament.methods.depthnet.aign import Aign, SpectralCritic
from lineament.methods.depthnet.legacy import read_legacy
from lineament.methods.depthnet.model import Critic, DepthNet, LearntAffineDepthNet
from lineament.training.imported import write_imported_run


def save(path: Path, content: Any, *, zipped: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def record(generator: nn.Module, critic: nn.Module) -> dict[str, Any]:
    # torch 0.4 keyed the state of its optimisers by the ids of objects.
    optimiser = {
        "state": {140234: {"step": 3, "exp_avg": torch.zeros(2)}},
        "param_groups": [{"params": [140234]}],
    }
    return {
        "g": generator.state_dict(),
        "d": critic.state_dict(),
        "optim_g": optimiser,
        "optim_d": optimiser,
        "epoch": 7,
    }


def run_of(path: Path, folder: Path) -> Any:
    return write_imported_run(folder, read_legacy(read_torch_file(path)), {"family": "depthnet"})


@pytest.mark.parametrize("network", [DepthNet, LearntAffineDepthNet])
@pytest.mark.parametrize("form", ["dictionary", "pair", "zip"])
def test_forms_give_the_depths_of_their_weights(network, form: str, tmp_path: Path):
    torch.manual_seed(1)
    generator, critic = network(widths=(24, 16)), Critic()
    content: Any = record(generator, critic)
    if form == "pair":
        content = (generator.state_dict(), critic.state_dict())
    path = save(tmp_path / "100.pkl", content, zipped=form == "zip")
    run = run_of(path, tmp_path / "run")
    faces = random_faces(2).keypoints
    with torch.no_grad():
        expected, affine = generator.eval()(faces[:1], faces[1:])
    fit = load(run.folder).predictor(faces[:1], faces[1:])
    assert torch.equal(fit.depth, expected)
    if affine is not None:
        assert torch.equal(fit.affine, affine)
    model = read_legacy(read_torch_file(path))
    assert model.recipe.endswith("wgan.dnorm0.1." + ("learnm" if affine is not None else "sigma0.fixm"))
    if form != "pair":
        assert model.found["epoch"] == "7" and set(model.ignored) == {"optim_g", "optim_d"}


def test_counters_that_old_torch_did_not_save_and_small_critics(tmp_path: Path):
    state = DepthNet(widths=(8,)).state_dict()
    old = OrderedDict((key, value) for key, value in state.items() if "num_batches" not in key)
    path = save(tmp_path / "old.pkl", (old, Critic(widths=(32, 16, 16)).state_dict()))
    model = read_legacy(read_torch_file(path))
    assert "d" in model.ignored and model.recipe.endswith("nogan.sigma0.fixm")
    assert load(run_of(path, tmp_path / "run").folder).predictor.solve == "fixed"


@pytest.mark.parametrize("spectral", [False, True])
def test_aign(spectral: bool, tmp_path: Path):
    torch.manual_seed(2)
    generator = Aign(size=16)
    critic: nn.Module = SpectralCritic() if spectral else Critic()
    path = save(tmp_path / "aign.pkl", (generator.state_dict(), critic.state_dict()))
    predictor = load(run_of(path, tmp_path / "run").folder).predictor
    faces = random_faces(2).keypoints
    with torch.no_grad():
        expected = generator.eval()(faces)[0][:, 2]
    assert predictor.single
    assert torch.equal(predictor.depth(faces, faces), expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2, 3], "neither"),
        ({"state_dict": {}}, "neither"),
        (({}, {}, {}, {}), "CycleGAN"),
        (({"a": torch.zeros(2)}, {}), "not a checkpoint of DepthNets"),
        (({"a": 1}, {}), "something else"),
        ((DepthNet(widths=(8,)).state_dict() | {"fc.0.weight": torch.zeros(8, 9)}, {}), "shape"),
        (
            (
                nn.Sequential(OrderedDict(fc=nn.Sequential(nn.Linear(264, 5), nn.Linear(5, 7)))).state_dict(),
                {},
            ),
            "DepthNets",
        ),
    ],
)
def test_other_files_are_refused_with_a_reason(content, words: str, tmp_path: Path):
    path = save(tmp_path / "file.pkl", content)
    with pytest.raises(CheckpointError, match=words):
        read_legacy(read_torch_file(path))

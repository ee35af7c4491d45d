"""Every published recipe trains on a small tree in its data set's true layout, from a base run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.data.trees import make_300w, make_aflw_m, make_aflw_r, make_celeba
from tests.dve.faces import Blobs
from tests.dve.old_checkpoints import SMALLNET_CONFIG, write_checkpoint
from torch import nn

from lineament.cli.main import main
from lineament.data.order import sample_generator
from lineament.data.registry import open_data
from lineament.errors import UsageError
from lineament.methods.dve.annotations import COPY, LimitedAnnotations
from lineament.methods.dve.model import SmallNet
from lineament.methods.dve.protocol import annotation_picks
from lineament.methods.dve.recipe import DveConfig, DveRecipe
from lineament.pipeline.import_checkpoint import import_checkpoint
from lineament.training.context import StepContext
from lineament.training.loop import LoopOptions, train
from lineament.training.registry import get_recipe, recipes
from lineament.training.run import open_run

FINE_TUNING = [f"dve-finetune-{key}" for key in ("300w", "aflw-m", "aflw-r")]
REGRESSORS = [f"dve-landmarks-{key}" for key in ("mafl", "300w", "aflw-m", "aflw-r")]
LIMITED = [f"dve-landmarks-aflw-m-{count}" for count in (1, 5, 10, 20)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Descriptors without exchange on a small view, after one step."""
    config = DveConfig(
        steps=1, batch_size=2, channels=4, image_size=36, crop=6, exchange=False, luma=True, evaluate_count=2
    )
    recipe = DveRecipe(config)
    recipe.name = "dve-smallnet-3d"  # type: ignore[misc]
    folder = tmp_path_factory.mktemp("base") / "run"
    train(recipe, Blobs(), folder, options=LoopOptions(progress=False, report=False))
    return folder


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What to give to --data, by the last words of a recipe's name."""
    root = tmp_path_factory.mktemp("trees")
    make_celeba(root / "celeba")
    make_300w(root / "300w")
    make_aflw_m(root / "aflw-m", count=21)
    make_aflw_r(root / "aflw-r", train=4)
    names = {"mafl": "celeba", "300w": "300w", "aflw-m": "aflw-m", "aflw-r": "aflw-r"}
    return {name: f"{name}:{root / folder}?subset=true" for name, folder in names.items()}


def data_of(recipe: str, trees: dict[str, str]) -> str:
    return next(trees[key] for key in trees if f"-{key}" in recipe)


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def test_all_of_the_published_runs_are_listed(capsys: pytest.CaptureFixture[str]):
    assert set(FINE_TUNING) | {"dve-finetune"} == set(recipes("dve-finetune*"))
    assert {*REGRESSORS, *LIMITED, "dve-landmarks"} == set(recipes("dve-landmarks*"))
    assert main(["recipes", "dve-*"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    for name in (*FINE_TUNING, *REGRESSORS, *LIMITED):
        (line,) = [line for line in lines if line.split()[0] == name]
        assert "--base RUN" in line


@pytest.mark.parametrize(
    ("name", "epoch", "epochs"),
    [
        ("dve-finetune-300w", 98, 50),
        ("dve-finetune-aflw-m", 316, 50),
        ("dve-landmarks-mafl", 593, 300),
        ("dve-landmarks-300w", 98, 300),
        ("dve-landmarks-aflw-r", 316, 300),
        ("dve-landmarks-aflw-m-5", 316, 50),
    ],
)
def test_lengths_are_the_published_ones(name: str, epoch: int, epochs: int):
    config = get_recipe(name).config()
    assert (config.steps_per_epoch, config.steps) == (epoch, epoch * epochs)  # type: ignore[attr-defined]


class Update:
    """Stands in for the loop's: zero, back-propagate, step."""

    def __init__(self, optimisers: dict[str, torch.optim.Optimizer]) -> None:
        self.optimisers = optimisers

    def __call__(self, loss: torch.Tensor, *names: str) -> None:
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        loss.backward()
        for optimiser in self.optimisers.values():
            optimiser.step()


@pytest.mark.parametrize("name", [*FINE_TUNING, *REGRESSORS, *LIMITED])
def test_trains_on_its_data_set(name: str, base: Path, trees: dict[str, str]):
    entry = get_recipe(name)
    recipe = entry.build(entry.config(base=str(base), batch_size=2))
    fields = ("channels", "image_size", "crop", "luma")
    assert [getattr(recipe.config, key) for key in fields] == [4, 36, 6, True]
    networks = recipe.networks()
    optimisers = recipe.optimisers(networks)
    source = recipe.training_source(open_data(data_of(name, trees)))
    before = weights_of(networks["descriptor"])
    assert all(
        torch.equal(value, before[key])
        for key, value in open_run(base).load_networks()["descriptor"].state_dict().items()
    )
    for step in range(3):
        items = [recipe.item(source[i], sample_generator(0, step, i)) for i in range(2)]
        values = recipe.step(networks, recipe.collate(items), StepContext(Update(optimisers)))
        assert bool(torch.isfinite(values["loss"]))
    updated = {id(p) for o in optimisers.values() for group in o.param_groups for p in group["params"]}
    for network in networks.values():
        for key, parameter in network.named_parameters():
            assert parameter.requires_grad == (id(parameter) in updated)
            if parameter.requires_grad:
                assert parameter.grad is not None and bool((parameter.grad != 0).any()), key
            else:
                assert parameter.grad is None, key
    after = weights_of(networks["descriptor"])
    if name in FINE_TUNING:
        assert recipe.config.exchange is False and recipe.config.normalize is True
        assert not torch.equal(before["conv1.0.weight"], after["conv1.0.weight"])
    else:
        # Statistics of batch normalisation must not drift either.
        assert all(torch.equal(before[key], value) for key, value in after.items())
        assert (recipe.config.intermediate, recipe.config.softargmax) == (50, 100)
    assert all(value > 0 for value in recipe.evaluate(networks, source).values())


@pytest.mark.parametrize(
    "name",
    [
        "dve-finetune-300w",
        pytest.param("dve-landmarks-300w", marks=pytest.mark.slow),
        "dve-landmarks-aflw-m-20",
    ],
)
def test_trains_from_the_command_line(name: str, base: Path, trees: dict[str, str], tmp_path: Path):
    words = ["--base", str(base), "--data", data_of(name, trees), "--run", str(tmp_path / "run")]
    small = ["--steps", "2", "--batch-size", "2", "--device", "cpu", "--seed", "4"]
    assert main(["train", name, *words, *small]) == 0
    run = open_run(tmp_path / "run")
    assert len(run.metrics("train")) == 2
    assert run.metrics("evaluation")
    assert run.config["channels"] == 4
    # The run stands on its own: its base is not looked at again.
    (tmp_path / "run" / "config.yaml").write_text(
        (tmp_path / "run" / "config.yaml").read_text().replace(str(base), "gone")
    )
    assert "descriptor" in open_run(tmp_path / "run").load_networks()


def test_fine_tuning_starts_from_an_imported_checkpoint_too(trees: dict[str, str], tmp_path: Path):
    state = dict(SmallNet(16).state_dict())
    path = write_checkpoint(tmp_path / "old.pth", state, SMALLNET_CONFIG, pickled=True)
    imported = import_checkpoint("dve", path, tmp_path / "imported").run
    entry = get_recipe("dve-finetune-aflw-r")
    recipe = entry.build(entry.config(base=str(imported.folder)))
    network = recipe.networks()["descriptor"]
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    # The published SmallNet descriptors were raw in the loss; fine-tuning gives them length 20.
    assert imported.config["normalize"] is False
    assert recipe.config.normalize is True


@pytest.mark.parametrize(
    ("name", "said"), [("dve-finetune-300w", "300w.tar.gz"), ("dve-landmarks-aflw-m-5", "aflw-mtfl")]
)
def test_missing_data_are_named_with_where_they_come_from(
    name: str, said: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", name, "--base", str(base)]) == 1
    error = capsys.readouterr().err
    assert said in error and "data/" in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["dve-finetune-300w", "dve-landmarks-mafl"])
def test_a_base_is_needed(name: str, base: Path, tmp_path: Path):
    entry = get_recipe(name)
    with pytest.raises(UsageError, match=f"{name} builds on dense descriptors.*--base RUN"):
        entry.build(entry.config())
    other = tmp_path / "other"
    other.mkdir()
    text = (
        (base / "config.yaml")
        .read_text()
        .replace("dve-smallnet-3d", "dve-landmarks")
        .replace("exchange", "fit")
    )
    (other / "config.yaml").write_text(text)
    with pytest.raises(
        UsageError, match="holds dve-landmarks, not dense descriptors: give a run of dve-smallnet-16d"
    ):
        entry.build(entry.config(base=str(other)))


def test_limited_annotations_repeat_the_published_draw():
    source = Blobs(23)
    few = LimitedAnnotations(source, 5, seed=2)
    picks = annotation_picks(23, 5, 2).tolist()
    assert len(few) == 20
    assert [few[i].id for i in range(20)] == 4 * [source[pick].id for pick in picks]
    assert [few[i].meta[COPY] for i in (0, 7, -1)] == [0, 7, 19]
    assert few.fingerprint != LimitedAnnotations(source, 5, seed=3).fingerprint
    assert few.fingerprint == LimitedAnnotations(source, 5, seed=2).fingerprint


def test_copies_keep_their_warp_through_the_training(base: Path, trees: dict[str, str]):
    entry = get_recipe("dve-landmarks-aflw-m-5")
    recipe = entry.build(entry.config(base=str(base), seed=3))
    source = recipe.training_source(open_data(trees["aflw-m"]))
    assert len(source) == 20
    items = [
        recipe.item(source[index], sample_generator(3, epoch, index))["seen"]
        for epoch, index in ((0, 1), (7, 1), (0, 6))
    ]
    assert torch.equal(items[0], items[1])
    # Copy 6 shows the same picture through another warp.
    assert source[1].id == source[6].id
    assert not torch.equal(items[0], items[2])


def test_the_faithful_views_are_those_of_the_protocol(trees: dict[str, str]):
    config = DveConfig(image_size=100, crop=15, protocol="celeba", loader="paper")
    sample = open_data(trees["mafl"])[0]
    item = DveRecipe(config).item(sample, sample_generator(0, 0, 0))
    assert item["views"].shape == (2, 3, 70, 70)
    views, grid = DveRecipe(config).views({key: value[None] for key, value in item.items()})
    assert views.shape == (2, 3, 70, 70)
    assert grid.shape == (1, 70, 70, 2)
    again = DveRecipe(config).item(sample, sample_generator(0, 0, 0))
    assert torch.equal(item["views"], again["views"])


def test_photographs_are_cut_where_published_crops_lie():
    frame = DveConfig(protocol="300w").frame
    assert frame.view == pytest.approx(100 / 52 * 0.7, abs=1e-5)
    assert frame.shift == pytest.approx(-2 / 52, abs=1e-5)
    assert DveConfig(view=1.4).frame.view == 1.4
    with pytest.raises(UsageError, match="did you mean 'celeba'"):
        _ = DveConfig(protocol="celebra").frame

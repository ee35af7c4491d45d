"""What every registered recipe must pass; a new method's recipes are picked up by themselves."""

from __future__ import annotations

import dataclasses
import inspect
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_toy import QUIET, ToyRecipe, assert_same_runs, train_toy

from lineament.data.loader import BatchStream
from lineament.data.sample import FaceSample
from lineament.training.config import config_from_dict, config_to_dict
from lineament.training.distributed import make_fabric
from lineament.training.recipe import Recipe
from lineament.training.registry import get_recipe, recipes
from lineament.training.state import TrainingState
from lineament.training.update import GradientUpdate

NAMES = [name for name in recipes() if name == "toy" or not name.startswith("toy")]


def tiny(name: str) -> Recipe[Any, Any]:
    entry = get_recipe(name)
    config = entry.config("tiny", steps=12, checkpoint_every=5, evaluate_every=4, ema_decay=0.9)
    return entry.build(config, preset="tiny")


@cache
def networks_of(name: str) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return tiny(name).networks()


def size(name: str) -> int:
    return sum(p.numel() for network in networks_of(name).values() for p in network.parameters())


def layers(name: str) -> tuple[Any, ...]:
    """What kinds of layers lie where in the networks, whatever their widths."""
    return tuple(
        (key, path, type(module).__qualname__)
        for key, network in networks_of(name).items()
        for path, module in network.named_modules()
    )


def one_of_each_family(same_layers: bool = False) -> list[Any]:
    """All recipes; of those that share their code (and layers) all but the smallest are slow tests.

    Variants of a family differ in numbers alone: channels, weights, rates.
    """
    families: dict[Any, list[str]] = {}
    for name in NAMES:
        cls = get_recipe(name).recipe_class
        key = (cls.step, cls.item, cls.networks, layers(name) if same_layers else ())
        families.setdefault(key, []).append(name)
    smallest = {min(members, key=size) for members in families.values()}
    return [name if name in smallest else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]


class Portraits:
    """Smooth random pictures with a box and 68 landmarks with depth, two of each identity."""

    name = "portraits"
    fingerprint = "portraits-1"

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> FaceSample:
        generator = torch.Generator().manual_seed(index)
        coarse = torch.rand(1, 3, 12, 12, generator=generator)
        image = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic", align_corners=False)[0]
        return FaceSample(
            id=f"face-{index}",
            image=image.clamp(0, 1),
            box=torch.tensor([10.0, 12.0, 54.0, 58.0]),
            landmarks=12.0 + 40.0 * torch.rand(68, 2, generator=generator),
            scheme="68",
            visibility=torch.ones(68, dtype=torch.bool),
            identity=f"person-{index // 2}",
            meta={"landmark_z": 6.0 * torch.randn(68, generator=generator)},
        )


def fields_without_comment(config_class: type) -> list[str]:
    """Fields, of a config or of those it inherits from, without a comment right above."""
    missing = []
    for owner in config_class.__mro__:
        if not dataclasses.is_dataclass(owner):
            continue
        lines = [line.strip() for line in inspect.getsource(owner).splitlines()]
        for name in owner.__annotations__:
            at = next(i for i, line in enumerate(lines) if line.startswith(f"{name}:"))
            if not lines[at - 1].startswith("#"):
                missing.append(f"{owner.__name__}.{name}")
    return missing


class WatchedUpdate(GradientUpdate):
    """Notes which parameters an optimiser stepped with a gradient; a recipe may step one optimiser several times."""

    def __init__(self, state: TrainingState) -> None:
        super().__init__(state.fabric, state.optimisers, 1)
        self.moved: set[int] = set()

    def step(self, *optimisers: str) -> None:
        for name in optimisers or tuple(self.optimisers):
            for group in self.optimisers[name].param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        assert bool(torch.isfinite(parameter.grad).all())
                        if bool((parameter.grad != 0).any()):
                            self.moved.add(id(parameter))
        super().step(*optimisers)


@pytest.mark.parametrize("name", NAMES)
def test_describes_itself(name: str):
    entry = get_recipe(name)
    assert entry.summary and "tiny" in entry.presets
    recipe = tiny(name)
    assert (recipe.name, recipe.method) == (entry.name, entry.method)
    assert config_from_dict(entry.config_class, config_to_dict(recipe.config)) == recipe.config
    for preset in entry.presets:
        assert isinstance(entry.config(preset), entry.config_class)
    assert fields_without_comment(entry.config_class) == []


@pytest.mark.parametrize("name", one_of_each_family(same_layers=True))
def test_every_parameter_gets_a_gradient(name: str):
    recipe = tiny(name)
    state = TrainingState(recipe, make_fabric("cpu", "32-true"), "32-true", "")
    stream = BatchStream(Portraits(), recipe.item, recipe.collate, recipe.config.batch_size, seed=0)
    update = WatchedUpdate(state)
    values = recipe.step(state.networks, next(iter(stream)), state.context(update))
    assert torch.isfinite(values["loss"])
    for network_name, network in state.networks.items():
        for key, parameter in network.named_parameters():
            if parameter.requires_grad:
                assert id(parameter) in update.moved, f"{network_name}/{key}"


# Layers that stay in float32 under mixed precision, by method (docs/training.md says why).
KEPT_IN_FLOAT32 = {"depthnet": {"critic/disc.6"}}


@pytest.mark.parametrize("name", one_of_each_family(same_layers=True))
def test_every_layer_computes_in_mixed_precision(name: str):
    """Whichever method of a network, or of its moving average, a recipe calls."""
    recipe = tiny(name)
    state = TrainingState(recipe, make_fabric("cpu", "bf16-mixed"), "bf16-mixed", "")
    found: dict[str, set[torch.dtype]] = {}

    def note(layer: str, _module: nn.Module, _given: Any, output: torch.Tensor) -> None:
        found.setdefault(layer, set()).add(output.dtype)

    averaged = [pair for average in state.averages.values() for pair in average.networks.items()]
    layers = [
        (f"{network_name}/{key}", layer)
        for network_name, network in [*state.networks.items(), *averaged]
        for key, layer in network.named_modules()
        # What a network as a whole returns is float32.
        if key and isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    for path, layer in layers:
        layer.register_forward_hook(partial(note, path))
    stream = BatchStream(Portraits(), recipe.item, recipe.collate, recipe.config.batch_size, seed=0)
    values = recipe.step(state.networks, next(iter(stream)), state.context(WatchedUpdate(state)))
    assert values["loss"].dtype == torch.float32
    assert bool(torch.isfinite(values["loss"]))
    assert bool(found) == bool(layers)
    kept = KEPT_IN_FLOAT32.get(recipe.method, set())
    wrong = {path: types for path, types in found.items() if types != {torch.bfloat16} and path not in kept}
    assert wrong == {}


@pytest.mark.parametrize("name", one_of_each_family())
def test_exact_resume_with_any_number_of_workers(name: str, tmp_path: Path):
    source = Portraits()
    straight = train_toy(tmp_path / "straight", tiny(name), source=source)
    cut = train_toy(tmp_path / "cut", tiny(name), source=source, stop_after=5, workers=2)
    assert cut.read_checkpoint().step == 5
    assert_same_runs(straight, train_toy(cut.folder, tiny(name), source=source, resumed=True, workers=0))


def test_the_toy_is_among_them():
    assert get_recipe("toy").recipe_class is ToyRecipe
    assert not QUIET.progress

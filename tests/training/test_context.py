"""The context of a step: the step's number, latents, declared tensors and averages, all of them resumed bitwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from training_toy import QUIET, Noise, assert_same_runs, toy, train_toy

from lineament.data.readers.none import EmptySample
from lineament.data.registry import open_data
from lineament.errors import DataError, LineamentError, UsageError
from lineament.training.context import AverageSpec, StepContext
from lineament.training.loop import train
from lineament.training.recipe import Recipe, RecipeConfig
from lineament.training.registry import register_recipe


@dataclass(frozen=True)
class LatentConfig(RecipeConfig):
    steps: int = 12
    batch_size: int = 4
    checkpoint_every: int = 5


class LatentRecipe(Recipe[LatentConfig, EmptySample]):
    """Learns from latents alone, with a running mean and two averages."""

    name = "toy-latents"
    method = "toy"
    config_class = LatentConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {"tiny": {}}
    seen: ClassVar[list[tuple[int, float, Tensor]]] = []

    def networks(self) -> dict[str, nn.Module]:
        return {"generator": nn.Linear(3, 2), "critic": nn.Linear(2, 1)}

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        return {
            name: torch.optim.Adam(network.parameters(), lr=1e-2, betas=(0.0, 0.99))
            for name, network in networks.items()
        }

    def averages(self, networks: dict[str, nn.Module]) -> dict[str, AverageSpec]:
        # Two averages of the generator alone, one of which waits.
        return {
            "ema": AverageSpec(("generator",), lambda step: 0.5),
            "late": AverageSpec(("generator",), lambda step: 0.0 if step < 6 else 0.9, train=True),
        }

    def state(self) -> dict[str, Tensor]:
        return {"length": torch.zeros(()), "moved": torch.zeros(2)}

    def item(self, sample: EmptySample, generator: torch.Generator) -> dict[str, Any]:
        return {"index": torch.tensor(int(sample.id))}

    def step(self, networks: dict[str, nn.Module], batch: Any, context: StepContext) -> dict[str, Tensor]:
        latents = torch.randn(len(batch["index"]), 3, generator=context.generator)
        self.seen.append((context.step, context.share, latents))
        made = networks["generator"](latents)
        slow = context.averages["late"]["generator"](latents)
        assert context.averages["late"]["generator"].training
        assert not context.averages["ema"]["generator"].training
        context.state["length"] = context.state["length"].lerp(made.detach().norm(), 0.1)
        context.state["moved"] += 1
        loss = (made - 1).square().mean() + 0.1 * (made - slow).square().mean() + context.state["length"] * 0
        context.update(loss, "generator")
        context.update(networks["critic"](made.detach()).square().mean(), "critic")
        return {"loss": loss.detach(), "length": context.state["length"]}


@pytest.fixture(autouse=True)
def _nothing_seen():
    LatentRecipe.seen.clear()


def latent(**fields: Any) -> LatentRecipe:
    return LatentRecipe(LatentConfig(**fields))


def test_a_training_on_latents_alone_resumes_exactly(tmp_path: Path):
    straight = train_toy(tmp_path / "straight", latent(), source=open_data("none"))
    cut = train_toy(tmp_path / "cut", latent(), source=open_data("none"), stop_after=7)
    again = train_toy(cut.folder, latent(), source=open_data("none"), resumed=True)
    assert_same_runs(straight, again)
    checkpoint = straight.read_checkpoint()
    assert sorted(checkpoint.groups) == ["ema", "late", "networks"]
    assert sorted(key for key in checkpoint.groups["late"]) == ["generator/bias", "generator/weight"]
    assert torch.equal(checkpoint.state["tensors"]["moved"], torch.full((2,), 12.0))
    assert float(checkpoint.state["tensors"]["length"]) > 0


def test_steps_are_counted_and_latents_never_repeat(tmp_path: Path):
    train_toy(tmp_path / "run", latent(steps=4, accumulate=2), source=open_data("none?count=3"))
    assert [step for step, _, _ in LatentRecipe.seen] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [share for _, share, _ in LatentRecipe.seen[::2]] == [0.0, 0.25, 0.5, 0.75]
    drawn = torch.stack([latents for _, _, latents in LatentRecipe.seen]).flatten()
    assert len(drawn.unique()) == drawn.numel() == 8 * 2 * 3
    first = LatentRecipe.seen.copy()
    LatentRecipe.seen.clear()
    train_toy(tmp_path / "other", latent(steps=4, accumulate=2, seed=1), source=open_data("none"))
    assert not torch.equal(first[0][2], LatentRecipe.seen[0][2])


def test_averages_follow_their_own_decay_and_only_their_networks(tmp_path: Path):
    run = train_toy(tmp_path / "run", latent(steps=5), source=open_data("none"))
    groups = run.read_checkpoint().groups
    # Decay 0 until step 6: a copy.
    for key, value in groups["late"].items():
        assert torch.equal(value, groups["networks"][key])
        assert not torch.equal(groups["ema"][key], value)
    loaded, plain = run_networks(run, True), run_networks(run, False)
    assert torch.equal(loaded["generator"].weight, groups["ema"]["generator/weight"])
    assert torch.equal(plain["generator"].weight, groups["networks"]["generator/weight"])
    assert torch.equal(loaded["critic"].weight, groups["networks"]["critic/weight"])


def run_networks(run: Any, average: bool) -> Any:
    register_recipe(LatentRecipe)
    return run.load_networks(average=average)


def test_a_step_that_loses_a_declared_tensor_is_refused(tmp_path: Path):
    class Losing(LatentRecipe):
        name = "toy-losing"

        def step(self, networks: Any, batch: Any, context: StepContext) -> dict[str, Tensor]:
            values = super().step(networks, batch, context)
            context.state["moved"] = torch.zeros(3)
            return values

    with pytest.raises(LineamentError, match=r"'toy-losing' left the state .*moved.*declared"):
        train(Losing(LatentConfig()), open_data("none"), tmp_path / "run", options=QUIET)


def test_what_cannot_be_averaged_or_saved_is_refused(tmp_path: Path):
    class Counting(LatentRecipe):
        def state(self) -> dict[str, Tensor]:
            return {"count": torch.zeros((), dtype=torch.int64)}

    class Clashing(LatentRecipe):
        def averages(self, networks: dict[str, nn.Module]) -> dict[str, AverageSpec]:
            return {"networks": AverageSpec(("generator",), lambda step: 0.5)}

    for cls, words in ((Counting, "floating-point"), (Clashing, "choose another name")):
        with pytest.raises(LineamentError, match=words):
            train(cls(LatentConfig()), open_data("none"), tmp_path / cls.__name__, options=QUIET)
    with pytest.raises(UsageError, match="ema_decay is a number from 0 to below 1, not 1"):
        toy(ema_decay=1.0)


def test_the_step_does_not_depend_on_an_attribute_of_the_recipe(tmp_path: Path):
    # One recipe object that trains two runs must count each by itself.
    recipe = toy(nan_at=8, steps=5)
    train(recipe, Noise(), tmp_path / "one", options=QUIET)
    train(recipe, Noise(), tmp_path / "two", options=QUIET)


def test_empty_samples_make_up_epochs():
    source = open_data("none?count=3")
    assert len(source) == 3 and source[-1] == EmptySample("2") and source.name == "none"
    assert source.fingerprint != open_data("none").fingerprint
    with pytest.raises(IndexError):
        source[3]
    with pytest.raises(DataError, match="1 or more, not 0"):
        open_data("none?count=0")
    with pytest.raises(UsageError, match="has no files"):
        open_data("none:.")


def test_averages_are_told_the_steps_done_from_one(tmp_path: Path):
    told: list[int] = []

    class Telling(LatentRecipe):
        name = "toy-telling"

        def averages(self, networks: Any) -> dict[str, AverageSpec]:
            def decay(step: int) -> float:
                told.append(step)
                return 0.5

            return {**super().averages(networks), "told": AverageSpec(("generator",), decay)}

    train_toy(tmp_path / "run", Telling(latent(steps=4).config), source=open_data("none"))
    assert told == [1, 2, 3, 4]

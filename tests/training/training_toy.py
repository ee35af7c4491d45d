"""A recipe, sources and helpers small enough to train in a fraction of a second."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSample
from lineament.report.figures import draw_grid
from lineament.training.context import StepContext
from lineament.training.loop import LoopOptions, resume, train
from lineament.training.recipe import Recipe, RecipeConfig
from lineament.training.registry import register_recipe
from lineament.training.run import Run, open_run
from lineament.training.stopping import TrainingInterrupted
from lineament.training.tree import flatten


@dataclass(frozen=True)
class ToyConfig(RecipeConfig):
    """A config with every kind of field."""

    # Optimiser steps in all.
    steps: int = 12
    # Samples of one step.
    batch_size: int = 4
    # Steps between two checkpoints.
    checkpoint_every: int = 5
    # Decay of the average.
    ema_decay: float = 0.9
    # Learning rate of both optimisers.
    learning_rate: float = 1e-2
    # Channels of the hidden layer.
    width: int = 6
    # Batch normalisation after the convolution.
    normalise: bool = True
    # Noise in the step from torch's global generator.
    dropout: float = 0.2
    # Step whose loss is made NaN; 0 for none.
    nan_at: int = 0
    # Draw figures; off where a test does not look at them.
    draw: bool = False
    # Sizes, to see that tuples survive the config file.
    sizes: tuple[int, ...] = (8, 8)


class Net(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        # No bias before a batch norm: its gradient is zero but for rounding, which Adam blows up to full steps.
        self.conv = nn.Conv2d(3, config.width, 3, padding=1, bias=not config.normalise)
        self.norm = nn.BatchNorm2d(config.width) if config.normalise else nn.Identity()
        self.drop = nn.Dropout(config.dropout)
        self.head = nn.Conv2d(config.width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.relu(self.norm(self.conv(x)))))


@register_recipe
class ToyRecipe(Recipe[ToyConfig, FaceSample]):
    """Learns the brightness of noise with one network and criticises it with another."""

    name = "toy"
    method = "toy"
    config_class = ToyConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {"tiny": {}, "wide": {"width": 16}}
    best_metric = "error"

    def networks(self) -> dict[str, nn.Module]:
        return {"net": Net(self.config), "critic": nn.Conv2d(1, 1, 1)}

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        rate = self.config.learning_rate
        return {
            "net": torch.optim.Adam(networks["net"].parameters(), lr=rate),
            "critic": torch.optim.SGD(networks["critic"].parameters(), lr=rate, momentum=0.9),
        }

    def schedules(self, optimisers: dict[str, Any]) -> dict[str, Any]:
        return {"net": torch.optim.lr_scheduler.CosineAnnealingLR(optimisers["net"], self.config.steps)}

    def item(self, sample: FaceSample, generator: torch.Generator) -> dict[str, Any]:
        noise = torch.rand(sample.image.shape, generator=generator)
        return {"image": 0.8 * sample.image + 0.2 * noise, "id": sample.id}

    def step(
        self, networks: dict[str, nn.Module], batch: dict[str, Any], context: StepContext
    ) -> dict[str, Tensor]:
        image = batch["image"]
        target = image.mean(1, keepdim=True)
        made = networks["net"](image)
        critic_loss = (networks["critic"](made.detach()) - target).square().mean()
        loss = (made - target).square().mean() + 0.1 * (networks["critic"](made) - target).square().mean()
        if context.step + 1 == self.config.nan_at:
            loss = loss * float("nan")
        context.update(loss, "net")
        context.update(critic_loss, "critic")
        return {"loss": loss, "critic": critic_loss}

    @torch.no_grad()
    def evaluate(self, networks: dict[str, nn.Module], source: Any) -> dict[str, float]:
        torch.rand(3)
        assert not networks["net"].training
        images = torch.stack([source[i].image for i in range(len(source))])
        return {"error": float((networks["net"](images) - images.mean(1, keepdim=True)).abs().mean())}

    @torch.no_grad()
    def figures(self, networks: dict[str, nn.Module], source: Any, folder: Path) -> list[Path]:
        if not self.config.draw:
            return []
        made = networks["net"](source[0].image[None])[0]
        return [draw_grid(folder / "made.png", [source[0].image, made], titles=["given", "made"])]


class Noise:
    """A source of small random pictures."""

    def __init__(self, count: int = 10, size: int = 8, seed: int = 0) -> None:
        self.count, self.size, self.seed = count, size, seed
        self.name = "noise"

    @property
    def fingerprint(self) -> str:
        return f"noise-{self.count}-{self.size}-{self.seed}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        generator = torch.Generator().manual_seed(self.seed * 1000 + index)
        return FaceSample(id=str(index), image=torch.rand(3, self.size, self.size, generator=generator))


def toy(**fields: Any) -> ToyRecipe:
    return ToyRecipe(ToyConfig(**fields))


QUIET = LoopOptions(device="cpu", progress=False, report=False)


def train_toy(
    folder: Path, recipe: Recipe[Any, Any], *, source: Any = None, resumed: bool = False, **options: Any
) -> Run:
    """Train (or resume) quietly; an interruption asked for with ``stop_after`` is swallowed."""
    source = source or Noise()
    chosen = replace(QUIET, **options)
    with suppress(TrainingInterrupted):
        if resumed:
            return resume(folder, source, options=chosen, recipe=recipe)
        return train(recipe, source, folder, options=chosen)
    return open_run(folder)


def assert_same_runs(first: Run, second: Run) -> None:
    """Every tensor and number of the newest checkpoints and every metric line are bitwise equal."""
    one, two = first.read_checkpoint(), second.read_checkpoint()
    assert one.step == two.step
    tensors: list[dict[str, Tensor]] = [{}, {}]
    states = [flatten(c.state, t, "state") for c, t in zip((one, two), tensors, strict=True)]
    assert states[0] == states[1]
    assert one.groups.keys() == two.groups.keys()
    for before, after in zip(
        (*one.groups.values(), tensors[0]), (*two.groups.values(), tensors[1]), strict=True
    ):
        assert before.keys() == after.keys()
        for key, value in before.items():
            assert value.dtype == after[key].dtype, key
            assert torch.equal(value, after[key]), key
    lines = (first.folder / "metrics.jsonl").read_text()
    assert lines == (second.folder / "metrics.jsonl").read_text()
    assert lines.count("train") == one.step

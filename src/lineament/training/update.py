"""Applies gradients for a recipe: accumulation, several optimisers, averaging over processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.optim import Optimizer

from lineament.errors import LineamentError, unknown_name
from lineament.training.distributed import average_gradients

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class GradientUpdate:
    """The loop's :class:`~lineament.training.recipe.Update`.

    A batch comes in ``accumulate`` parts. Gradients are zeroed in the first part, summed over parts (each loss divided
    by their number) and applied in the last one, so that the result is that of the whole batch where the loss is a
    mean over samples. A step with several updates equals the whole batch's only if no loss is computed after an
    earlier update of the same step: in all parts but the last, that update has not happened yet.

    Args:
        fabric: Runs the backward pass in the chosen precision.
        optimisers: All optimisers by name.
        accumulate: Parts of one batch.
    """

    def __init__(self, fabric: Fabric, optimisers: dict[str, Optimizer], accumulate: int) -> None:
        self.fabric = fabric
        self.optimisers = optimisers
        self.accumulate = accumulate
        self.part = 0
        self._zeroed: set[str] = set()

    def begin(self, part: int) -> None:
        """Announce the part of the batch that follows, counted from 0."""
        self.part = part
        self._zeroed.clear()

    def __call__(self, loss: Tensor, *optimisers: str) -> None:
        """Zero, back-propagate and step; only the named optimisers' parameters receive gradients."""
        self.zero(*optimisers)
        self.backward(loss, *optimisers)
        self.step(*optimisers)

    def zero(self, *optimisers: str) -> None:
        """Zero gradients; under accumulation only in the first part.

        Raises:
            LineamentError: If an optimiser is zeroed twice in one part under accumulation: its first gradients, not
                yet applied, would be lost.
        """
        for name in self._names(optimisers):
            if self.accumulate > 1 and name in self._zeroed:
                raise LineamentError(
                    f"this recipe updates optimiser {name!r} twice in a step, which cannot be accumulated: "
                    f"use accumulate 1 instead of {self.accumulate}."
                )
            self._zeroed.add(name)
            if self.part == 0:
                self.optimisers[name].zero_grad(set_to_none=True)

    def backward(self, loss: Tensor, *optimisers: str, retain_graph: bool = False) -> None:
        """Back-propagate into the named optimisers' parameters (into everything when none is named)."""
        scaled = loss / self.accumulate if self.accumulate > 1 else loss
        if optimisers:
            # Without `inputs`, a generator's loss would add to the gradients its discriminator is still collecting.
            inputs = [p for name in self._names(optimisers) for p in _parameters(self.optimisers[name])]
            self.fabric.backward(scaled, inputs=inputs, retain_graph=retain_graph)
        else:
            self.fabric.backward(scaled, retain_graph=retain_graph)

    def step(self, *optimisers: str) -> None:
        """Average gradients over processes and step; under accumulation only in the last part."""
        if self.part != self.accumulate - 1:
            return
        for name in self._names(optimisers):
            optimiser = self.optimisers[name]
            average_gradients(_parameters(optimiser), self.fabric.world_size)
            optimiser.step()

    def _names(self, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            if name not in self.optimisers:
                raise unknown_name("optimiser", name, self.optimisers)
        return given or tuple(self.optimisers)


def _parameters(optimiser: Optimizer) -> list[nn.Parameter]:
    return [p for group in optimiser.param_groups for p in group["params"] if p.requires_grad]

"""What a generator of images draws for an evaluation: each image from a seed of its own, in 8 bits, in processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

import torch
from torch import Tensor

from lineament.capabilities import ImageGenerator, MultiplaneGenerator
from lineament.eight_bit import quantised
from lineament.geometry.multiplane import MultiplaneImage
from lineament.parallel import ordered_map
from lineament.progress import Progress, silent

R = TypeVar("R")
# How an image gets its 8 bits: to the nearest level, or as published, fractions dropped.
Rounding = Literal["nearest", "published"]
# Seeds of an evaluation are those from its own seed times this on.
SEEDS_APART = 10**8
# Images that a process is given at a time.
CHUNK = 16


@dataclass(frozen=True)
class Draws:
    """The images of a generator by their numbers: the same number always gives the same image.

    A number is a seed of torch's CPU generator, which gives first the latent vector, then yaw and pitch of a camera of
    the training's spread, as the published evaluation draws them.

    Attributes:
        generator: Draws images, or multiplane images.
        planes: Planes of a multiplane image; None: as in training.
        psi: Truncation, share of the way from the mean style.
        seed: Evaluations of different seeds see different images.
    """

    generator: ImageGenerator | MultiplaneGenerator
    planes: int | None = None
    psi: float = 1.0
    seed: int = 0

    def images(self, numbers: Sequence[int]) -> Tensor:
        """``[N, 3, R, R]`` in 0..1, a multiplane image from a camera of the training's spread."""
        if not isinstance(self.generator, MultiplaneGenerator):
            latents = [self._latent(number)[0] for number in numbers]
            return self.generator.images(torch.stack(latents), self.psi, batch=len(latents))
        views = []
        for number in numbers:
            made, yaw, pitch = self.multiplane(number)
            views.append(made.render(yaw, pitch).image[0].clamp(0, 1).cpu())
        return torch.stack(views)

    def multiplane(self, number: int) -> tuple[MultiplaneImage, Tensor, Tensor]:
        """A multiplane image, with yaw and pitch ``[1]`` in radians of the camera that is drawn with it."""
        assert isinstance(self.generator, MultiplaneGenerator)
        latent, draws = self._latent(number)
        made = self.generator.multiplane(latent, self.planes, self.psi)
        return made, *self.generator.poses.sample(1, draws)

    def _latent(self, number: int) -> tuple[Tensor, torch.Generator]:
        draws = torch.Generator().manual_seed(self.seed * SEEDS_APART + number)
        return torch.randn(self.generator.latent_size, generator=draws), draws

    @property
    def words(self) -> str:
        """What is drawn, for cards."""
        told = f"truncation {self.psi:g}, latents of the seeds from {self.seed * SEEDS_APART} on"
        if isinstance(self.generator, MultiplaneGenerator):
            told = f"{self.planes or len(self.generator.planes)} planes, {told}"
        return told

    @property
    def image_words(self) -> str:
        """How :meth:`images` sees it, for cards."""
        seen = ", each seen from a camera of the training's spread"
        return self.words + (seen if isinstance(self.generator, MultiplaneGenerator) else "")


def in_eight_bits(image: Tensor, rounding: Rounding) -> Tensor:
    """An image of any shape in 0..1 as multiples of 1/255."""
    if rounding == "published":
        return (image.clamp(0, 1) * 255).floor() / 255
    return quantised(image)


@contextmanager
def drawn_in_chunks(
    work: Callable[[Sequence[int]], Sequence[R]],
    numbers: Sequence[int],
    workers: int,
    title: str,
    unit: str,
    progress: Progress = silent,
) -> Iterator[Iterator[R]]:
    """Give an iterator over what is made of each number, in order, a chunk at a time in each process.

    Args:
        work: Makes one thing of each number of a chunk.
        numbers: In the order of the results.
        workers: Processes; 1 works in this one.
        title: What is being done, for the progress.
        unit: What the numbers are, for the progress.
        progress: How it is shown.
    """
    rest = iter(numbers)
    chunks = iter(lambda: list(islice(rest, CHUNK)), [])
    remedy = "give --workers 1"
    with (
        progress(title, len(numbers), unit) as advance,
        ordered_map(work, chunks, workers if len(numbers) > CHUNK else 1, remedy) as results,
    ):
        yield _one_by_one(results, advance)


def _one_by_one(results: Iterator[Sequence[R]], advance: Callable[[], None]) -> Iterator[R]:
    for chunk in results:
        for each in chunk:
            advance()
            yield each

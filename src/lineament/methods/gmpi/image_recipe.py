"""What the recipes of this method share: they learn from images of one size and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from lineament.data.cache import CachedSource
from lineament.data.sample import FaceSample, FaceSource
from lineament.data.square_images import Mirrored, count_images, square_image
from lineament.data.subset import Mapped
from lineament.eight_bit import to_uint8
from lineament.errors import UsageError
from lineament.progress import say
from lineament.training.recipe import Batch, Recipe, RecipeConfig

# What the largest resolutions can be computed in; None: as the weights are.
LOW_PRECISIONS = {"none": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class ImageConfig(RecipeConfig):
    """How images are prepared; a recipe adds ``resolution`` and what trains its networks."""

    # Cut images of another size to their middle square and scale it; without it they are refused.
    resize: bool = False
    # Learn the mirror image of each image too.
    mirror: bool = True
    # Megabytes of images kept in memory after they were decoded; 0 decodes them each time.
    cache_mb: int = 2000


C = TypeVar("C", bound=ImageConfig)


def published_channel_base(resolution: int) -> int:
    """Channels times resolution as published: 16384 up to 256 px, 32768 above."""
    return 16384 if resolution <= 256 else 32768


class ImageRecipe(Recipe[C, FaceSample]):
    """Trains on images as they are, without labels."""

    resource_fields = ("cache_mb",)

    def check_numbers(self, least: Mapping[str, int]) -> None:
        """Refuse sizes that no network has, and numbers below their least, by their name.

        Raises:
            UsageError: If there is one, or ``--accumulate``: several updates make a step.
        """
        c: Any = self.config
        if c.resolution not in (16, 32, 64, 128, 256, 512, 1024):
            raise UsageError(f"resolution is a power of two from 16 to 1024, not {c.resolution}.")
        if c.accumulate != 1:
            raise UsageError(
                f"{self.name} updates its networks several times a step, which --accumulate {c.accumulate} cannot do: "
                f"give --split {c.accumulate}."
            )
        for name, value in {**least, "cache_mb": 0}.items():
            if getattr(c, name) < value:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is a number of {value} or more, not {getattr(c, name)}.")

    def training_source(self, source: FaceSource) -> FaceSource:
        """The images at their size, kept in memory once decoded, and their mirror images; counts are said.

        Raises:
            DataError: If there are images of another size and they are not to be resized, before anything is written.
        """
        c: Any = self.config
        counts = count_images(source, c.resolution, c.resize)
        told = self.read_beside(source)
        say(f"{source.name}: {counts.summary()}{'; each also mirrored' if c.mirror else ''}.")
        squares: FaceSource = Mapped(source, self.square, f"square {c.resolution} {c.resize}{told}")
        if c.cache_mb:
            squares = CachedSource(squares, c.cache_mb * 10**6, ())
        return Mirrored(squares) if c.mirror else squares

    def read_beside(self, source: FaceSource) -> str:
        """Read what a recipe needs beside the images; words that change with it, for it is a part of the data."""
        return ""

    def square(self, sample: FaceSample) -> FaceSample:
        """The image at its size, without anything else."""
        c: Any = self.config
        image = square_image(sample.image, c.resolution, c.resize, sample.id)
        return FaceSample(sample.id, image, path=sample.path)

    def item(self, sample: FaceSample, generator: Any) -> Batch:
        """The image in 8 bits."""
        return {"image": to_uint8(self.square(sample).image)}

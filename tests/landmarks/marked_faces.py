"""Small faces for the tests of this method."""

from __future__ import annotations

from typing import Any

import torch

from lineament.data.sample import FaceSample
from lineament.training.registry import get_recipe

POINTS = torch.tensor([[18.0, 20.0], [30.0, 20.0], [24.0, 27.0], [19.0, 33.0], [29.0, 33.0]])


class Faces:
    """Five coloured marks on noise, somewhere in an image of 48 px."""

    name = "marks"

    def __init__(
        self, count: int = 8, *, labelled: bool = True, seed: int = 0, visible: bool = False
    ) -> None:
        self.count, self.labelled, self.seed, self.visible = count, labelled, seed, visible
        self.fingerprint = f"marks {count} {labelled} {seed} {visible}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        image = 0.3 * torch.rand(3, 48, 48, generator=generator)
        points = POINTS + 2.0 * torch.randn(5, 2, generator=generator)
        y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
        for number, (px, py) in enumerate(points.tolist()):
            near = ((x - px).square() + (y - py).square() < 9).float()
            image[number % 3] += near * (0.7 if number < 3 else 0.4)
        image = (255 * image.clamp(0, 1)).round() / 255
        box = torch.tensor([10.0, 8.0, 38.0, 42.0])
        if not self.labelled:
            return FaceSample(f"face{index}", image, box=box)
        seen = torch.tensor([True, True, index % 2 == 0, True, True]) if self.visible else None
        return FaceSample(f"face{index}", image, box=box, landmarks=points, scheme="5", visibility=seen)


def tiny(**fields: Any) -> Any:
    """A tiny recipe of scheme 5."""
    entry = get_recipe("landmarks")
    unlabelled = fields.pop("source", None)
    config = entry.config("tiny", **{"scheme": "5", **fields})
    if unlabelled is None:
        return entry.build(config, preset="tiny")
    from lineament.training.recipe import Origin

    return entry.recipe_class(config, Origin("landmarks", None, "tiny"), unlabelled=unlabelled)

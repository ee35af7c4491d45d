"""Small labelled pictures for the tests of this method: a bright disc with five coloured marks."""

from __future__ import annotations

import torch

from lineament.data.sample import FaceSample

MARKS = torch.tensor([[-0.4, -0.3], [0.4, -0.3], [0.0, 0.1], [-0.25, 0.5], [0.25, 0.5]])
COLOURS = torch.tensor([[0.1, 0.1, 0.9], [0.1, 0.1, 0.9], [0.9, 0.6, 0.1], [0.9, 0.1, 0.1], [0.9, 0.1, 0.1]])


class Blobs:
    """Faces of five marks in scheme "5"; sample i is always the same."""

    name = "blobs"
    fingerprint = "b10b5"

    def __init__(self, count: int = 12, size: int = 56, labelled: bool = True) -> None:
        self.count, self.size, self.labelled = count, size, labelled

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        middle = self.size / 2 + 4 * torch.randn(2, generator=generator)
        radius = self.size * (0.28 + 0.04 * torch.rand([], generator=generator))
        points = middle + radius * (MARKS + 0.05 * torch.randn(5, 2, generator=generator))
        grid = torch.stack(torch.meshgrid(*[torch.arange(self.size).float()] * 2, indexing="ij")[::-1], -1)
        image = 0.2 + 0.1 * torch.rand(3, self.size, self.size, generator=generator)
        inside = ((grid - middle).norm(dim=-1) < radius).float()
        image = image * (1 - inside) + 0.7 * inside
        for point, colour in zip(points, COLOURS, strict=True):
            mark = torch.exp(-0.5 * ((grid - point).norm(dim=-1) / (radius / 7)) ** 2)
            image = image * (1 - mark) + colour[:, None, None] * mark
        box = torch.cat([middle - radius, middle + radius])
        return FaceSample(
            id=f"blob{index}",
            image=image.clamp(0, 1),
            box=box,
            landmarks=points if self.labelled else None,
            scheme="5" if self.labelled else None,
            identity=str(index),
        )

"""Small labelled pictures for the tests of this method: smooth noise with five bright marks."""

from __future__ import annotations

import torch

from lineament.data.sample import FaceSample

SHAPE = torch.tensor([[-0.35, -0.25], [0.35, -0.25], [0.0, 0.1], [-0.25, 0.45], [0.25, 0.45]])


class Marks:
    """Faces of five marks in scheme "5"; sample i is always the same."""

    name = "marks"

    def __init__(self, count: int = 8, size: int = 72, labelled: bool = True) -> None:
        self.count, self.size, self.labelled = count, size, labelled

    @property
    def fingerprint(self) -> str:
        return f"marks-{self.count}-{self.size}-{self.labelled}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        middle = self.size / 2 + torch.randn(2, generator=generator)
        radius = 0.3 * self.size
        points = middle + radius * (SHAPE + 0.03 * torch.randn(5, 2, generator=generator))
        grid = torch.stack(torch.meshgrid(*[torch.arange(self.size).float()] * 2, indexing="ij")[::-1], -1)
        image = torch.full((3, self.size, self.size), 0.35)
        for point in points:
            image = image + 0.5 * torch.exp(-0.5 * ((grid - point).norm(dim=-1) / (radius / 6)) ** 2)
        box = torch.cat([middle - radius, middle + radius])
        return FaceSample(
            id=f"face{index}",
            image=image.clamp(0, 1),
            box=box,
            landmarks=points if self.labelled else None,
            scheme="5" if self.labelled else None,
        )

"""Multiplane images with cameras, for the tests of the renderer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lineament.geometry.sphere_camera import camera_on_sphere
from lineament.ops import mpi_composite
from lineament.ops.mpi_composite import Composite


@dataclass(frozen=True)
class MpiCase:
    """Arguments of :func:`lineament.ops.mpi_composite`, and weights of its results that make a scalar of them."""

    alpha: Tensor
    colour: Tensor
    background: Tensor | None
    planes: Tensor
    eye: Tensor
    rays: Tensor
    height: int
    width: int
    weights: tuple[Tensor, Tensor, Tensor]

    def to(self, dtype: torch.dtype) -> MpiCase:
        changed = {
            name: None if value is None else value.to(dtype)
            for name, value in (
                ("alpha", self.alpha),
                ("colour", self.colour),
                ("background", self.background),
            )
        }
        return replace(self, **changed, weights=tuple(w.to(dtype) for w in self.weights))


def make_case(
    images: int = 1,
    planes: int = 7,
    texture: tuple[int, int] = (20, 24),
    size: tuple[int, int] = (18, 35),
    views: int = 1,
    colours: str = "shared",
    reach: float = 0.3,
    roll: float = 0.0,
    empty: float = 0.0,
    seed: int = 0,
) -> MpiCase:
    """Random textures seen by random cameras.

    Args:
        images: Multiplane images.
        planes: Planes of each.
        texture: Rows and columns of the textures.
        size: Rows and columns of the views.
        views: Of each image.
        colours: ``"shared"``, ``"background"`` (shared but for the last plane) or ``"each"``.
        reach: Greatest yaw and pitch, radians.
        roll: Of the cameras, radians.
        empty: Share of each plane's rows and columns, from the upper left, that hold nothing.
        seed: Of the draws.
    """
    draw = torch.Generator().manual_seed(seed)
    alpha = torch.rand(images, planes, *texture, generator=draw, dtype=torch.float64) ** 3
    alpha[..., : int(empty * texture[0]), :] = 0
    alpha[..., : int(empty * texture[1])] = 0
    shape = (images, planes, 3) if colours == "each" else (images, 3)
    colour = torch.rand(*shape, *texture, generator=draw, dtype=torch.float64)
    background = torch.rand_like(colour) if colours == "background" else None
    z = torch.linspace(0.95, 1.12, planes, dtype=torch.float64)
    table = torch.stack([z, torch.full_like(z, 0.3), torch.full_like(z, 0.4)], dim=1)
    count = images * views
    yaw, pitch = reach * (2 * torch.rand(2, count, generator=draw, dtype=torch.float64) - 1)
    camera = camera_on_sphere(yaw, pitch, radius=1.0, centre_z=1.0)
    focal = max(size) / 0.22
    turned = torch.tensor(
        [
            [torch.cos(torch.tensor(roll)), -torch.sin(torch.tensor(roll)), 0],
            [torch.sin(torch.tensor(roll)), torch.cos(torch.tensor(roll)), 0],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    )
    pixels = torch.tensor(
        [[1 / focal, 0, -size[1] / 2 / focal], [0, 1 / focal, -size[0] / 2 / focal], [0, 0, 1]],
        dtype=torch.float64,
    )
    weights = tuple(
        torch.randn(shape, generator=draw, dtype=torch.float64)
        for shape in ((count, 3, *size), (count, *size), (count, *size))
    )
    return MpiCase(
        alpha,
        colour,
        background,
        table,
        camera[:, :3, 3],
        camera[:, :3, :3] @ turned @ pixels,
        *size,
        weights,  # type: ignore[arg-type]
    )


def render(case: MpiCase, **options: object) -> Composite:
    """The views; outside of the last plane is left empty unless ``outside`` is given."""
    given: dict[str, object] = {"outside": "zero", **options}
    return mpi_composite(
        case.alpha,
        case.colour,
        case.background,
        case.planes,
        case.eye,
        case.rays,
        case.height,
        case.width,
        **given,  # type: ignore[arg-type]
    )


def gradients(case: MpiCase, **options: object) -> list[Tensor]:
    """Gradients of the weighted results with respect to the textures."""
    textures = {
        name: tensor.detach().clone().requires_grad_()
        for name, tensor in (
            ("alpha", case.alpha),
            ("colour", case.colour),
            ("background", case.background),
        )
        if tensor is not None
    }
    results = render(replace(case, **textures), **options)
    total = sum((result * weight).sum() for result, weight in zip(results, case.weights, strict=True))
    assert isinstance(total, Tensor)
    return list(torch.autograd.grad(total, list(textures.values())))


def assert_close(found: object, expected: object, tolerance: float) -> None:
    """Tensors of any precision whose largest difference is within a share of the largest value (at least 1)."""
    for a, b in zip(found, expected, strict=True):  # type: ignore[call-overload]
        scale = max(1.0, float(b.detach().abs().max()))
        torch.testing.assert_close(
            a.detach().cpu().double(), b.detach().double(), atol=tolerance * scale, rtol=0
        )

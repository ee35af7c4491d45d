"""The alpha branch of GMPI: one opacity map for each plane from one set of features.

Four variants. What makes a plane different from another is a vector per plane (or a depth), so all maps come from one
shared 1x1 convolution and one number per plane: features of each plane are never made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from lineament.errors import UsageError, unknown_name
from lineament.nn.stylegan2.bias_act import bias_act
from lineament.nn.stylegan2.layers import EqualizedLinear

_EPSILON = 1e-8


@dataclass(frozen=True)
class Variant:
    """How alpha comes about.

    Attributes:
        name: Of ours.
        pair: What the published configuration calls it: what alpha is conditioned on, and by what.
        any_planes: Whether it makes any number of planes, or only as many as it was built for.
        per_plane: Whether planes differ by a vector for each. Alpha is then made up to a resolution and upsampled from
            there, and the last plane may be made opaque.
        summary: One line of help.
    """

    name: str
    pair: tuple[str, str]
    any_planes: bool
    per_plane: bool
    summary: str


VARIANTS: Final = {
    each.name: each
    for each in (
        Variant("none", ("none", "none"), False, False, "one channel for each plane"),
        Variant(
            "plane-depth",
            ("normalize_add_z", "modulated_lrelu"),
            True,
            True,
            "conditioned on each plane's depth (the paper's)",
        ),
        Variant(
            "plane-token",
            ("normalize_add_z", "learnable_param"),
            True,
            True,
            "a learnt vector for each plane",
        ),
        Variant(
            "predicted-depth",
            ("depth2alpha", "modulated_lrelu"),
            True,
            False,
            "a depth map, behind which planes are opaque",
        ),
    )
}


def resolve_variant(name: str) -> Variant:
    """The variant of a name: ours, or the published pair written ``condition/function``.

    Raises:
        UsageError: If there is none.
    """
    for variant in VARIANTS.values():
        if name in (variant.name, "/".join(variant.pair)):
            return variant
    pairs = ["/".join(variant.pair) for variant in VARIANTS.values()]
    raise unknown_name("variant of GMPI", name, [*VARIANTS, *pairs])


class PlaneEmbedding(nn.Module):
    """A vector for each sample and plane from the plane's depth: four modulated 1x1 layers, each with its styles.

    Args:
        channels: Length of the vectors.
        w_dim: Length of the styles' latents.
        clamp: Largest magnitude of the layers' outputs; None: not clamped.
    """

    def __init__(self, channels: int, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        widths = (1, channels // 4, channels // 2, channels, channels)
        self.count = len(widths) - 1
        for number in range(1, self.count + 1):
            inputs, outputs = widths[number - 1 : number + 1]
            self.register_parameter(f"weight{number}", nn.Parameter(torch.randn(outputs, inputs, 1, 1)))
            self.register_parameter(f"bias{number}", nn.Parameter(torch.zeros(outputs)))
        for number in range(1, self.count + 1):
            affine = EqualizedLinear(w_dim, widths[number - 1], bias_init=1.0)
            self.add_module(f"affine{number}", affine)

    def forward(self, w: Tensor, depths: Tensor) -> Tensor:
        """``w [B, w_dim]`` and normalised depths ``[P]`` to ``[B, P, channels]``."""
        x = depths.to(w.dtype)[None, :, None].expand(len(w), -1, -1)
        for number in range(1, self.count + 1):
            weight = self.get_parameter(f"weight{number}")[:, :, 0, 0]
            styles = self.get_submodule(f"affine{number}")(w) * weight.shape[1] ** -0.5
            x = (x * styles[:, None]) @ weight.T
            x = bias_act(x, self.get_parameter(f"bias{number}"), "lrelu", clamp=self.clamp, dim=2)
        return x


class PlaneTokens(nn.Module):
    """A learnt vector for each plane of training; between their depths it is interpolated.

    Args:
        channels: Length of the vectors.
        depths: ``[S]`` normalised depths of the planes of training, ascending.

    Attributes:
        tokens: ``[1, S, channels, 1, 1]``, drawn from 0..1.
    """

    depths: Tensor

    def __init__(self, channels: int, depths: Tensor) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.rand(1, len(depths), channels, 1, 1))
        self.register_buffer("depths", depths.detach().clone(), persistent=False)

    def forward(self, w: Tensor, depths: Tensor) -> Tensor:
        """``w [B, w_dim]`` (its length alone counts) and normalised depths ``[P]`` to ``[B, P, channels]``."""
        weights = interpolation_weights(self.depths, depths).to(self.tokens.dtype)
        vectors = weights @ self.tokens[0, :, :, 0, 0]
        return vectors[None].expand(len(w), -1, -1)


def interpolation_weights(source: Tensor, target: Tensor) -> Tensor:
    """What each of the ``source`` places counts at each ``target``: linear between them, constant beyond the ends.

    Args:
        source: ``[S]`` ascending.
        target: ``[T]``.

    Returns:
        ``[T, S]``, rows of sum 1.
    """
    target = target.to(source).clamp(source[0], source[-1])
    if len(source) == 1:
        return torch.ones(len(target), 1).to(source)
    right = torch.searchsorted(source, target, right=True).clamp(1, len(source) - 1)
    below, above = source[right - 1], source[right]
    share = (target - below) / (above - below)
    weights = source.new_zeros(len(target), len(source))
    weights.scatter_(1, right[:, None] - 1, 1 - share[:, None])
    return weights.scatter_(1, right[:, None], share[:, None])


def centred_and_std(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x [B, C, H, W]`` less its mean over each map, and the maps' standard deviation ``[B, C]``, never zero."""
    centred = x - x.mean(dim=(2, 3), keepdim=True)
    variance = centred.square().sum(dim=(2, 3)) / (x[0, 0].numel() - 1)
    return centred, (variance + _EPSILON).sqrt() + _EPSILON


def side_width(resolution: int, ratio: float) -> int:
    """Columns at each side of the features that the background keeps."""
    return max(1, math.floor(ratio * resolution))


def side_columns(x: Tensor, width: int) -> Tensor:
    """The ``width + 1`` outermost columns of each side of ``[B, C, H, W]``, left before right."""
    return torch.cat([x[..., : width + 1], x[..., -width - 1 :]], dim=-1)


def stretch_sides(sides: Tensor, resolution: int, width: int) -> Tensor:
    """A background from the sides of an image: kept as they are, and mixed in between.

    Args:
        sides: ``[B, C, H, 2 (width + 1)]`` from :func:`side_columns`.
        resolution: Columns of the background.
        width: Columns that are kept at each side.

    Returns:
        ``[B, C, H, resolution]``; between the sides the share of the right one grows from 0 by ``1 / (resolution - 2
        width)`` with each column.
    """
    inner = resolution - 2 * width
    share = torch.arange(inner, dtype=sides.dtype, device=sides.device) / inner
    left, right = sides[..., width : width + 1], sides[..., width + 1 : width + 2]
    return torch.cat(
        [sides[..., :width], (1 - share) * left + share * right, sides[..., width + 2 :]], dim=-1
    )


def depth_to_alpha(depth: Tensor, planes: Tensor, half_ramp: float) -> Tensor:
    """Opacity of planes behind a surface: 0 in front of it, 1 behind it, a ramp around it.

    Args:
        depth: ``[B, 1, H, W]`` of the surface, 0..1.
        planes: ``[P]`` normalised depths.
        half_ramp: How far in front of and behind the surface the ramp reaches.

    Returns:
        ``[B, P, H, W]``.
    """
    behind = planes.to(depth)[None, :, None, None] - depth
    return (behind.clamp(-half_ramp, half_ramp) + half_ramp) / (2 * half_ramp + _EPSILON)


def check_planes(variant: Variant, built_for: int, depths: Tensor) -> None:
    """Refuse another number of planes where the variant needs its own.

    Raises:
        UsageError: If it does, or the depths are not ``[P]``.
    """
    if depths.ndim != 1 or not len(depths):
        raise UsageError(f"depths of planes must be [P], got {list(depths.shape)}.")
    if not variant.any_planes and len(depths) != built_for:
        raise UsageError(
            f"variant {variant.name!r} has {built_for} planes and no others, {len(depths)} were asked for: leave the "
            "number of planes out, or train another variant."
        )

"""What a discriminator learns from real images, R1 included, without gradients of gradients.

Between two kinks of its rectifiers a discriminator is linear in the image. With the slopes ``v = weight / B`` times the
gradient of the score by the image, R1's gradient by the weights is that of the score's derivative along v; the
logistic loss's is that of the scores times their factors ``c``. Both have the same gradient at every layer, so that one
pass forward of ``c x + v`` through the network with its rectifiers held gives all: a layer's gradient times what comes
in there. That is four passes of convolutions; gradients of gradients take six. Only where the weights or the rectifiers
multiply, biases and clamps meet ``c`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lineament.methods.gmpi.discriminator import HALVED, Discriminator, DiscriminatorBlock
from lineament.nn.channels_last import arranged
from lineament.nn.frozen import frozen
from lineament.nn.stylegan2.bias_act import DEFAULT_GAINS, act_slope, bias_act
from lineament.nn.stylegan2.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    minibatch_std,
    normalize_2nd_moment,
)
from lineament.training.distributed import is_mixed

Convolve = Callable[[EqualizedConv2d, Tensor, float], Tensor]
Product = Callable[[EqualizedLinear, Tensor], Tensor]


def applies(discriminator: Discriminator, images: Tensor) -> bool:
    """Whether :func:`real_loss` computes this: a CPU, one precision, and scores that hang on one image each.

    Args:
        discriminator: As it is trained.
        images: ``[B, 3, R, R]``, -1..1.
    """
    # Mixed precision is that of the network's own forward pass, which is not gone through here.
    mixed = is_mixed(discriminator) or torch.is_autocast_enabled("cpu")
    one = images.device.type == "cpu" and not mixed
    whole = all(block.low_precision is None for block in _blocks(discriminator))
    alone = discriminator.b4.group == 1 or not discriminator.b4.use_std
    return one and whole and alone and images.dtype == discriminator.b4.fc.weight.dtype


def real_loss(
    discriminator: Discriminator, images: Tensor, pose: Tensor | None, r1_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Logistic loss and R1 of real images.

    Args:
        discriminator: One that :func:`applies` to.
        images: ``[B, 3, R, R]``, -1..1.
        pose: ``[B, pose_dim]``; None where it takes none.
        r1_weight: Half of it times the mean squared gradient is the penalty.

    Returns:
        Scores ``[B, 1]`` and the penalty, both without gradient, and a scalar that is worth nothing and has the
        gradient of the logistic loss and the penalty together by the weights.
    """
    count = len(images)
    factor = None
    if discriminator.mapping is not None:
        assert pose is not None
        embedding = normalize_2nd_moment(discriminator.mapping(pose.to(images)))
        factor = embedding * embedding.shape[1] ** -0.5
    # First pass: what each layer gives before and behind its rectifier.
    before: list[Tensor] = []
    behind: list[Tensor] = []

    def first_convolution(layer: EqualizedConv2d, x: Tensor, gain: float) -> Tensor:
        z = layer.convolved(x)
        y = bias_act(z, layer.bias, **layer.curve(gain))
        before.append(z)
        behind.append(y.detach())
        return y

    def first_product(layer: EqualizedLinear, x: Tensor) -> Tensor:
        weight, bias = layer.scaled()
        z = torch.addmm(bias, x, weight.T)
        y = bias_act(z, None, layer.activation)
        before.append(z)
        behind.append(y.detach())
        return y

    images = images.detach().requires_grad_()
    with torch.enable_grad(), frozen(discriminator):
        vector = _vector(discriminator, images, images.new_ones(count), first_convolution, first_product)
        scores = vector if factor is None else (vector * factor.detach()).sum(1, keepdim=True)
        by_image, *gradients = torch.autograd.grad(scores.sum(), [images, *before])
    scores, images = scores.detach(), images.detach()
    penalty = 0.5 * r1_weight * by_image.square().sum((1, 2, 3)).mean()
    # Of the mean of softplus(-score).
    share = -torch.sigmoid(-scores[:, 0]) / count
    layers = iter(zip(gradients, behind, strict=True))
    reached: list[Tensor] = []
    slopes: list[Tensor] = []

    def second_convolution(layer: EqualizedConv2d, x: Tensor, gain: float) -> Tensor:
        gradient, y = next(layers)
        z = layer.convolved(x)
        reached.append(z)
        slopes.append(gradient)
        z = z.detach()
        if layer.bias is not None:
            scaled = share[:, None] * layer.bias
            reached.append(scaled)
            slopes.append(gradient.sum((2, 3)))
            z = z + scaled.detach()[:, :, None, None]
        return _mixed(act_slope(z, y, **layer.curve(gain)), y, share, layer.curve(gain)["clamp"])

    def second_product(layer: EqualizedLinear, x: Tensor) -> Tensor:
        gradient, y = next(layers)
        weight, bias = layer.scaled()
        z = x @ weight.T + share[:, None] * bias
        reached.append(z)
        slopes.append(gradient)
        return act_slope(z.detach(), y, layer.activation, gain=DEFAULT_GAINS[layer.activation])

    mixed = share[:, None, None, None] * images + (r1_weight / count) * by_image
    vector = _vector(discriminator, mixed, share, second_convolution, second_product)
    if factor is not None:
        reached.append(factor)
        slopes.append(vector)
    worth: Tensor = _Slopes.apply(slopes, *reached)
    return scores, penalty, worth


def _mixed(u: Tensor, y: Tensor, share: Tensor, clamp: float | None) -> Tensor:
    """Where the first pass met the clamp, ``c y``: what is held there is no product of the slope and what came in."""
    if clamp is None:
        return u
    limit = y.new_tensor(clamp)
    low, high = torch.aminmax(y)
    if bool((high < limit) & (low > -limit)):
        return u
    return torch.where(y.abs() < limit, u, share[:, None, None, None] * y)


class _Slopes(torch.autograd.Function):
    """Nothing, with given gradients by tensors."""

    @staticmethod
    def forward(ctx: Any, slopes: list[Tensor], *reached: Tensor) -> Tensor:
        ctx.slopes = slopes
        return reached[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        factor = float(gradient)
        return None, *(slope if factor == 1 else factor * slope for slope in ctx.slopes)


def _blocks(discriminator: Discriminator) -> list[DiscriminatorBlock]:
    return [cast(DiscriminatorBlock, discriminator.get_submodule(f"b{side}")) for side in discriminator.sides]


def _vector(
    discriminator: Discriminator, x: Tensor, one: Tensor, convolve: Convolve, product: Product
) -> Tensor:
    """The discriminator's course to the image's vector, each layer done by another; ``one [B]`` stands for 1."""
    for block in _blocks(discriminator):
        x = arranged(x)
        if block.fromrgb is not None:
            x = convolve(block.fromrgb, x, 1.0)
        beside = convolve(block.skip, x, HALVED)
        x = beside + convolve(block.conv1, convolve(block.conv0, x, 1.0), HALVED)
    last = discriminator.b4
    x = x.contiguous()
    # The same for all images, and without a derivative.
    appended = minibatch_std(x[:1, :1].detach(), 1)[0, 1:] if last.use_std else torch.zeros_like(x[0, :1])
    x = torch.cat([x, one.to(x)[:, None, None, None] * appended], dim=1)
    return product(last.out, product(last.fc, convolve(last.conv, x, 1.0).flatten(1)))

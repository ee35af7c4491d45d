"""What a training step needs of the critic, with the derivatives in closed form.

The critic is a short chain of linear layers, batch norms and ReLUs, so small that a general differentiation spends its
time between the products of matrices, twice so for the penalty, which is differentiated twice. Here one pass over the
true and the predicted depths gives both losses and all their derivatives: the critic does not change between the
network's loss and its own. ``loss.py`` has the plain definitions, to which these are equal but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard, cast

import torch
from torch import Tensor, nn

from lineament.methods.depthnet.loss import critic_loss, generator_loss, gradient_penalty
from lineament.methods.depthnet.model import Critic

Derivatives = dict[Tensor, Tensor]


@dataclass(frozen=True)
class CriticLosses:
    """Losses of one step, from the critic's scores of the true and of the predicted depths.

    Attributes:
        adversarial: Of the network (:func:`generator_loss`); its gradient reaches the predicted depths.
        difference: Of the critic (:func:`critic_loss`); its gradient reaches the critic.
    """

    adversarial: Tensor
    difference: Tensor


def critic_losses(critic: nn.Module, real: Tensor, fake: Tensor) -> CriticLosses:
    """Score true and predicted depths, each with batch norms of its own.

    The running statistics follow three passes, as published: predicted (for the network's loss), true, predicted.

    Args:
        critic: In training mode.
        real: ``[B, 3, K]``.
        fake: ``[B, 3, K]``, with a gradient to the network.
    """
    if not _is_plain(critic):
        adversarial = generator_loss(critic(fake))
        return CriticLosses(adversarial, critic_loss(critic(real), critic(fake.detach())))
    with torch.no_grad():
        layers, features = _forward(critic, torch.stack([fake, real]).flatten(2), order=(0, 1, 0))
        scores = _head(critic)(features)  # [2, B, 1]
        weights = scores.new_tensor([1.0, -1.0])[:, None, None].expand_as(scores) / scores.shape[1]
        by_fake, derivatives = _backward(critic, layers, features, weights)
    adversarial = _Known.apply(generator_loss(scores[0]), [-by_fake.view_as(fake)], fake)
    return CriticLosses(adversarial, _known(critic_loss(scores[1], scores[0]), derivatives))


def penalty(critic: nn.Module, real: Tensor, weight: float) -> Tensor:
    """``weight`` times :func:`~lineament.methods.depthnet.loss.gradient_penalty`; its gradient reaches the critic.

    Args:
        critic: In training mode.
        real: ``[B, 3, K]``.
        weight: Of the penalty.
    """
    if not _is_plain(critic):
        return weight * gradient_penalty(critic, real)
    with torch.no_grad():
        layers, _ = _forward(critic, real.flatten(1)[None], order=(0,))
        value, derivatives = _squared_gradient(_head(critic), layers, weight)
    return _known(value, derivatives)


class _Known(torch.autograd.Function):
    """A scalar whose derivatives by some tensors are known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, derivatives: Sequence[Tensor], *by: Tensor) -> Tensor:
        ctx.derivatives = derivatives
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Handed over, not copied: they are as large as all weights.
        derivatives, ctx.derivatives = ctx.derivatives, ()
        if float(gradients[0]) != 1:
            derivatives = [gradients[0] * derivative for derivative in derivatives]
        return None, None, *derivatives


def _known(value: Tensor, derivatives: Derivatives) -> Tensor:
    trained = [parameter for parameter in derivatives if parameter.requires_grad]
    return _Known.apply(value, [derivatives[parameter] for parameter in trained], *trained)


def _is_plain(critic: nn.Module) -> TypeGuard[Critic]:
    """Whether it trains with the layers that this file knows (over several processes the norms are others)."""
    return (
        isinstance(critic, Critic)
        and critic.training
        and all(type(part) in (nn.Linear, nn.BatchNorm1d, nn.ReLU) for part in critic.disc)
    )


def _head(critic: Critic) -> nn.Linear:
    return cast(nn.Linear, critic.disc[-1])


class _Layer(NamedTuple):
    """A linear layer, its batch norm and ReLU, and what a pass of G batches of B rows left behind."""

    linear: nn.Linear
    norm: nn.BatchNorm1d
    inputs: Tensor  # [G, B, I]
    normal: Tensor  # [G, B, O]: each batch with mean 0 and standard deviation 1
    scale: Tensor  # [G, 1, O]: what they were divided by, inverted
    active: Tensor  # [G, B, O]: 1 where the ReLU lets through, else 0

    def through_norm(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Derivative by the norm's input (without its weight) from that by its output; and its share along it."""
        along = (gradient * self.normal).mean(1, keepdim=True)
        return self.scale * (gradient - gradient.mean(1, keepdim=True) - self.normal * along), along


def _forward(critic: Critic, points: Tensor, order: Sequence[int]) -> tuple[list[_Layer], Tensor]:
    """Pass of points ``[G, B, 3 K]`` up to the last layer's input; running statistics follow batches in ``order``."""
    parts: list[Any] = list(critic.disc)[:-1]
    layers, values = [], points
    for linear, norm, _ in zip(*[iter(parts)] * 3, strict=True):
        # The linear layer's bias moves nothing but the running mean.
        sums = values @ linear.weight.t()
        mean = sums.mean(1, keepdim=True)
        centred = sums - mean
        variance = centred.square().mean(1, keepdim=True)
        unbiased = variance[:, 0] * (points.shape[1] / (points.shape[1] - 1))
        for batch in order:
            norm.running_mean.lerp_(mean[batch, 0] + linear.bias, norm.momentum)
            norm.running_var.lerp_(unbiased[batch], norm.momentum)
        norm.num_batches_tracked += len(order)
        scale = (variance + norm.eps).rsqrt()
        normal = centred * scale
        outputs = torch.addcmul(norm.bias, normal, norm.weight).relu_()
        layers.append(_Layer(linear, norm, values, normal, scale, outputs.sign()))
        values = outputs
    return layers, values


def _backward(
    critic: Critic, layers: list[_Layer], features: Tensor, weights: Tensor
) -> tuple[Tensor, Derivatives]:
    """Derivatives of a weighted sum of scores by the first batch's points, ``[B, 3 K]``, and by all parameters.

    Args:
        critic: The critic.
        layers: Of the pass.
        features: ``[G, B, C]`` input of its last layer.
        weights: ``[G, B, 1]`` of the scores.
    """
    head = _head(critic)
    derivatives: Derivatives = {
        head.weight: (features * weights).sum((0, 1))[None],
        head.bias: weights.sum((0, 1)),
    }
    gradient = weights * head.weight
    for layer in reversed(layers):
        gradient = gradient * layer.active
        derivatives[layer.norm.bias] = gradient.sum((0, 1))
        derivatives[layer.norm.weight] = (gradient * layer.normal).sum((0, 1))
        by_sums = layer.through_norm(gradient)[0] * layer.norm.weight
        derivatives[layer.linear.weight] = by_sums.flatten(0, 1).t() @ layer.inputs.flatten(0, 1)
        derivatives[layer.linear.bias] = by_sums.sum((0, 1))
        gradient = (by_sums if layer is not layers[0] else by_sums[:1]) @ layer.linear.weight
    return gradient[0], derivatives


class _Descent(NamedTuple):
    """What the way of the score's gradient through one layer left behind; ``[1, B, O]`` unless told."""

    gradient: Tensor  # by the norm's output
    along: Tensor  # [1, 1, O]
    by_normed: Tensor  # by the norm's input, without its weight
    by_sums: Tensor  # by the linear layer's output


def _squared_gradient(head: nn.Linear, layers: list[_Layer], weight: float) -> tuple[Tensor, Derivatives]:
    """``weight`` times the mean square of the summed score's gradient by the points; its derivatives by the parameters.

    Three ways through the layers: down with the score's gradient; up again with the derivative of the result by that
    gradient; down with its derivative by the values of the pass, which the batch norms made the gradient depend on.
    """
    gradient = head.weight.expand(*layers[-1].active.shape[:2], -1)
    descents = []
    for layer in reversed(layers):
        gradient = gradient * layer.active
        by_normed, along = layer.through_norm(gradient)
        by_sums = by_normed * layer.norm.weight
        descents.append(_Descent(gradient, along, by_normed, by_sums))
        gradient = by_sums @ layer.linear.weight
    share = weight / gradient.shape[1]
    value = gradient.square().sum() * share

    # From here on, derivatives of the value. `rise` is that by the gradient that came out of a layer.
    rise = gradient * (2 * share)
    derivatives: Derivatives = {}
    rises, falls = [], []
    for layer, down in zip(layers, reversed(descents), strict=True):
        rises.append(rise)
        by_sums = rise @ layer.linear.weight.t()
        derivatives[layer.norm.weight] = (by_sums * down.by_normed).sum((0, 1))
        by_normed = by_sums * layer.norm.weight
        by_gradient, along = layer.through_norm(by_normed)
        by_normal = -layer.scale * (by_normed * down.along + down.gradient * along)
        by_scale = (by_normed * down.by_normed + by_normal * layer.normal).mean(1, keepdim=True)
        fall = layer.scale * (by_normal - layer.normal * by_scale)
        falls.append(fall - fall.mean(1, keepdim=True))
        rise = by_gradient * layer.active
    derivatives[head.weight] = rise.sum((0, 1))[None]

    fall_in = torch.zeros_like(layers[-1].active)
    for layer, down, rise, fall in zip(layers[::-1], descents, rises[::-1], falls[::-1], strict=True):
        by_outputs = fall_in * layer.active
        derivatives[layer.norm.bias] = by_outputs.sum((0, 1))
        derivatives[layer.norm.weight] += (by_outputs * layer.normal).sum((0, 1))
        by_sums = layer.through_norm(by_outputs)[0] * layer.norm.weight + fall
        # Both products in one: down with the gradient, and through the values.
        left, right = torch.cat([down.by_sums, by_sums], 1)[0], torch.cat([rise, layer.inputs], 1)[0]
        derivatives[layer.linear.weight] = left.t() @ right
        derivatives[layer.linear.bias] = by_sums.sum((0, 1))
        if layer is not layers[0]:
            fall_in = by_sums @ layer.linear.weight
    return value, derivatives

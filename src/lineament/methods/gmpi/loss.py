"""Losses and rates of StyleGAN2 (Karras et al., CVPR 2020): non-saturating, R1, path length, lazily regularised.

Every loss is the mean over the images of a batch, so that the parts of a split batch average to that of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Share of a new mean length in the moving mean of path lengths (StyleGAN2, appendix B: decay 0.99).
PATH_MEAN_SHARE = 0.01


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating loss of scores ``[B]`` or ``[B, 1]`` of generated images (Goodfellow et al., 2014)."""
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss of scores of real and of generated images."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def squared_gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Mean over a batch of the squared norm of each score's gradient by its image: R1 (Mescheder et al., 2018).

    The penalty is ``gamma / 2`` times this.

    Args:
        scores: ``[B]`` or ``[B, 1]``, each of its own image alone.
        images: ``[B, 3, H, W]`` that they were computed from, requiring a gradient.

    Returns:
        A scalar whose gradient reaches the discriminator.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """Lengths of the generator's Jacobian along random directions of the image (StyleGAN2, equation 4).

    Args:
        images: ``[B, 3, H, W]`` made from ``styles``.
        styles: ``[B, num_ws, w]`` that require a gradient.
        noise: ``[B, 3, H, W]``, normal with standard deviation 1; it is divided by ``sqrt(H W)``, so that lengths do
            not depend on the resolution.

    Returns:
        ``[B]``: norm of the gradient of ``<images, noise>`` by one style, as the root of the mean square over the
        ``num_ws`` places where styles enter.
    """
    scaled = noise / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * scaled).sum(), styles, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def path_length_loss(lengths: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance of path lengths from their moving mean.

    Args:
        lengths: ``[B]``, from :func:`path_lengths`.
        mean: Scalar, the moving mean before this batch.

    Returns:
        The loss, and the moving mean with this batch (without gradient), which the loss is measured from.
    """
    moved = mean.lerp(lengths.detach().mean(), PATH_MEAN_SHARE)
    return (lengths - moved).square().mean(), moved


def mixed_styles(first: Tensor, second: Tensor, crossover: Tensor) -> Tensor:
    """Styles of two latents, the one up to a place and the other from there on (style mixing).

    Args:
        first: ``[B, num_ws, w]``.
        second: The same.
        crossover: ``[B]`` int64: first place that takes the second's; ``num_ws`` or more takes none.
    """
    place = torch.arange(first.shape[1], device=first.device)
    return torch.where((place < crossover.to(first.device)[:, None])[..., None], first, second)


def draw_crossovers(count: int, num_ws: int, probability: float, generator: torch.Generator) -> Tensor:
    """Draw ``[count]`` places 1 to ``num_ws - 1`` for :func:`mixed_styles`; ``num_ws`` where nothing is mixed."""
    place = torch.randint(1, num_ws, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < probability, place, num_ws)


def lazy_adam(
    parameters: Iterable[nn.Parameter], rate: float, betas: tuple[float, float], every: int
) -> torch.optim.Adam:
    """Adam for a loss whose regularisation takes part in one of ``every`` steps, as a step of its own.

    There are then ``every + 1`` updates where without it there were ``every``; rate and decays are adjusted so that
    both move the weights alike (StyleGAN2, appendix B): ``c = every / (every + 1)``, ``c rate``, ``beta^c``.

    Args:
        parameters: To train.
        rate: Learning rate without regularisation.
        betas: Decays without it.
        every: Steps between two regularisations; 0 means that there is none.
    """
    share = every / (every + 1) if every else 1.0
    return torch.optim.Adam(
        parameters, lr=share * rate, betas=(betas[0] ** share, betas[1] ** share), eps=1e-8, fused=True
    )


def half_life_decay(images: float, seen: float, batch: int, ramp: float) -> float:
    """Decay of a moving average in one step, from a half-life in images.

    Args:
        images: In which an old weight loses half of its share.
        seen: Images shown so far.
        batch: Images of the step.
        ramp: The half-life is at most this share of ``seen``, so that the first weights are soon forgotten; 0 leaves
            it as it is.

    Returns:
        ``0.5 ** (batch / half-life)``, in 0..1.
    """
    if ramp:
        images = min(images, ramp * seen)
    return 0.5 ** (batch / images) if images > 0 else 0.0

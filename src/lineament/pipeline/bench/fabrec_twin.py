"""3FabRec written out plainly: what the bench compares with.

The twin does the same work as the published program: dense windows image by image, one pass per loss and update,
landmarks after the whole image was decoded, all maps in the usual order of memory. It runs on the networks' own
modules; its first decoder layer is a matrix product as in ours, which is faster than the published one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.methods.fabrec.loss import (
    CONTRAST_CONSTANT,
    WINDOW,
    WINDOW_SIGMA,
    discriminator_loss,
    generator_adversarial_loss,
    pixel_loss,
    reconstruction_loss,
    value_ranges,
)


def structural_loss(targets: Tensor, images: Tensor) -> Tensor:
    """The plain twin of the structural loss: dense 31 x 31 windows, one image at a time."""
    offsets = torch.arange(WINDOW, dtype=torch.float32, device=images.device) - WINDOW // 2
    profile = torch.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    profile = profile / profile.sum()
    kernel = (profile[:, None] * profile).expand(3, 1, WINDOW, WINDOW).contiguous()

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(values[None], kernel, groups=3)

    losses = []
    for x, y, extent in zip(targets, images, value_ranges(targets), strict=True):
        constant = (CONTRAST_CONSTANT * extent) ** 2
        mean_x, mean_y = mean(x), mean(y)
        covariance = mean(x * y) - mean_x * mean_y
        spread = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
        losses.append(1 - ((2 * covariance + constant) / (spread + constant)).mean())
    return torch.stack(losses).mean()


def encode(encoder: Any, images: Tensor) -> Tensor:
    """Codes ``[B, code]`` of mean-free images ``[B, 3, S, S]``, by a published encoder."""
    x = encoder.maxpool(F.relu(encoder.bn1(encoder.conv1(images))))
    for name in encoder.stages:
        for block in getattr(encoder, name):
            shortcut = x if block.downsample is None else block.downsample(x)
            x = F.relu(block.bn1(block.conv1(x)))
            x = F.relu(block.bn2(block.conv2(x)) + shortcut)
    codes: Tensor = encoder.fc(x.mean((2, 3)))
    return codes


def decode(decoder: Any, codes: Tensor) -> tuple[Tensor, Tensor]:
    """First stage ``[B, 256, 8, 8]`` and image ``[B, 3, S, S]`` of codes, by a published decoder."""
    x = (decoder.fc(codes) @ decoder.conv1.weight.flatten(1)).view(len(codes), -1, 4, 4)
    x = F.relu(decoder.bn1(x))
    stages = []
    for number in range(1, decoder.count + 1):
        block = decoder.layer(number)[0]
        main = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
        x = F.relu(main + block.upsample(x))
        stages.append(x)
    return stages[0], torch.tanh(decoder.lin(x))


def judge_images(judge: Any, images: Tensor) -> Tensor:
    """Scores ``[B]`` of an image discriminator."""
    return torch.sigmoid(judge.main(images).mean((1, 2, 3)))


def training_step(
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    batch: Mapping[str, Tensor],
) -> None:
    """A third-stage step with every update in it, a backward pass of its own for every loss."""
    images, judge = batch["image"], networks["code_discriminator"]
    for optimiser in optimisers.values():
        optimiser.zero_grad()
    codes = encode(networks["encoder"], images)
    discriminator_loss(judge(batch["noise"]), judge(codes.detach())).backward()
    optimisers["code_discriminator"].step()
    generator_adversarial_loss(judge(codes)).backward(retain_graph=True)
    _, decoded = decode(networks["decoder"], codes)
    loss = reconstruction_loss(pixel_loss(images, decoded), structural_loss(images, decoded))
    judge = networks["image_discriminator"]
    optimisers["image_discriminator"].zero_grad()
    discriminator_loss(judge_images(judge, images), judge_images(judge, decoded.detach())).backward()
    optimisers["image_discriminator"].step()
    judge.requires_grad_(False)
    loss = loss + generator_adversarial_loss(judge_images(judge, decoded))
    judge.requires_grad_(True)
    loss.backward()
    optimisers["encoder"].step()
    optimisers["decoder"].step()

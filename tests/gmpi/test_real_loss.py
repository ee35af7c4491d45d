"""The loss of real images in two passes forward beside gradients of gradients."""

from __future__ import annotations

import pytest
import torch

from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.loss import squared_gradient
from lineament.methods.gmpi.real_loss import applies, real_loss

WEIGHT = 3.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("pose_dim", "use_std"), [(16, True), (9, False), (0, True)])
@pytest.mark.parametrize("clamp", [None, 0.5])
def test_it_equals_gradients_of_gradients(
    dtype: torch.dtype, pose_dim: int, use_std: bool, clamp: float | None
):
    torch.manual_seed(0)
    network = Discriminator(
        32,
        pose_dim=pose_dim,
        channel_base=256,
        channel_max=16,
        std_group=1,
        use_std=use_std,
        conv_clamp=clamp,
    ).to(dtype)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    images = torch.rand(3, 3, 32, 32, dtype=dtype) * 2 - 1
    pose = torch.randn(3, pose_dim, dtype=dtype) if pose_dim else None
    assert applies(network, images)
    weights = [*network.parameters()]

    scores, penalty, worth = real_loss(network, images, pose, WEIGHT)
    assert float(worth.detach()) == 0
    found = torch.autograd.grad(2 * worth, weights)

    images.requires_grad_()
    plain_scores = network(images, pose)
    plain_penalty = 0.5 * WEIGHT * squared_gradient(plain_scores, images)
    loss = torch.nn.functional.softplus(-plain_scores).mean() + plain_penalty
    expected = torch.autograd.grad(2 * loss, weights)
    rtol, atol = (1e-9, 1e-12) if dtype == torch.float64 else (1e-3, 1e-5)
    exact = {"rtol": rtol, "atol": atol}
    torch.testing.assert_close(scores, plain_scores.detach(), **exact)
    torch.testing.assert_close(penalty, plain_penalty.detach(), **exact)
    for ours, plain in zip(found, expected, strict=True):
        assert plain.abs().max() > 0
        scale = float(plain.abs().max())
        torch.testing.assert_close(ours / scale, plain / scale, **exact)


def test_it_is_for_scores_of_one_image_each_in_one_precision():
    images = torch.zeros(2, 3, 16, 16)
    sizes = {"channel_base": 64, "channel_max": 4}
    assert applies(Discriminator(16, std_group=1, **sizes), images)
    assert not applies(Discriminator(16, std_group=2, **sizes), images)
    assert applies(Discriminator(16, std_group=2, use_std=False, **sizes), images)
    assert not applies(Discriminator(16, std_group=1, low_precision=torch.bfloat16, **sizes), images)
    assert not applies(Discriminator(16, std_group=1, **sizes), images.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not applies(Discriminator(16, std_group=1, **sizes), images)

"""Checks that every room's losses and samplers owe: gradients against finite differences in double precision."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lineament.methods.depthnet.loss import critic_loss, generator_loss, gradient_penalty, keypoint_loss
from lineament.methods.dve.regressor import landmark_loss
from lineament.methods.fabrec.loss import heatmap_loss, pixel_loss, reconstruction_loss
from lineament.nn.soft_argmax import soft_argmax
from lineament.ops.barycentrics import barycentrics
from lineament.ops.rasterize import rasterize


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TARGETS = drawn(2, 5, 2, seed=1)
MAPS = drawn(2, 3, 4, 5, seed=2)
KNOWN = torch.tensor([[True, False, True], [True, True, False]])


# tests/dve/test_loss.py, tests/fabrec/test_model.py, tests/ops and tests/geometry check the others beside their cases.
@pytest.mark.parametrize(
    ("loss", "shapes"),
    [
        (lambda p: landmark_loss(p, TARGETS), [(2, 5, 2)]),
        (soft_argmax, [(2, 3, 4, 5)]),
        (lambda p: keypoint_loss(p, TARGETS), [(2, 5, 2)]),
        (lambda p: keypoint_loss(p, TARGETS, absolute=True), [(2, 5, 2)]),
        (generator_loss, [(4, 1)]),
        (critic_loss, [(4, 1), (4, 1)]),
        (lambda h: heatmap_loss(h, MAPS), [(2, 3, 4, 5)]),
        (lambda h: heatmap_loss(h, MAPS, KNOWN), [(2, 3, 4, 5)]),
        (lambda image: pixel_loss(MAPS, image), [(2, 3, 4, 5)]),
        (lambda p, s: reconstruction_loss(p, s), [(), ()]),
    ],
    ids=[
        "landmark",
        "soft-argmax",
        "keypoint",
        "keypoint-absolute",
        "generator",
        "critic",
        "heatmap",
        "heatmap-masked",
        "pixel",
        "reconstruction",
    ],
)
def test_gradients_against_finite_differences(loss: Callable[..., Tensor], shapes: list[tuple[int, ...]]):
    inputs = [drawn(*shape, seed=10 + i).requires_grad_() for i, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_gradient_penalty_against_finite_differences():
    """The penalty's gradient reaches the critic's weights through a gradient."""
    real, weight = drawn(3, 3, 4, seed=5), (0.3 * drawn(1, 12, seed=6)).requires_grad_()

    class Critic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x.flatten(1) @ weight.T)

    # gradcheck disturbs `weight` in place, which the critic holds.
    assert torch.autograd.gradcheck(lambda _: gradient_penalty(Critic(), real), weight)


@pytest.mark.parametrize("impl", ["reference", "numba"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_barycentrics_sum_to_one_where_a_triangle_is(impl: str, seed: int):
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(1, 12, 3, generator=generator) * torch.tensor([24.0, 20.0, 3.0]) + 0.5
    faces = torch.randint(0, 12, (10, 3), generator=generator, dtype=torch.int32)
    index = rasterize(vertices, faces, 20, 24, impl=impl)
    depth, bary = barycentrics(vertices, faces, index, impl=impl)
    inside = index >= 0
    torch.testing.assert_close(bary.sum(1)[inside], torch.ones_like(depth[inside]), atol=1e-4, rtol=0)
    assert not bool(bary.sum(1)[~inside].any())


def test_the_training_loop_is_imported_without_what_only_training_needs():
    """Listing recipes and loading runs import the loop; Lightning and the compiler cost as much as torch itself."""
    code = (
        "import sys, lineament.training.loop\n"
        "from lineament.training.registry import recipes\n"
        "assert recipes()\n"
        "heavy = {'lightning_fabric', 'torch._dynamo', 'torchmetrics', 'tensorboard'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

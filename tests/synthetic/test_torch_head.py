"""The head in torch is the head, with gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lineament.errors import UsageError
from lineament.heads.builtin import builtin_head
from lineament.heads.torch_head import TorchHead


def draws(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    head = builtin_head()
    random = torch.Generator().manual_seed(5)
    identity = torch.randn(count, len(head.identity), generator=random, dtype=torch.float64)
    expression = 0.6 * torch.rand(count, len(head.expression), generator=random, dtype=torch.float64)
    gaze = 0.3 * torch.randn(count, 2, 2, generator=random, dtype=torch.float64)
    return identity, expression, gaze


@pytest.mark.parametrize("with_gaze", [False, True])
def test_it_has_the_vertices_and_landmarks_of_its_model(with_gaze: bool) -> None:
    head = builtin_head()
    identity, expression, gaze = draws(3)
    given = gaze if with_gaze else None
    ours = TorchHead(head, torch.float64)(identity, expression, given)
    expected = head.vertices(
        identity.numpy().astype(np.float32),
        expression.numpy().astype(np.float32),
        None if given is None else given.numpy().astype(np.float32),
    )
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-3)  # micrometres: the model's is float32
    landmarks = TorchHead(head, torch.float64).landmarks(ours)
    np.testing.assert_allclose(landmarks.numpy(), head.landmarks(expected), atol=2e-3)


def test_gradients_are_those_of_finite_differences() -> None:
    twin = TorchHead(builtin_head(), torch.float64)
    identity, expression, gaze = draws(1)
    weights = torch.randn(
        1, len(twin.head.neutral), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )

    def loss(identity: torch.Tensor, expression: torch.Tensor, gaze: torch.Tensor) -> torch.Tensor:
        return (twin(identity, expression, gaze) * weights).sum()

    for tensor in (identity, expression, gaze):
        tensor.requires_grad_(True)
    assert torch.autograd.gradcheck(loss, (identity, expression, gaze), eps=1e-6, rtol=1e-3, fast_mode=True)


def test_wrong_numbers_of_coefficients_are_one_sentence() -> None:
    twin = TorchHead(builtin_head())
    with pytest.raises(UsageError, match="head 'builtin'"):
        twin(torch.zeros(2, 3), torch.zeros(2, 4))

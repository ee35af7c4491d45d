"""The GPU kernels of the exchange loss, run by Triton's interpreter on the CPU where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from tests.ops.exchange_cases import assert_same, loss_and_gradients, make_case
from tests.ops.interpreted import HAS_TRITON, assert_agrees, needs_triton

from lineament.errors import UsageError
from lineament.ops.exchange import exchange_loss

# More points than a tile and sizes that are no multiple of it; an exponent of each kind; more channels than 16.
INTERPRETED = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from tests.ops.exchange_cases import assert_same, loss_and_gradients, make_case
cases = [
    (make_case(2, 3, (5, 9), auxiliary=(4, 4), target=(3, 11)), 0.5),
    (make_case(1, 16, (4, 8)), 1.0),
    (make_case(1, 20, (2, 3), auxiliary=(5, 7), target=(1, 2)), 0.7),
]
for case, power in cases:
    wanted = loss_and_gradients(case, torch.float64, normalize=False, power=power, impl="reference")
    found = loss_and_gradients(case, torch.float32, normalize=False, power=power, impl="triton")
    assert_same(found, wanted, 1e-6, 1e-5)
print("agreed", len(cases))
"""


@needs_triton
def test_interpreted_kernels_equal_the_twin():
    assert_agrees(INTERPRETED, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not (HAS_TRITON and torch.cuda.is_available()), reason="needs triton and a CUDA device")
@pytest.mark.parametrize("impl", ["triton", "torch"])
def test_kernels_on_a_gpu_equal_the_twin(impl: str):
    case = make_case(2, 64, (24, 21))
    wanted = loss_and_gradients(case, torch.float64, normalize=False, impl="reference")
    on_gpu = type(case)(*(None if t is None else t.detach().cuda() for t in vars(case).values()))
    for leaf in on_gpu.leaves():
        leaf.requires_grad_()
    found = loss_and_gradients(on_gpu, torch.float32, normalize=False, impl=impl)
    assert_same([t.cpu() for t in found], wanted, 1e-6, 1e-5)


def test_asking_for_the_gpu_kernels_without_one_says_what_to_do():
    case = make_case(1, 4, (3, 3)).to(torch.float32)
    with pytest.raises(UsageError, match="triton"):
        exchange_loss(
            case.source, case.target, None, case.target_xy, case.grid_xy, normalize=True, impl="triton"
        )

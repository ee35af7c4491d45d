"""The GPU kernels of the multiplane renderer, run by Triton's interpreter on the CPU where there is no GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.ops.interpreted import HAS_TRITON, assert_agrees, needs_triton
from tests.ops.mpi_cases import assert_close, gradients, make_case, render

from lineament.errors import UsageError

# Sizes that are no multiple of a tile, all kinds of colours, several views, what lies outside, an early stop.
INTERPRETED = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from tests.ops.mpi_cases import assert_close, gradients, make_case, render
cases = [
    (make_case(2, 4, (9, 11), (10, 35), views=2, colours="background"), {}),
    (make_case(1, 3, (6, 5), (5, 7), colours="each", reach=0.9), {"outside": "clamp"}),
    (make_case(1, 5, (8, 8), (9, 9), empty=0.5, roll=0.7), {"stop": 1e-5}),
]
for case, options in cases:
    wanted = render(case, impl="reference", **options)
    assert_close(render(case.to(torch.float32), impl="triton", **options), wanted, 2e-5)
    slopes = gradients(case, impl="reference", **options)
    assert_close(gradients(case.to(torch.float32), impl="triton", **options), slopes, 2e-5)
print("agreed", len(cases))
"""


@needs_triton
def test_interpreted_kernels_equal_the_twin():
    assert_agrees(INTERPRETED, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not (HAS_TRITON and torch.cuda.is_available()), reason="needs triton and a CUDA device")
@pytest.mark.parametrize("impl", ["triton", "reference"])
@pytest.mark.parametrize("colours", ["shared", "background", "each"])
def test_kernels_on_a_gpu_equal_the_twin(impl: str, colours: str):
    case = make_case(2, 24, (128, 120), (96, 130), views=2, colours=colours)
    wanted, slopes = render(case, impl="reference"), gradients(case, impl="reference")
    single = case.to(torch.float32)
    on_gpu = replace(
        single,
        alpha=single.alpha.cuda(),
        colour=single.colour.cuda(),
        background=None if single.background is None else single.background.cuda(),
        weights=tuple(w.cuda() for w in single.weights),  # type: ignore[arg-type]
    )
    assert_close(render(on_gpu, impl=impl), wanted, 2e-5)
    assert_close(render(on_gpu, impl=impl, stop=1e-4), wanted, 2e-4)
    assert_close(gradients(on_gpu, impl=impl), slopes, 2e-5)


def test_asking_for_the_gpu_kernels_without_one_says_what_to_do():
    with pytest.raises(UsageError, match="triton"):
        render(make_case().to(torch.float32), impl="triton")

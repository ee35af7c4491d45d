"""The exhaustive nearest-value search: kernel and twin agree, the first of equals wins, bad input is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError, UsageError
from lineament.ops import nearest
from lineament.ops.nearest import nearest_values


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    points=st.integers(0, 5),
    values=st.integers(1, 40),
    block=st.sampled_from([1, 64, 2**22]),
    seed=st.integers(0, 999),
)
def test_kernel_and_twin_name_the_same_value(batch: int, points: int, values: int, block: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    # Few whole places, so that many values are equally near and some coincide.
    wanted = torch.randint(0, 4, (batch, points, 2), generator=generator).double()
    among = torch.randint(0, 4, (batch, values, 2), generator=generator).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "BLOCK", block)
        twin = nearest_values(wanted, among, impl="reference")
    assert torch.equal(nearest_values(wanted, among, impl="numba"), twin)
    squared = (wanted[:, :, None] - among[:, None]).square().sum(3)
    assert torch.equal(squared.gather(2, twin[:, :, None])[..., 0], squared.amin(2))
    first = (squared == squared.amin(2, keepdim=True)).byte().argmax(2)
    assert torch.equal(twin, first)


def test_planes_and_pairs_give_the_same():
    planes = torch.rand(2, 2, 50)
    points = torch.rand(2, 6, 2)
    assert torch.equal(
        nearest_values(points, planes.transpose(1, 2)),
        nearest_values(points, planes.transpose(1, 2).contiguous()),
    )


def test_bad_arguments_are_refused():
    with pytest.raises(DataError, match=r"\[1, 3, 2\] and \[2, 5, 2\]"):
        nearest_values(torch.zeros(1, 3, 2), torch.zeros(2, 5, 2))
    with pytest.raises(DataError, match="at least one"):
        nearest_values(torch.zeros(1, 3, 2), torch.zeros(1, 0, 2))
    with pytest.raises(UsageError, match="impl"):
        nearest_values(torch.zeros(1, 3, 2), torch.zeros(1, 5, 2), impl="tree")

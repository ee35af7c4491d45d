"""Softmax and bell curves with exact zeros for tails: values, gradients, and no subnormal number on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from tests.ops.subnormals import needs_the_register, watched

from lineament.methods.fabrec.heatmaps import as_peaks, draw_heatmaps, read_heatmaps
from lineament.nn.soft_argmax import edge_aligned, soft_argmax, soft_moments
from lineament.ops.tails import NEGLIGIBLE, exp_without_tail, softmax_without_tail


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scores(*shape: int) -> torch.Tensor:
    return 60 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_softmax_equals_torchs_but_for_what_cannot_matter():
    given = scores(3, 500).double().requires_grad_()
    upstream = torch.randn(3, 500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, exact = softmax_without_tail(given, 1), given.softmax(1)
    torch.testing.assert_close(ours, exact, rtol=1e-15, atol=1e-20)
    (slope,) = torch.autograd.grad((ours * upstream).sum(), given)
    (exact_slope,) = torch.autograd.grad((exact * upstream).sum(), given)
    torch.testing.assert_close(slope, exact_slope, rtol=1e-12, atol=1e-18)
    assert ours.count_nonzero() < exact.count_nonzero()


def test_nan_and_infinity_stay():
    assert softmax_without_tail(torch.tensor([0.0, float("nan")]), 0).isnan().all()
    assert exp_without_tail(torch.tensor(float("nan"))).isnan()
    assert exp_without_tail(torch.tensor([NEGLIGIBLE - 0.1, -torch.inf])).tolist() == [0, 0]
    assert exp_without_tail(torch.tensor(NEGLIGIBLE + 0.1)) > 1e-20


def backward(result: torch.Tensor) -> None:
    (result * torch.linspace(-1, 1, result.numel()).view_as(result)).sum().backward()


def heatmap_targets(_: torch.Tensor) -> None:
    points = 256 * torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(2))
    for style in ("exact", "paper"):
        maps = draw_heatmaps(points, 256, 64, style=style)
        assert maps.amax() > 0.5
        read_heatmaps(maps, 256, style="exact")


USES: dict[str, Callable[[torch.Tensor], object]] = {
    "soft_argmax": lambda x: backward(soft_argmax(x)),
    "soft_moments": lambda x: backward(soft_moments(x, edge_aligned)[0]),
    "as_peaks": lambda x: backward(as_peaks(x, 3.0)),
    "heatmap targets": heatmap_targets,
}


@needs_the_register
@pytest.mark.parametrize("use", USES)
def test_no_subnormal_number_on_the_way(use: str):
    given = scores(1, 5, 40, 40).requires_grad_()
    USES[use](given)  # compiles
    with watched() as met:
        USES[use](given)
    assert met == []

"""The exchange loss: every implementation against the double-precision twin, gradients, torch integration, errors."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.ops.exchange_cases import Case, assert_same, errors, loss_and_gradients, make_case, regular_grid

from lineament.errors import DataError, UsageError
from lineament.ops import threads
from lineament.ops.exchange import (
    blocked,
    dense_correlation_loss,
    exchange_loss,
    expected_distance,
    reconstruct,
)

SHAPES = [
    make_case(1, 4, (3, 3)),
    make_case(2, 8, (5, 9)),
    make_case(3, 1, (1, 7)),
    make_case(2, 17, (6, 4), auxiliary=(3, 5), target=(7, 2)),
    make_case(1, 64, (12, 10)),
]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("power", [0.5, 1.0, 0.7])
@pytest.mark.parametrize("case", SHAPES, ids=lambda c: "x".join(map(str, c.source.shape)))
def test_double_precision_equals_the_twin(case: Case, power: float, normalize: bool):
    options = {"normalize": normalize, "power": power}
    ours = loss_and_gradients(case, torch.float64, **options)
    assert_same(ours, loss_and_gradients(case, torch.float64, impl="reference", **options), 1e-12, 1e-10)


@pytest.mark.parametrize("impl", ["numba", "torch"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("power", [0.5, 1.0, 0.7])
@pytest.mark.parametrize("case", SHAPES, ids=lambda c: "x".join(map(str, c.source.shape)))
def test_single_precision_errs_no_more_than_the_twin(case: Case, power: float, normalize: bool, impl: str):
    options = {"normalize": normalize, "power": power}
    exact = loss_and_gradients(case, torch.float64, impl="reference", **options)
    twin = errors(loss_and_gradients(case, torch.float32, impl="reference", **options), exact)
    ours = errors(loss_and_gradients(case, torch.float32, impl=impl, **options), exact)
    # Normalised vectors have scores of 400, and where the softmax is saturated a gradient is all cancellation.
    floor = 3e-4 if normalize else 3e-6
    assert ours[0] < 3 * twin[0] + 3e-7
    assert all(own < 3 * other + floor for own, other in zip(ours[1:], twin[1:], strict=True)), (ours, twin)


@settings(max_examples=15, deadline=None)
@example(batch=1, channels=1, sides=(1, 1, 1, 1, 1, 3), rows=1, seed=0)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 20),
    sides=st.tuples(*[st.integers(1, 9)] * 6),
    rows=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_size_agree(batch: int, channels: int, sides: tuple[int, ...], rows: int, seed: int):
    case = make_case(batch, channels, sides[:2], auxiliary=sides[2:4], target=sides[4:], seed=seed)
    wanted = loss_and_gradients(case, torch.float64, normalize=False, impl="reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "BLOCK_ELEMENTS", 1)
        patch.setattr(blocked, "SMALLEST_ROWS", rows)
        assert_same(loss_and_gradients(case, torch.float64, normalize=False), wanted, 1e-12, 1e-10)
        ours = loss_and_gradients(case, torch.float32, normalize=False)
    # With few points a gradient may be all cancellation: the twin in single precision tells how far.
    twin = errors(loss_and_gradients(case, torch.float32, normalize=False, impl="reference"), wanted)
    assert_same(ours, wanted, 1e-6, 1e-5 + 3 * max(twin[1:]))


def test_gradcheck_of_both_halves():
    case = make_case(2, 3, (2, 3), auxiliary=(2, 2), target=(3, 2))
    queries, targets, auxiliary = (t.flatten(2).detach().requires_grad_() for t in case.leaves())
    assert torch.autograd.gradcheck(lambda q, a: reconstruct(q, a), (queries, auxiliary))
    assert torch.autograd.gradcheck(
        lambda q, t: expected_distance(q, t, case.target_xy, case.grid_xy), (queries, targets)
    )


@pytest.mark.parametrize("exchanged", [True, False])
def test_gradcheck_of_the_mean_loss(exchanged: bool):
    case = make_case(2, 3, (2, 3), auxiliary=(2, 2), target=(3, 2))

    def loss(source, target, auxiliary):
        places = (case.target_xy, case.grid_xy)
        if exchanged:
            return exchange_loss(source, target, auxiliary, *places, normalize=True)
        return dense_correlation_loss(source, target, *places, normalize=True) + auxiliary.sum()

    assert torch.autograd.gradcheck(loss, case.leaves())


@pytest.mark.parametrize("impl", ["numba", "torch"])
def test_the_loss_is_the_same_with_and_without_gradients(impl: str):
    case = make_case(2, 6, (5, 7), auxiliary=(3, 4), target=(4, 9)).to(torch.float32)
    places = (case.target_xy, case.grid_xy)

    def losses() -> torch.Tensor:
        exchanged = exchange_loss(
            case.source, case.target, case.auxiliary, *places, normalize=False, impl=impl
        )
        dense = dense_correlation_loss(case.source, case.target, *places, normalize=False, impl=impl)
        return torch.stack([exchanged, dense])

    learning = losses()
    with torch.no_grad():
        torch.testing.assert_close(losses(), learning.detach(), rtol=1e-6, atol=0)


def test_gradients_scale_with_the_one_that_arrives_and_add_up():
    case = make_case(2, 4, (3, 4))
    places = (case.target_xy, case.grid_xy)
    loss = exchange_loss(case.source, case.target, None, *places, normalize=False)
    plain = torch.autograd.grad(loss, case.leaves(), retain_graph=True)
    tripled = torch.autograd.grad(3 * loss, case.leaves(), retain_graph=True)
    for one, three in zip(plain, tripled, strict=True):
        torch.testing.assert_close(three, 3 * one)
    # A target that asks for no gradient must not stop the source's.
    loss = exchange_loss(case.source, case.target.detach(), None, *places, normalize=False)
    torch.testing.assert_close(torch.autograd.grad(loss, [case.source])[0], plain[0])


def test_gradients_of_gradients_are_refused_not_wrong():
    case = make_case(1, 3, (3, 3))
    loss = exchange_loss(
        case.source, case.target, None, case.target_xy, case.grid_xy, normalize=False
    ).square()
    (gradient,) = torch.autograd.grad(loss, [case.source], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


def test_no_auxiliary_means_the_next_pair_of_the_batch():
    case = make_case(3, 5, (4, 4))
    next_source = torch.stack([case.source[1], case.source[2], case.source[0]])
    places = (case.target_xy, case.grid_xy)
    implied = exchange_loss(case.source, case.target, None, *places, normalize=True)
    given_ = exchange_loss(case.source, case.target, next_source, *places, normalize=True)
    torch.testing.assert_close(implied, given_, rtol=1e-14, atol=0)


def test_a_perfect_match_costs_nothing_and_a_blind_one_the_mean_distance():
    places = regular_grid(4, 4)
    target_xy = places[None].clone()
    distinct = 40 * torch.eye(16, dtype=torch.float64).view(1, 16, 4, 4)
    assert exchange_loss(distinct, distinct, None, target_xy, places, normalize=False) < 1e-12
    blind = torch.ones(1, 16, 4, 4, dtype=torch.float64)
    mean = torch.cdist(places, places).sqrt().mean()
    torch.testing.assert_close(
        dense_correlation_loss(blind, blind, target_xy, places, normalize=False), mean, rtol=1e-12, atol=0
    )


def test_scores_of_thousands_neither_overflow_nor_turn_into_nan():
    case = make_case(2, 8, (6, 6)).to(torch.float32)
    with torch.no_grad():
        case.source *= 60
        case.target *= 60
    for impl in ("numba", "torch"):
        found = loss_and_gradients(case, torch.float32, normalize=False, impl=impl)
        assert all(t.isfinite().all() for t in found)


@pytest.mark.parametrize("impl", ["numba", "torch"])
def test_nan_in_the_descriptors_reaches_the_loss(impl: str):
    case = make_case(1, 4, (5, 5)).to(torch.float32)
    with torch.no_grad():
        case.target[0, 0, 2, 2] = float("nan")
    assert loss_and_gradients(case, torch.float32, normalize=False, impl=impl)[0].isnan()


def test_threads_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "GRAIN", 64)
    case = make_case(2, 8, (9, 9))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = loss_and_gradients(case, torch.float32, normalize=False)
        torch.set_num_threads(3)
        together = loss_and_gradients(case, torch.float32, normalize=False)
    finally:
        torch.set_num_threads(before)
    assert_same(together, alone, 1e-6, 2e-6)


def test_memory_layout_of_the_maps_does_not_matter():
    case = make_case(2, 6, (5, 7))
    other = Case(**vars(case))
    other.source = case.source.detach().to(memory_format=torch.channels_last).requires_grad_()
    other.target = torch.stack([case.target.detach(), case.source.detach()], dim=1)[:, 0].requires_grad_()
    for impl in ("auto", "torch"):
        for dtype in (torch.float32, torch.float64):
            ours = loss_and_gradients(other, dtype, normalize=True, impl=impl)
            assert_same(ours, loss_and_gradients(case, dtype, normalize=True, impl=impl), 1e-6, 1e-3)


def test_half_precision_and_autocast_compute_in_single_precision():
    case = make_case(2, 16, (6, 6)).to(torch.float32)
    places = (case.target_xy, case.grid_xy)
    source, target = case.source.detach().bfloat16(), case.target.detach().bfloat16()
    half = exchange_loss(source, target, None, *places, normalize=True)
    single = exchange_loss(source.float(), target.float(), None, *places, normalize=True)
    assert half.dtype == torch.float32 and torch.equal(half, single)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(exchange_loss(source, target, None, *places, normalize=True), single)


def _loss(source, target, target_xy, grid_xy):
    return exchange_loss(source, target, None, target_xy, grid_xy, normalize=True)


def test_a_saturated_exchange_has_gradients_as_good_as_the_twins():
    # One auxiliary vector wins everywhere: the source's gradient is a difference of nearly equal terms.
    case = make_case(2, 17, (6, 4), auxiliary=(3, 5), target=(7, 2))
    exact = loss_and_gradients(case, torch.float64, normalize=True, impl="reference")
    for impl in ("numba", "torch"):
        assert errors(loss_and_gradients(case, torch.float32, normalize=True, impl=impl), exact)[1] < 1e-4


FIRST_CALL = """
import sys, torch
from lineament.ops import dense_correlation_loss, exchange_loss
assert "numba" not in sys.modules, "importing the ops imports numba"
source, target = torch.randn(2, 2, 8, 6, 6).requires_grad_().unbind()
places = torch.rand(36, 2)
for impl in ("auto", "torch", "reference"):
    exchange_loss(source, target, None, torch.rand(2, 36, 2), places, normalize=True, impl=impl).backward()
    dense_correlation_loss(source, target, torch.rand(2, 36, 2), places, normalize=False, impl=impl).backward()
    with torch.no_grad():
        exchange_loss(source, target, None, torch.rand(2, 36, 2), places, normalize=True, impl=impl)
print([name for name in ("torch._dynamo", "torch._inductor", "torch._functorch.aot_autograd") if name in sys.modules])
"""


def test_the_first_call_imports_no_compiler_of_torch():
    done = subprocess.run([sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_compile_takes_the_ops_whole():
    case = make_case(2, 4, (4, 5)).to(torch.float32)
    arguments = (case.source, case.target, case.target_xy, case.grid_xy)
    compiled = torch.compile(_loss, backend="aot_eager", fullgraph=True)
    plain = torch.autograd.grad(_loss(*arguments), case.leaves())
    for one, other in zip(torch.autograd.grad(compiled(*arguments), case.leaves()), plain, strict=True):
        assert torch.equal(one, other)


def test_export_takes_the_ops_whole():
    class Loss(torch.nn.Module):
        def forward(self, source, target, target_xy, grid_xy):
            return _loss(source, target, target_xy, grid_xy)

    case = make_case(2, 4, (4, 5)).to(torch.float32)
    arguments = tuple(t.detach() for t in (case.source, case.target, case.target_xy, case.grid_xy))
    program = torch.export.export(Loss(), arguments)
    names = [str(node.target) for node in program.graph.nodes]
    assert any("lineament.expected_distance" in name for name in names)
    assert torch.equal(program.module()(*arguments), _loss(*arguments))


def test_ops_pass_torchs_own_checks():
    case = make_case(2, 3, (3, 3)).to(torch.float64)
    source, target = case.source.flatten(2), case.target.flatten(2)
    torch.library.opcheck(torch.ops.lineament.reconstruct.default, (source, target, "torch"))
    arguments = (source, target, case.target_xy, case.grid_xy, 0.5, "torch")
    torch.library.opcheck(torch.ops.lineament.expected_distance.default, arguments)
    for auxiliary in (source.detach().clone().requires_grad_(), None):
        arguments = (source, auxiliary, target, case.target_xy, case.grid_xy, 0.5, "torch")
        torch.library.opcheck(torch.ops.lineament.mean_loss.default, arguments)


def test_bad_arguments_are_refused_with_the_value_seen():
    case = make_case(2, 4, (3, 3)).to(torch.float32)
    source, target, xy, places = case.source, case.target, case.target_xy, case.grid_xy
    with pytest.raises(DataError, match=r"\[2, 9, 2\].*\[1, 9, 2\]"):
        exchange_loss(source, target, None, xy[:1], places, normalize=True)
    with pytest.raises(DataError, match="channels"):
        exchange_loss(source, target[:, :2], None, xy, places, normalize=True)
    with pytest.raises(DataError, match="empty"):
        exchange_loss(source[..., :0], target, None, xy[:, :0], places, normalize=True)
    with pytest.raises(DataError, match="floating-point"):
        exchange_loss(source.int(), target, None, xy, places, normalize=True)
    with pytest.raises(DataError, match="exponent"):
        exchange_loss(source, target, None, xy, places, normalize=True, power=0.0)
    with pytest.raises(UsageError, match="'torch'"):
        exchange_loss(source, target, None, xy, places, normalize=True, impl="tourch")
    with pytest.raises(UsageError, match="float32"):
        exchange_loss(source.double(), target.double(), None, xy, places, normalize=True, impl="numba")


def test_normalised_vectors_have_the_length_twenty():
    """Two places, 9 px apart: the descriptors of one of them, against their own and the opposite."""
    lengths = torch.tensor([3.0, 0.01])
    source = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double() * lengths
    target = torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double()
    belongs, grid_xy = torch.zeros(1, 2, 2).double(), torch.tensor([[0.0, 0.0], [9.0, 0.0]]).double()
    found = dense_correlation_loss(source[None], target[None], belongs, grid_xy, normalize=True, power=1.0)
    # Scores are 400 times the cosines: 0.6 against -0.8, and 0.8 against 0.6.
    wrong = [1 / (1 + math.exp(400 * (0.6 + 0.8))), 1 / (1 + math.exp(400 * (0.8 - 0.6)))]
    assert float(found) == pytest.approx(9 * sum(wrong) / 2, rel=1e-9, abs=1e-30)
    near = torch.tensor([[1.0, 0.9999], [0.0, 0.01]]).double()
    found = dense_correlation_loss(
        torch.tensor([[1.0], [0.0]]).double()[None],
        near[None],
        belongs[:, :1],
        grid_xy,
        normalize=True,
        power=1.0,
    )
    gap = 400 * (1 - 0.9999 / math.hypot(0.9999, 0.01))
    assert float(found) == pytest.approx(9 / (1 + math.exp(gap)))

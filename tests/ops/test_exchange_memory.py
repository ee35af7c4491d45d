"""The exchange loss streams: memory stays far below one N x N matrix, and the bench reports it."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from lineament.ops.exchange import blocked, exchange_loss
from lineament.pipeline.bench import exchange_loss as bench


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from /proc")
@pytest.mark.parametrize("impl", ["numba", "torch"])
def test_peak_memory_is_below_one_score_matrix(impl: str):
    side = 60
    bench.cost(1, 8, device="cpu", repeats=1, normalize=True, impl=impl)
    found = bench.cost(1, side, device="cpu", repeats=1, normalize=True, impl=impl)
    matrix_mb = side**4 * 4 / 2**20
    assert found.extra_mb is not None
    assert found.extra_mb < 0.8 * matrix_mb


@pytest.mark.parametrize("impl", ["numba", "torch"])
def test_nothing_as_large_as_the_score_matrix_is_kept_for_the_backward_pass(impl: str):
    source, target, target_xy, grid_xy = bench.maps(2, 24)
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = exchange_loss(source, target, None, target_xy, grid_xy, normalize=False, impl=impl)
    assert kept and max(kept) <= source.numel() * 4
    assert loss.requires_grad


def test_row_blocks_cover_every_row_once():
    for rows, keys in [(1, 1), (9216, 9216), (2304, 2304), (100, 1 << 22), (33, 1 << 15)]:
        covered = [u for block in blocked.row_blocks(rows, keys) for u in range(block.start, block.stop)]
        assert covered == list(range(rows))
        widest = max(block.stop - block.start for block in blocked.row_blocks(rows, keys))
        smallest = blocked.SMALLEST_ROWS
        assert widest <= smallest or widest * keys <= blocked.BLOCK_ELEMENTS


def test_the_bench_reports_floor_and_table(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "HEADLINE", (2, 10))
    monkeypatch.setattr(bench, "SIDES", (6, 12))
    figures = bench.run(repeats=1)
    assert [row["points"] for row in figures["table"]] == [36, 144]
    assert figures["product_gflops"] > 1
    assert all(row["share_of_floor"] > 0 for row in figures["table"])
    assert figures["forward_s"] + figures["backward_s"] == pytest.approx(figures["median_ms"] / 1e3, abs=2e-3)


def test_growth_finds_the_exponent():
    table = [{"points": n, "total_s": 3e-9 * n**2, "extra_mb": None} for n in (10, 40, 900)]
    assert bench.growth(table, "total_s") == pytest.approx(2)
    assert math.isnan(bench.growth(table, "extra_mb"))

"""The bench of this method, once through."""

from __future__ import annotations

import pytest

from lineament.pipeline.bench import run_bench


def test_the_bench_counts_every_convolution() -> None:
    figures = run_bench("landmarks", threads=1, repeats=1)
    # 364.8 million operations of convolutions and products a face, folded and packed as prediction runs them.
    assert 0.33 < figures["batch_1_gflop"] < 0.40
    assert abs(figures["batch_1_gflop"] - figures["batch_32_gflop"]) < 1e-6
    assert figures["batch_32_ms_a_face"] > 0 and figures["batch_32_floor_share"] > 0
    assert figures["share"] == figures["batch_32_floor_share"]
    for count in (1, 32):
        # Beside twice the floor of one pass; figures are rounded.
        times = figures[f"two_looks_{count}_ms_a_face"] / figures[f"batch_{count}_floor_ms_a_face"] / 2.0
        assert figures[f"two_looks_{count}_times_floor"] == pytest.approx(times, rel=0.01)

"""The bench of the multiplane renderer: its face-like volume, and figures of every kind."""

from __future__ import annotations

import math

import pytest
import torch

from lineament.pipeline.bench import mpi as bench


def test_the_face_is_three_opaque_planes_from_its_surface_on():
    volume = bench.face_volume(48, 20)
    front = volume.alpha[0, :-1]
    assert set(volume.alpha.unique().tolist()) == {0, 1} and bool((volume.alpha[0, -1] == 1).all())
    thick = front.sum(0)
    assert set(thick.unique().tolist()) <= {0, bench.THICK} and thick[24, 24] == bench.THICK
    first = front.argmax(0)
    assert first[24, 24] < first[24, 12], "the middle is nearest"
    assert not front[:, 0, 0].any() and volume.colour.shape == (1, 3, 48, 48)


def test_all_figures_are_there_and_the_renderer_is_exact(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "SIZES", (256,))
    monkeypatch.setattr(bench, "PLANES", 8)
    monkeypatch.setattr(bench, "face_volume", lambda size, device="cpu": VOLUME)
    monkeypatch.setattr(bench, "random_volume", lambda size, device="cpu": NOISE)
    figures = bench.run(repeats=2)
    assert all(math.isfinite(value) for value in figures.values() if isinstance(value, float))
    for name in ("face_256", "random_256"):
        assert figures[f"{name}_backward_ms"] > 0 and figures[f"{name}_twin_ms"] > 0
        assert figures[f"{name}_exact_error_1e6"] <= 20 and figures[f"{name}_twin_error_1e6"] <= 20
        assert figures[f"{name}_stopped_error_1e6"] <= 200
    assert torch.get_num_threads() >= 1


VOLUME, NOISE = bench.face_volume(64, 8), bench.random_volume(64, 8)

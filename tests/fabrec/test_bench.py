"""The bench's plain twin computes what the networks do, and the floor counts what is multiplied."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lineament.methods.fabrec.model import Layout
from lineament.pipeline.bench import fabrec_twin
from lineament.pipeline.bench.floor import measure_floor


def test_the_twin_is_the_same_network():
    torch.manual_seed(0)
    networks = Layout(128, width=4, code=5).autoencoder()
    images = torch.randn(2, 3, 128, 128)
    codes = networks["encoder"](images)
    torch.testing.assert_close(fabrec_twin.encode(networks["encoder"], images), codes)
    decoded = networks["decoder"](codes)
    x1, picture = fabrec_twin.decode(networks["decoder"], codes)
    torch.testing.assert_close(x1, decoded.x1)
    torch.testing.assert_close(picture, decoded.image)
    judge = networks["image_discriminator"]
    torch.testing.assert_close(fabrec_twin.judge_images(judge, images), judge(images))


def test_the_floor_counts_products_and_nothing_else():
    layer = nn.Conv2d(8, 16, 3, padding=1, bias=False)
    images, matrix = torch.randn(2, 8, 32, 32), torch.randn(64, 48)

    def work() -> None:
        layer(images).square().sum().backward()
        torch.relu(matrix.T @ matrix)

    floor = measure_floor(work, repeats=2)
    forward = 2 * 9 * 8 * 16 * 2 * 32 * 32
    # The images ask for no gradient, so backward there is only that of the weights.
    assert floor.gflop * 1e9 == pytest.approx(2 * forward + 2 * 48 * 64 * 48)
    figures = floor.figures(ms=10.0)
    assert floor.ms > 0
    assert figures["share"] == pytest.approx(floor.ms / 10)
    counted = 1e3 * figures["gflop"] / figures["conv3x3_gflops"]
    assert figures["counted_floor_ms"] == pytest.approx(counted)
    assert figures["counted_share"] == pytest.approx(counted / 10)

"""No operation of the exchange loss meets a subnormal number, whatever the shape of the softmax."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.ops.exchange_cases import regular_grid
from tests.ops.subnormals import needs_the_register, watched
from torch import Tensor

from lineament.ops.exchange import dense_correlation_loss, exchange_loss
from lineament.ops.exchange.blocked import NEGLIGIBLE

pytestmark = needs_the_register
CHANNELS, SIDE = 64, 24


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def unmatched() -> tuple[Tensor, Tensor]:
    """Scores of 400 times random cosines: each row a wide range of exponentials."""
    source, target = torch.randn(2, 2, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return source, target


def matched() -> tuple[Tensor, Tensor]:
    """Every point's own match wins by far: all gradients are tiny."""
    source, _ = unmatched()
    return source, source + 0.01


def smooth() -> tuple[Tensor, Tensor]:
    """Neighbours alike, as in trained maps: exponentials fall off gradually."""
    coarse = torch.randn(2 * 2, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(1))
    maps = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=True)
    return maps[:2], maps[:2] + 0.1 * maps[2:]


def grow(kind: str, source: Tensor, target: Tensor, belongs: Tensor, **options: object) -> Tensor:
    places = regular_grid(*source.shape[2:]).float()
    if kind == "exchange":
        return exchange_loss(source, target, None, belongs, places, **options)
    return dense_correlation_loss(source, target, belongs, places, **options)


@pytest.mark.parametrize("impl", ["numba", "torch"])
@pytest.mark.parametrize("kind", ["exchange", "dense"])
@pytest.mark.parametrize("maps", [unmatched, matched, smooth], ids=lambda make: make.__name__)
@pytest.mark.parametrize("power", [0.5, 0.7])
def test_forward_and_backward_meet_none(impl: str, kind: str, maps, power: float):
    source, target = (each.clone().requires_grad_() for each in maps())
    belongs = regular_grid(SIDE, SIDE).float()[None].expand(2, -1, -1) + 0.7
    options = {"normalize": True, "impl": impl, "power": power}
    grow(kind, source, target, belongs, **options).backward()  # compiles
    source.grad = target.grad = None
    with watched() as met:
        grow(kind, source, target, belongs, **options).backward()
    assert met == []
    # They are there to be met: the plain twin does.
    with watched() as twin:
        grow(kind, source, target, belongs, **{**options, "impl": "reference"}).backward()
    assert twin


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_recorded_descriptors_meet_none(goldens: Path, name: str):
    path = goldens / "dve" / f"loss_{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"no recorded losses at {path}")
    record = load_file(path)
    features, grid, stride = record["feats"].float(), record["grid"].float(), int(record["stride"])
    belongs = ((grid + 1) / 2 * torch.tensor([grid.shape[2] - 1, grid.shape[1] - 1]))[:, ::stride, ::stride]
    places = regular_grid(*features.shape[2:], stride).float()
    for normalize in (False, True):
        for impl in ("numba", "torch"):
            leaves = [features[0::2].clone().requires_grad_(), features[1::2].clone().requires_grad_()]
            with watched() as met:
                loss = exchange_loss(
                    *leaves, None, belongs.flatten(1, 2), places, normalize=normalize, impl=impl
                )
                loss.backward()
            assert met == [], (normalize, impl)


def test_the_exponential_is_exact_above_the_limit_and_zero_below():
    from lineament.ops.exchange.numba import _exp

    given = torch.linspace(NEGLIGIBLE, 0, 4001).tolist()
    found = torch.tensor([float(_exp(torch.tensor(x).numpy()[()])) for x in given], dtype=torch.float64)
    exact = torch.tensor(given, dtype=torch.float64).float().double().exp()
    assert float((found / exact - 1).abs().max()) < 2e-7
    assert NEGLIGIBLE > -46.06, "ln 1e-20 is -46.05"
    for x in (NEGLIGIBLE - 0.01, -80.0, -100.0, -1e4, float("-inf")):
        assert _exp(torch.tensor(x).numpy()[()]) == 0
    assert _exp(torch.tensor(float("nan")).numpy()[()]) != _exp(torch.tensor(float("nan")).numpy()[()])

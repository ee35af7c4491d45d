"""Faults of training are found by the parity tests, however wide rounding makes their tolerances.

Each test puts one fault into the program and asks that the comparison with the recording fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity import rounding
from tests.parity import test_depthnet_aign as aign
from tests.parity import test_depthnet_training as depthnet
from tests.parity import test_dve_loss as dve
from tests.parity import test_fabrec_training as fabrec
from tests.parity.depthnet_goldens import golden_files as depthnet_files
from tests.parity.depthnet_goldens import prepared
from tests.parity.dve_goldens import golden_files as dve_files
from tests.parity.fabrec_goldens import recorded
from tests.parity.rounding import Numbers, bound, unexplained

Fault = Callable[[pytest.MonkeyPatch], None]


def no_step(patch: pytest.MonkeyPatch) -> None:
    """An optimiser that never steps."""
    patch.setattr(torch.optim.Adam, "step", lambda self, closure=None: None)


def with_arguments(patch: pytest.MonkeyPatch, **changed: object) -> None:
    made = torch.optim.Adam.__init__

    def make(self: torch.optim.Adam, *arguments: object, **given: object) -> None:
        made(self, *arguments, **given)
        for group in self.param_groups:
            for key, value in changed.items():
                group[key] = value(group[key]) if callable(value) else value

    patch.setattr(torch.optim.Adam, "__init__", make)


def half_rate(patch: pytest.MonkeyPatch) -> None:
    """Half the learning rate."""
    with_arguments(patch, lr=lambda rate: rate / 2)


def backwards(patch: pytest.MonkeyPatch) -> None:
    """Steps up the gradient."""
    with_arguments(patch, maximize=True)


FAULTS = (no_step, half_rate, backwards)


@pytest.fixture(autouse=True)
def few_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are sure to fail need not be told so by all."""
    monkeypatch.setattr(rounding, "NEIGHBOURS", (8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", dve.PATTERNS)
def test_faults_of_dve_training(goldens: Path, monkeypatch: pytest.MonkeyPatch, kind: str, fault: Fault):
    (golden, *_) = dve_files(goldens, dve.PATTERNS[kind])
    fault(monkeypatch)
    assert unexplained(dve.Published(golden, kind).run(), partial(dve.neighbour_of, golden, kind))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_depthnet_training(goldens: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault):
    train = prepared(goldens, "train")
    fault(monkeypatch)
    for name, golden in depthnet_files(goldens, "train_*").items():
        run = partial(depthnet.run, name, golden, train)
        assert unexplained(run(), run), name


@pytest.mark.slow
def test_a_critic_without_its_penalty_is_found(goldens: Path, monkeypatch: pytest.MonkeyPatch):
    from lineament.methods.depthnet import recipe

    train = prepared(goldens, "train")
    monkeypatch.setattr(recipe, "penalty", lambda critic, real, weight: 0 * critic(real).sum())
    files = {n: g for n, g in depthnet_files(goldens, "train_*").items() if "dnorm" in n}
    for name, golden in files.items():
        run = partial(depthnet.run, name, golden, train)
        assert unexplained(run(), run), name


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_aign_training(goldens: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault):
    train = prepared(goldens, "train")
    name, golden = next(iter(aign.aign_files(goldens).items()))
    fault(monkeypatch)
    exact = aign.Training(name, golden, train).run()
    # What the loosest comparison says: whatever is beyond its ceiling is a fault.
    errors = exact.errors()
    assert any(error > exact.ceiling[key] for key, error in errors.items())


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("test", ["unsupervised", "landmarks"])
def test_faults_of_fabrec_training(goldens: Path, monkeypatch: pytest.MonkeyPatch, test: str, fault: Fault):
    pattern = {"unsupervised": "unsup_stage1", "landmarks": "landmark_step_head"}[test]
    recorded(goldens, pattern)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        if test == "unsupervised":
            fabrec.test_unsupervised_steps(goldens, "1")
        else:
            fabrec.test_landmark_steps(goldens, "head")


def test_parameters_alone_tell_that_nothing_stepped(goldens: Path):
    """What the losses of later steps would tell first; the parameters must tell it too."""
    for facts, golden in recorded(goldens, "unsup_stage*"):
        model = fabrec.filled(facts)
        start = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(AssertionError):
            fabrec.assert_same_states(start, model, golden, 2e-5, 1e-5)


def test_the_rule_itself():
    def run(value: float, seed: int | None = None, jitter: float = 0.0) -> Numbers:
        numbers = Numbers()
        noise = 0.0 if seed is None else jitter * np.random.RandomState(seed).normal()
        for key in "abcdefghij":
            numbers.add(
                key, 1.0 + (noise if key == "a" else 0.0), value if key == "a" else 1.0, 1e-3, 1.0, 0.1
            )
        return numbers

    def judged(value: float, jitter: float) -> bool:
        return not unexplained(run(value), lambda seed: run(value, seed, jitter))

    assert judged(1.0005, 0.0)
    assert not judged(1.002, 1e-5)
    assert judged(1.002, 1e-3)
    # However noisy: beyond the ceiling only where noise alone reaches it.
    assert not judged(1.2, 0.005)
    assert judged(1.2, 0.2)
    assert bound(1e-3, 1.0, 0.1) == 0.1 and bound(1e-3, 0.0, 0.1) == 1e-3

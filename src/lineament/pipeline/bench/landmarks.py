"""Landmarks of faces on one thread: the network of `landmarks` beside its bare convolutions, and a training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lineament.faces.schemes import scheme
from lineament.methods.landmarks.model import Backbone, Features, Head, build_networks
from lineament.methods.landmarks.predictor import LandmarkPredictor
from lineament.pipeline.bench.floor import measure_floor
from lineament.pipeline.bench.timing import Timing, measure_in_turn, report

SIZE, MANY, TRAINED = 112, 32, 36


def _predictor(device: torch.device | None = None, *, second_look: bool = False) -> LandmarkPredictor:
    """The network as it is used, with random weights and norms that are not the identity."""
    layout = scheme("68")
    networks = build_networks(len(layout))
    for module in networks["backbone"].modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return LandmarkPredictor(networks, layout, SIZE, device, second_look=second_look)


def _unfolded() -> tuple[Backbone, Head]:
    networks: Any = build_networks(len(scheme("68")))
    return networks["backbone"].eval(), networks["head"].eval()


def run(*, device: str = "cpu", repeats: int = 20) -> dict[str, Any]:
    """Measure one face at a time and many at a time, random weights and images.

    Args:
        device: Where to compute.
        repeats: Timed calls of each.

    Returns:
        Headline: landmarks of one face from its crop, beside the same network as it is trained (batch norms apart).
        ``batch_1_*`` and ``batch_32_*``: milliseconds a face (processor time, least of the repeats; wall-clock time on
        a GPU), the floor (its bare convolutions and products, each repeated by itself), the ratio to it and to the
        same calls in their order (``times_in_turn``); ``photo_ms``: one look at one face of a
        photo of 640 x 480, its crop included; ``two_looks_1_*`` and ``two_looks_32_*``: faces of that photo as they are
        found by default, by two looks with their crops, milliseconds a face and beside the same two floors, both for
        two passes; ``step_ms`` and ``step_bf16_ms``: forward and backward pass of a
        training step of 36 faces.
    """
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    predictor = _predictor(torch.device(device))
    backbone, head = (network.to(device) for network in _unfolded())
    one, many = (torch.rand(count, 3, SIZE, SIZE, generator=generator) for count in (1, MANY))
    photo, box = torch.rand(3, 480, 640, generator=generator), torch.tensor([[200.0, 100.0, 360.0, 310.0]])
    twice = _predictor(torch.device(device), second_look=True)

    @torch.no_grad()
    def plain() -> Tensor:
        features: Features = backbone(one.to(device))
        points: Tensor = head(*features).points.cpu()
        return points

    works: list[Callable[[], object]] = [
        lambda: predictor.read(one),
        plain,
        lambda: predictor.read_many(many),
        lambda: predictor.landmarks(photo, box),
        lambda: twice.landmarks(photo, box),
        lambda: twice.landmarks(photo, box.expand(MANY, 4)),
    ]
    single, reference, batch, whole, *looked = measure_in_turn(works, repeats=repeats, device=device)
    gpu = device.startswith("cuda")

    def milliseconds(timing: Timing) -> float:
        return timing.min_ms if gpu else timing.process_min_ms

    figures: dict[str, Any] = {"photo_ms": milliseconds(whole)}
    parts = ((1, single, works[0], looked[0]), (MANY, batch, works[2], looked[1]))
    for count, timing, call, both in parts:
        least = milliseconds(timing)
        bare = measure_floor(call, repeats=max(5, repeats), device=device, in_turn=True)
        assert bare.in_turn_ms is not None
        floor = bare.figures(least)
        figures |= {
            f"batch_{count}_ms_a_face": least / count,
            f"batch_{count}_floor_ms_a_face": floor["floor_ms"] / count,
            f"batch_{count}_times_floor": 1.0 / floor["share"],
            f"batch_{count}_times_in_turn": least / bare.in_turn_ms,
            f"batch_{count}_floor_share": floor["share"],
            f"batch_{count}_gflop": floor["gflop"] / count,
            f"two_looks_{count}_ms_a_face": milliseconds(both) / count,
            f"two_looks_{count}_times_floor": milliseconds(both) / (2.0 * floor["floor_ms"]),
            f"two_looks_{count}_times_in_turn": milliseconds(both) / (2.0 * bare.in_turn_ms),
        }
    figures["share"] = floor["share"]
    figures["conv3x3_gflops"] = floor["conv3x3_gflops"]
    figures |= _training(device, max(3, repeats // 4))
    words = (
        f"landmarks of one crop of {SIZE} px; of {MANY}; of one face in a photo; a training step of {TRAINED}"
    )
    return report(words, single, reference, **figures, seconds=time.perf_counter() - started)


def _training(device: str, repeats: int) -> dict[str, float]:
    """Milliseconds of a forward and backward pass in float32 and bfloat16."""
    networks: Any = {name: network.to(device) for name, network in build_networks(len(scheme("68"))).items()}
    images = torch.rand(TRAINED, 3, SIZE, SIZE, device=device)

    def step(half: bool) -> None:
        for network in networks.values():
            network.zero_grad(set_to_none=True)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half):
            said = networks["head"](*networks["backbone"](images))
        ((said.points - 0.5).norm(dim=-1) / said.scale + said.scale.log()).mean().backward()

    full, half = measure_in_turn(
        [lambda: step(False), lambda: step(True)], repeats=repeats, device=device, warm_up=1
    )
    gpu = device.startswith("cuda")
    return {
        f"step_{word}ms": timing.min_ms if gpu else timing.process_min_ms
        for word, timing in (("", full), ("bf16_", half))
    }

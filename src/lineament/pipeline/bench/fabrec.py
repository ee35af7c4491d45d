"""3FabRec at 256 px: structural loss, a training step of the third stage, landmarks; each beside its plain twin."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lineament.faces.schemes import scheme
from lineament.methods.fabrec.folded import FoldedNetworks
from lineament.methods.fabrec.heatmaps import read_heatmaps
from lineament.methods.fabrec.loss import structural_loss
from lineament.methods.fabrec.model import Fabrec, Layout
from lineament.methods.fabrec.recipe import AutoencoderConfig, AutoencoderRecipe
from lineament.pipeline.bench import fabrec_twin
from lineament.pipeline.bench.floor import measure_floor
from lineament.pipeline.bench.timing import Timing, measure, measure_in_turn, report
from lineament.training.context import StepContext
from lineament.training.distributed import PrecisionChoice, make_fabric, place_network
from lineament.training.memory import keep_freed_memory
from lineament.training.update import GradientUpdate

SIZE, LANDMARKS, BATCH = 256, len(scheme("68")), 4
# Seconds of the published program on one thread of the machine it was measured on (idle).
PUBLISHED = {"structural_loss": 3.55, "training_step": 5.9, "landmarks": 0.175}


class _Step:
    """A third-stage step with every update in it, repeated."""

    def __init__(self, images: Tensor, device: str, precision: PrecisionChoice = "32-true") -> None:
        self.recipe = AutoencoderRecipe(AutoencoderConfig(size=SIZE, value_range="paper"))
        self.networks = Fabrec(Layout(SIZE)).networks()
        fabric = make_fabric("cuda" if device.startswith("cuda") else "cpu", precision)
        for network in self.networks.values():
            place_network(fabric, network).train()
        self.optimisers = self.recipe.optimisers(self.networks)
        self.update = GradientUpdate(fabric, self.optimisers, 1)
        # The twin's own, which update parameter by parameter.
        self.plain_optimisers = {
            name: torch.optim.Adam(
                group["params"], lr=group["lr"], betas=group["betas"], fused=False, foreach=False
            )
            for name, optimiser in self.optimisers.items()
            for group in optimiser.param_groups
        }
        noise = torch.randn(len(images), 99, generator=torch.Generator().manual_seed(1)).to(device)
        self.batch = {"image": images, "noise": noise}

    def ours(self) -> None:
        """The recipe's step as if it were the first of an epoch."""
        self.recipe.step(self.networks, self.batch, StepContext(self.update))

    def plain(self) -> None:
        """The same step as its twin does it."""
        fabrec_twin.training_step(self.networks, self.plain_optimisers, self.batch)


def _landmark_calls(
    images: Tensor, device: str, dtype: torch.dtype = torch.float32
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    networks: Any = Fabrec(Layout(SIZE), LANDMARKS).eval().to(device).networks()
    folded = FoldedNetworks(networks["encoder"], networks["decoder"], networks["transfer"], dtype)

    @torch.no_grad()
    def ours() -> Tensor:
        return read_heatmaps(folded(images), SIZE, style="paper")

    @torch.no_grad()
    def plain() -> Tensor:
        decoder = networks["decoder"]
        x1, _ = fabrec_twin.decode(decoder, fabrec_twin.encode(networks["encoder"], images))
        return read_heatmaps(networks["transfer"](x1, decoder), SIZE, style="paper")

    return ours, plain


def run(*, device: str = "cpu", repeats: int = 5) -> dict[str, Any]:
    """Measure all three at 256 px, random networks and images.

    Args:
        device: Where to compute.
        repeats: Timed calls of each, ours and the twin in turn.

    Returns:
        Headline: the training step. For each piece of work ``*_ms`` (least processor time, on a GPU least wall-clock
        time), its twin's, the ratio of both, and the ratio to the published program's seconds on its machine; also the
        floor of the step, see :class:`~lineament.pipeline.bench.floor.Floor`.
    """
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    images = (0.2 * torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)).to(device)
    made = (0.2 * torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)).to(device).requires_grad_()
    if device == "cpu":
        # As training does, for ours and the twin.
        keep_freed_memory()
    step = _Step(images, device)

    def compared(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[Timing, Timing]:
        fast, slow = measure_in_turn([ours, plain], repeats=repeats, warm_up=1, device=device)
        return fast, slow

    pairs = {
        "structural_loss": compared(
            lambda: structural_loss(images, made, "paper").backward(),
            lambda: fabrec_twin.structural_loss(images, made).backward(),
        ),
        "training_step": compared(step.ours, step.plain),
        "landmarks": compared(*_landmark_calls(images[:1], device)),
    }
    figures: dict[str, Any] = {"landmarks_batch_64_ms_a_face": _many_faces(device, repeats)}
    fastest = pairs["training_step"][0]
    least_ms = fastest.min_ms if device.startswith("cuda") else fastest.process_min_ms
    figures |= measure_floor(step.ours, device=device).figures(least_ms)
    for name, (ours, plain) in pairs.items():
        gpu = device.startswith("cuda")
        fast, slow = (t.min_ms if gpu else t.process_min_ms for t in (ours, plain))
        figures |= {
            f"{name}_ms": fast,
            f"{name}_twin_ms": slow,
            f"{name}_ratio": slow / fast,
            f"{name}_times_faster_than_published": PUBLISHED[name] * 1e3 / fast,
        }
    if device.startswith("cuda"):
        figures |= _rates(device, repeats)
    headline, twin = pairs["training_step"]
    work = f"third-stage step with all updates, batch {BATCH} at {SIZE} px; structural loss; landmarks of one face"
    return report(work, headline, twin, **figures, seconds=time.perf_counter() - started)


def _many_faces(device: str, repeats: int) -> float:
    """Milliseconds per face of landmarks, 64 faces at a time."""
    images = 0.2 * torch.randn(64, 3, SIZE, SIZE, device=device)
    timing = measure(_landmark_calls(images, device)[0], repeats=min(repeats, 3), warm_up=1, device=device)
    return (timing.min_ms if device.startswith("cuda") else timing.process_min_ms) / 64


def _rates(device: str, repeats: int) -> dict[str, float]:
    """Images per second on a GPU, in float32 and bfloat16: landmarks at batch 1 and 64, training at batch 64."""
    rates = {}
    for batch in (1, 64):
        images = 0.2 * torch.randn(batch, 3, SIZE, SIZE, device=device)
        for word, dtype in (("", torch.float32), ("bf16_", torch.bfloat16)):
            timing = measure(_landmark_calls(images, device, dtype)[0], repeats=repeats, device=device)
            rates[f"landmarks_{word}batch_{batch}_per_second"] = 1e3 * batch / timing.median_ms
    precisions: dict[str, PrecisionChoice] = {"": "32-true", "bf16_": "bf16-mixed"}
    for word, precision in precisions.items():
        step = _Step(0.2 * torch.randn(64, 3, SIZE, SIZE, device=device), device, precision)
        timing = measure(step.ours, repeats=repeats, device=device)
        rates[f"training_{word}batch_64_per_second"] = 64e3 / timing.median_ms
    return rates

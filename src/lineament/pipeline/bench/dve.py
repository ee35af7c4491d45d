"""A training step of `dve-smallnet-64d` and the pair warp with landmarks, beside plain twins in the same process."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from lineament.faces.schemes import scheme
from lineament.geometry.tps_warp import FIRST_KERNEL_FACTOR, TRAINING, random_weights, warp_pair
from lineament.methods.dve.loss import descriptor_loss
from lineament.methods.dve.model import STRIDE, SmallNet, normalise_images
from lineament.methods.dve.optimiser import published_optimiser
from lineament.pipeline.bench import dve_twin
from lineament.pipeline.bench.dve_floor import LOSS_PRODUCTS, convolutions_of, loss_products
from lineament.pipeline.bench.timing import Timing, report
from lineament.training.memory import keep_freed_memory

CHANNELS, PAIRS = 64, 4
SIZE, CROP = 100, 15  # the published SmallNet views: 100 px, cut to 70
LANDMARKS = tuple(len(scheme(name)) for name in ("5", "68"))
POWER = 0.5
# Processor seconds of the published code on one thread of a machine like the one of docs/benchmarks.md.
PUBLISHED_STEP_SECONDS, PUBLISHED_WARP_SECONDS = (4.9, 8.1), 0.16


def seconds(function: Callable[[], object], repeats: int, device: str, warm_up: int = 1) -> list[float]:
    """Seconds of each call: processor time on a CPU, which a busy machine stretches less; wall clock on a GPU."""
    on_gpu = device.startswith("cuda")
    clock = time.perf_counter if on_gpu else time.process_time
    found = []
    for call in range(warm_up + repeats):
        if on_gpu:
            torch.cuda.synchronize()
        start = clock()
        function()
        if on_gpu:
            torch.cuda.synchronize()
        if call >= warm_up:
            found.append(clock() - start)
    return found


def training_case(device: str) -> tuple[SmallNet, torch.optim.Optimizer, Tensor, Tensor]:
    """Network, published Adam, normalised views ``[8, 3, 70, 70]`` and the grid between them."""
    torch.manual_seed(0)
    network = SmallNet(CHANNELS).to(device).train()
    optimiser = published_optimiser(network, learning_rate=1e-3, bias_learning_rate=1e-5)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.stack(each) for each in zip(*(draw_warps(generator) for _ in range(PAIRS)), strict=True)
    )
    pair = warp_pair(torch.rand(PAIRS, 3, SIZE, SIZE, generator=generator), first, second, CROP)
    views = torch.stack([pair.first, pair.second], dim=1).flatten(0, 1)
    return network, optimiser, normalise_images(views).to(device), pair.grid.contiguous().to(device)


def draw_warps(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """First and second warp of a pair, ``[103, 2]`` each, with the published spread."""
    spread = TRAINING.scaled(kernel=FIRST_KERNEL_FACTOR)
    return random_weights(spread, generator), random_weights(TRAINING, generator)


def step(network: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, grid: Tensor) -> Tensor:
    """One step with the published settings: raw vectors, exchange, square root of the pixel distance."""
    loss = descriptor_loss(network(images), grid, stride=STRIDE, power=POWER)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


def floor_figures(device: str, repeats: int) -> dict[str, float]:
    """What the step cannot do without, each part measured bare: convolutions and matrix products, forward and backward.

    Returns:
        Their operations in GFLOP, their least seconds, and the two together as ``floor_s``.
    """
    network, _, images, _ = training_case(device)
    convolutions = convolutions_of(network, images)
    layouts = (torch.contiguous_format, torch.channels_last)
    bare = sum(
        min(min(seconds(each.bare(layout), repeats, device)) for layout in layouts) for each in convolutions
    )
    points = (-(-(SIZE - 2 * CROP) // STRIDE)) ** 2
    products = min(seconds(loss_products(PAIRS, points, CHANNELS, device), repeats, device))
    return {
        "convolutions_gflop": sum(each.operations for each in convolutions) / 1e9,
        "convolutions_s": bare,
        "loss_products_gflop": LOSS_PRODUCTS * 2 * CHANNELS * PAIRS * points**2 / 1e9,
        "loss_products_s": products,
        "floor_s": bare + products,
    }


def warp_figures(landmarks: int, repeats: int) -> dict[str, Any]:
    """Seconds of one pair warp, drawing included, that carries ``landmarks`` points through both warps."""
    generator = torch.Generator().manual_seed(landmarks)
    image = torch.rand(1, 3, SIZE, SIZE, generator=generator)
    points = 20 + 60 * torch.rand(1, landmarks, 2, generator=generator)

    def ours() -> None:
        first, second = draw_warps(generator)
        warp_pair(image, first[None], second[None], CROP, points)

    def plain() -> None:
        dve_twin.warp_pair(image[0], *draw_warps(generator), CROP, points[0])

    fast, slow = seconds(ours, repeats, "cpu", warm_up=3), seconds(plain, min(repeats, 5), "cpu")
    return {
        "landmarks": landmarks,
        **spread_of(fast, "ms"),
        **spread_of(slow, "ms", "twin_"),
        "ratio": round(median(slow) / median(fast), 1),
    }


def spread_of(found: list[float], unit: str, prefix: str = "") -> dict[str, float]:
    """Median, least and greatest of seconds, in s or ms."""
    factor = {"s": 1, "ms": 1e3}[unit]
    values = {"median": median(found), "min": min(found), "max": max(found)}
    return {f"{prefix}{name}_{unit}": round(value * factor, 4) for name, value in values.items()}


def run(*, device: str = "cpu", repeats: int = 20) -> dict[str, Any]:
    """Measure the step (4 pairs of 70 x 70) and, on the CPU, pair warps of 100 x 100 with 5 and 68 landmarks.

    Args:
        device: Where the network and the loss run.
        repeats: Timed calls; twins take at most 5.

    Returns:
        ``median_ms`` and its like hold processor time of one step on a CPU (wall clock on a GPU). ``twin_*`` is the
        plain form as published, with its C x N x N terms, ``matrix_twin_*`` the same by matrix products, both in this
        process; ``ratio`` twin / ours; ``floor_s`` the least that its convolutions and matrix products take by
        themselves and ``share_of_floor`` that over our least; ``published_code_s`` what the published code took;
        ``pair_warp`` one row per number of landmarks.
    """
    keep_freed_memory()  # as every training does
    ours = seconds(partial(step, *training_case(device)), repeats, device, warm_up=2)
    twins = {}
    for prefix, outer in (("twin_", True), ("matrix_twin_", False)):
        plain = partial(dve_twin.training_step, *training_case(device), STRIDE, POWER, outer=outer)
        twins[prefix] = seconds(plain, min(repeats, 5), device)
    middle, least, greatest = (1e3 * each for each in (median(ours), min(ours), max(ours)))
    extra: dict[str, Any] = floor_figures(device, min(repeats, 5))
    extra["share_of_floor"] = extra["floor_s"] / min(ours)
    for prefix, found in twins.items():
        extra |= spread_of(found, "ms", prefix)
        extra[prefix.replace("twin_", "ratio")] = median(found) / median(ours)
    return report(
        f"training step: SmallNet, {CHANNELS} channels, {PAIRS} pairs of {SIZE - 2 * CROP} x {SIZE - 2 * CROP}, raw "
        "vectors, exchange; forward, backward, Adam",
        Timing(middle, least, greatest, middle),
        steps=repeats,
        **extra,
        published_code_s=PUBLISHED_STEP_SECONDS,
        times_faster_than_published=min(PUBLISHED_STEP_SECONDS) / median(ours),
        pair_warp_work=f"one {SIZE} x {SIZE} image: drawn, warped twice, landmarks carried, cut",
        pair_warp=[warp_figures(landmarks, repeats) for landmarks in LANDMARKS],
        pair_warp_published_code_s=PUBLISHED_WARP_SECONDS,
    )

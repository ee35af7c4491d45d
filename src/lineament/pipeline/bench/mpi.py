"""The multiplane renderer: a face-like volume of 96 planes, exact and with an early stop, beside the plain twin.

The volume is the front of an ellipsoid: from its surface on, three planes are opaque; before it all are empty; the last
plane is opaque everywhere; one colour image is shared. Volumes of random texels, where no plane is empty, are measured
beside it.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.renderer import Mpi, Renderer
from lineament.pipeline.bench.exchange_loss import PeakMemory
from lineament.pipeline.bench.timing import Timing, measure, measure_in_turn, report

PLANES, STOP = 96, 1e-4
SIZES = (256, 512)
GPU_SIZES = (256, 512, 1024)
# Opaque planes from the surface on; planes before its nearest point; half axes of its outline, of half the image.
THICK, BEFORE, OUTLINE = 3, 4, (0.65, 0.8)
POSE = (0.1, 0.3)  # pitch, yaw
# The published program on one thread of another machine, seconds.
PUBLISHED_SECONDS = {256: 0.69, 512: 3.6}


def face_volume(size: int, planes: int = PLANES, device: str = "cpu") -> Mpi:
    """The face-like volume of ``size x size`` texels a plane."""
    steps = torch.linspace(-1, 1, size, device=device)
    inside = 1 - (steps / OUTLINE[0]) ** 2 - ((steps / OUTLINE[1]) ** 2)[:, None]
    surface = BEFORE + (1 - inside.clamp(min=0).sqrt()) * (planes - 2 * BEFORE)
    surface = torch.where(inside > 0, surface, torch.inf)
    k = torch.arange(planes, device=device)[:, None, None]
    alpha = ((k >= surface) & (k < surface + THICK)).float()[None]
    alpha[:, -1] = 1
    return Mpi(alpha, _noise(1, 3, size, size).to(device))


def random_volume(size: int, planes: int = PLANES, device: str = "cpu") -> Mpi:
    """Random alphas and colours; the last plane is opaque."""
    alpha = _noise(1, planes, size, size)
    alpha[:, -1] = 1
    return Mpi(alpha.to(device), _noise(1, 3, size, size, seed=1).to(device))


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class Case:
    """One volume seen by one camera."""

    def __init__(self, mpi: Mpi) -> None:
        self.mpi, self.size = mpi, mpi.alpha.shape[-1]
        self.renderer = Renderer(SCENES["ffhq256"], mpi.alpha.shape[1])
        self.pose = torch.tensor([POSE])
        self.weights = _noise(1, 5, self.size, self.size, seed=2).to(mpi.alpha.device)

    def render(self, stop: float = 0.0, impl: str = "auto") -> Tensor:
        """Image, depth and opacity as ``[1, 5, H, W]``."""
        found = self.renderer.render(self.mpi, self.pose, self.size, stop=stop, impl=impl)
        return torch.cat([found.image, found.depth, found.opacity], dim=1)

    def bare(self, stop: float = 0.0, impl: str = "auto") -> None:
        """The op alone."""
        self.renderer.render(self.mpi, self.pose, self.size, stop=stop, impl=impl)

    def differentiate(self, stop: float = 0.0) -> tuple[float, float]:
        """Milliseconds of processor time (of the clock on a GPU) of the passes forward and backward."""
        leaves = [self.mpi.alpha.detach().requires_grad_(), self.mpi.colour.detach().requires_grad_()]
        mpi, device = Mpi(*leaves), str(leaves[0].device)
        found = self.renderer.render(mpi, self.pose, self.size, stop=stop)
        results = [found.image, found.depth, found.opacity]
        weights = list(self.weights.split([3, 1, 1], dim=1))
        forward = measure(lambda: self.bare(stop), repeats=1, warm_up=0, device=device)
        backward = measure(
            lambda: torch.autograd.grad(results, leaves, weights), repeats=1, warm_up=0, device=device
        )
        if device.startswith("cuda"):
            return forward.median_ms, backward.median_ms
        return forward.process_ms, backward.process_ms

    @property
    def stored_mb(self) -> float:
        """What the textures take."""
        return (self.mpi.alpha.numel() + self.mpi.colour.numel()) * 4 / 2**20


def _least(timing: Timing, device: str) -> float:
    return timing.min_ms if device.startswith("cuda") else timing.process_min_ms


def figures(name: str, case: Case, *, device: str, repeats: int, twin_repeats: int) -> dict[str, Any]:
    """Times of one case by kind, least of all repeats; of processor time on a CPU."""
    exact, stopped = measure_in_turn(
        [case.bare, lambda: case.bare(STOP)], repeats=repeats, warm_up=2, device=device
    )
    passes = [case.differentiate() for _ in range(max(2, repeats // 4))]
    twin = measure(lambda: case.bare(impl="reference"), repeats=twin_repeats, warm_up=0, device=device)
    forward, backward = (min(times) for times in zip(*passes, strict=True))
    return {
        f"{name}_exact_ms": _least(exact, device),
        f"{name}_exact_median_ms": exact.median_ms,
        f"{name}_stopped_ms": _least(stopped, device),
        f"{name}_backward_ms": backward,
        f"{name}_backward_to_forward": backward / forward,
        f"{name}_twin_ms": _least(twin, device),
    }


def run(*, device: str = "cpu", repeats: int = 20) -> dict[str, Any]:
    """Measure the renderer.

    Args:
        device: Where.
        repeats: Timed calls of each kind (of the twin 2).

    Returns:
        Headline: the face-like volume at 256 px, exact. For each volume and size (``face_256`` ...): least
        milliseconds exact, stopped and backward (processor time on a CPU), the backward pass over the forward pass, and
        the twin. On a CPU also the largest errors against double precision, the extra memory of a call as a share of
        the textures, and what two threads gain by the clock (None with a single core). On a GPU frames per second and
        the share of the bandwidth of a copy that reading the textures once is.
    """
    on_gpu = device.startswith("cuda")
    extra: dict[str, Any] = {"planes": PLANES}
    faces = {size: Case(face_volume(size, device=device)) for size in (GPU_SIZES if on_gpu else SIZES)}
    headline = measure(faces[256].bare, repeats=repeats, device=device)
    reference = measure(lambda: faces[256].bare(impl="reference"), repeats=2, warm_up=0, device=device)
    for size, case in faces.items():
        extra |= figures(f"face_{size}", case, device=device, repeats=repeats, twin_repeats=1)
        noise = Case(random_volume(size, device=device))
        extra |= figures(f"random_{size}", noise, device=device, repeats=max(3, repeats // 4), twin_repeats=1)
        if on_gpu:
            extra |= _gpu_figures(size, case, extra, device, repeats)
        else:
            extra |= _memory_and_threads(size, case, repeats)
            if size in PUBLISHED_SECONDS:
                extra[f"face_{size}_published_s"] = PUBLISHED_SECONDS[size]
    if not on_gpu:
        extra |= _errors(256)
    return report(
        f"{PLANES} planes of 256 x 256 to one view, ellipsoid's front, exact", headline, reference, **extra
    )


def _gpu_figures(size: int, case: Case, known: dict[str, Any], device: str, repeats: int) -> dict[str, float]:
    source = torch.empty(2**28, device=device)
    copy = measure(lambda: source.clone(), repeats=repeats, device=device)
    bytes_a_ms = 2 * source.numel() * 4 / copy.min_ms
    least = known[f"random_{size}_exact_ms"]
    return {
        f"face_{size}_frames_a_second": 1e3 / known[f"face_{size}_exact_ms"],
        f"face_{size}_twin_frames_a_second": 1e3 / known[f"face_{size}_twin_ms"],
        f"random_{size}_share_of_bandwidth": case.stored_mb * 2**20 / bytes_a_ms / least,
    }


def _memory_and_threads(size: int, case: Case, repeats: int) -> dict[str, float | None]:
    with PeakMemory("cpu") as memory:
        case.bare()
    gain: float | None = None
    if (os.cpu_count() or 1) > 1:
        before = torch.get_num_threads()
        clock: dict[int, float] = {}
        try:
            for threads in (1, 2, 1, 2):
                torch.set_num_threads(threads)
                least = measure(case.bare, repeats=repeats, warm_up=2).min_ms
                clock[threads] = min(least, clock.get(threads, least))
        finally:
            torch.set_num_threads(before)
        gain = clock[1] / clock[2]
    share = None if memory.megabytes is None else memory.megabytes / case.stored_mb
    return {f"face_{size}_extra_memory_share": share, f"face_{size}_two_threads_gain": gain}


def _errors(size: int) -> dict[str, float]:
    """Largest distances from the twin in double precision, in the range of the colours."""
    errors = {}
    for name, volume in (("face", face_volume(size)), ("random", random_volume(size))):
        case = Case(volume)
        exact = Case(Mpi(volume.alpha.double(), volume.colour.double())).render(impl="reference")
        for kind, found in (
            ("exact", case.render()),
            ("stopped", case.render(STOP)),
            ("twin", case.render(impl="reference")),
        ):
            # The image runs from -1 to 1, twice the range of the colours.
            off = (found - exact).abs().amax(dim=(0, 2, 3)) / torch.tensor([2.0, 2.0, 2.0, 1.0, 1.0])
            errors[f"{name}_{size}_{kind}_error_1e6"] = float(off.max()) * 1e6
    return errors

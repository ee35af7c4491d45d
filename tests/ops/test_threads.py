"""The number of threads changes no bit of a result, and two threads are faster than one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.ops.meshes import soup
from torch import Tensor

from lineament.ops import barycentrics, edge_gradient, interpolate, rasterize_with_depth, sample_texture
from lineament.ops.threads import run_tasks, scatter, spans
from lineament.pipeline.bench.rasterize import bench_mesh, project


def with_threads(threads: int, function: Callable[[], list[Tensor]]) -> list[Tensor]:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        return function()
    finally:
        torch.set_num_threads(before)


def everything(vertices: Tensor, faces: Tensor, size: int) -> list[Tensor]:
    """All outputs and gradients of the five ops."""
    index, nearest = rasterize_with_depth(vertices, faces, size, size)
    vertices = vertices.clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(*vertices.shape[:2], 2, generator=generator).requires_grad_()
    texture = torch.rand(1, 3, 16, 16, generator=generator).requires_grad_()
    depth, bary = barycentrics(vertices, faces, index)
    uv = interpolate(colours, faces, index, bary)
    image = sample_texture(texture, uv, align_corners=False, index=index)
    image = edge_gradient(vertices, faces, bary, image, index)
    weight = torch.rand(image.shape, generator=generator)
    leaves = [vertices, colours, texture]
    gradients = torch.autograd.grad((image * weight).sum() + depth.sum(), leaves)
    return [index, nearest, depth, bary, uv, image, *gradients]


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("many_faces", [False, True])
def test_no_bit_depends_on_the_number_of_threads(views, many_faces):
    if many_faces:  # drawn in layers, split by triangles
        vertices, faces = project(bench_mesh()[0])[:views], bench_mesh()[1]
    else:  # drawn in bands of rows
        vertices, faces = soup(5, size=96.0, views=views)
    expected = with_threads(1, lambda: everything(vertices, faces, 96))
    assert bool((expected[0] >= 0).any())
    for threads in (2, 3, 5):
        found = with_threads(threads, lambda: everything(vertices, faces, 96))
        assert [torch.equal(a, b) for a, b in zip(found, expected, strict=True)] == [True] * len(expected)


def test_equal_depths_go_to_the_lower_id_in_all_layers():
    square = torch.tensor([[[0.0, 0, 2], [40, 0, 2], [0, 40, 2], [40, 40, 2]]])
    faces = torch.tensor([[0, 1, 2], [3, 2, 1]], dtype=torch.int32).repeat(3000, 1)
    index, depth = with_threads(4, lambda: list(rasterize_with_depth(square, faces, 48, 48)))
    assert set(index.unique().tolist()) == {-1, 0, 1}
    assert set(depth.unique().tolist()) == {0.0, 2.0}


def test_a_thread_that_comes_late_holds_nobody_up():
    first, last = threading.Event(), []

    def kernel(number: int) -> int:
        if threading.current_thread() is not threading.main_thread():
            first.wait(10)  # the helper sits on its first task until all others are done
        last.append(number)
        if len(last) == 5:
            first.set()
        return number

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert run_tasks(kernel, (), [(number,) for number in range(6)], work=10**6) == 15
    finally:
        torch.set_num_threads(before)
        first.set()
    assert sorted(last) == list(range(6))


def test_scatter_forgets_what_was_there_and_adds_all_parts():
    def kernel(sums, view, first, end):
        sums[view] = 0
        sums[view, 0] += end - first
        sums[view, 1] += 1
        return 1

    into = torch.full((2, 2), 7.0)
    tasks = scatter(kernel, (), into, 2, 128, 128)
    assert tasks == 8 and into.tolist() == [[128, 4], [128, 4]]
    assert scatter(kernel, (), into, 2, 8, 8) == 2 and into.tolist() == [[8, 1], [8, 1]]
    assert spans(7, 3) == [(0, 2), (2, 4), (4, 7)]


# Prints the least times with one thread and with two, in turns, so that a neighbour's load meets both: by the clock,
# and of the calling thread's own work, which no load lengthens. It goes on until two are faster, for a loaded machine
# rarely has both cores free for the few milliseconds of one try.
RACE = """
import sys, time
from tests.ops.test_threads import draw, with_threads
clock, own = ({1: float("inf"), 2: float("inf")} for _ in range(2))
work, end = draw(sys.argv[1] == "True"), time.monotonic() + 60
for number in range(100_000):
    for threads in clock:
        with_threads(threads, work)
        start, begun = time.perf_counter(), time.thread_time()
        with_threads(threads, work)
        clock[threads] = min(clock[threads], time.perf_counter() - start)
        own[threads] = min(own[threads], time.thread_time() - begun)
    if time.monotonic() > end or (number >= 40 and clock[2] < clock[1] and own[2] < 0.9 * own[1]):
        break
print(clock[1], clock[2], own[1], own[2])
"""


def draw(backward: bool) -> Callable[[], list[Tensor]]:
    """What draws the bench's mesh at 96 pixels, or draws and differentiates it."""
    vertices, faces = project(bench_mesh()[0]), bench_mesh()[1]

    def forward() -> list[Tensor]:
        index, _ = rasterize_with_depth(vertices, faces, 96, 96)
        return list(barycentrics(vertices, faces, index))

    return (lambda: everything(vertices, faces, 96)) if backward else forward


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.parametrize("backward", [False, True])
def test_two_threads_are_faster_than_one(backward):
    # A process of its own that waits as those of the command line do: torch's threads would else spin between two
    # operations on the core that the kernels' second thread is to run on.
    found = subprocess.run(
        [sys.executable, "-c", RACE, str(backward)],
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert found.returncode == 0, found.stderr
    one, two, own_one, own_two = map(float, found.stdout.split())
    # The second thread takes work from the first.
    assert own_two < 0.9 * own_one
    # Where others want more cores than there are, the clock tells of them and not of the kernels.
    if os.getloadavg()[0] < (os.cpu_count() or 1) + 0.5:
        assert two < one

"""Kernels across processes and threads: disk cache, forks, many callers, light imports."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading

import pytest
import torch
from tests.ops.meshes import soup

from lineament.ops import rasterize

START = """
import sys, torch
from lineament.ops import barycentrics, rasterize
assert "numba" not in sys.modules, "importing the ops imports numba"
torch.set_num_threads(1)
v = torch.tensor([[[0, 0, 1], [7, 0, 2], [0, 7, 4.0]]]).requires_grad_()
f = torch.tensor([[0, 1, 2]], dtype=torch.int32)
index = rasterize(v, f, 8, 8)
barycentrics(v, f, index)[0].sum().backward()
assert "torch._dynamo" not in sys.modules, "the first call imports torch's compiler"
from lineament.ops.numba_cpu.rasterize import rasterize_band
print(sum(rasterize_band.stats.cache_hits.values()), sum(rasterize_band.stats.cache_misses.values()))
"""


def test_second_process_loads_the_kernels_from_disk():
    words = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        words = done.stdout.split()
    assert words == ["1", "0"], "the second process compiled the kernel again"


def worker(queue: multiprocessing.Queue) -> None:
    vertices, faces = soup(1)
    queue.put(int((rasterize(vertices, faces, 32, 32) >= 0).sum()))


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_worker_can_draw_after_its_parent_drew_on_threads():
    vertices, faces = soup(1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = int((rasterize(vertices, faces, 32, 32) >= 0).sum())
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=worker, args=(queue,))
        child.start()
        assert queue.get(timeout=60) == expected
        child.join(timeout=60)
        assert child.exitcode == 0
    finally:
        torch.set_num_threads(before)


def test_many_threads_may_draw_at_once():
    scenes = [soup(seed) for seed in range(8)]
    expected = [rasterize(*scene, 32, 32) for scene in scenes]
    found: list[torch.Tensor | None] = [None] * 8

    def draw(number: int) -> None:
        for _ in range(20):
            found[number] = rasterize(*scenes[number], 32, 32)

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))

"""Memory that a step frees stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Faults of pages while the same 60 MB are taken and given back ten times, before and after the call.
SCRIPT = """
import resource
from lineament.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        parts = [b"x" * 20_000_000 for _ in range(3)]
        del parts
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
assert keep_freed_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's own")
def test_freed_memory_is_taken_again_without_page_faults():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 50_000
    assert after < 1_000

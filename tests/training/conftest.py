"""Makes the toy recipe importable and fixes the threads of every test: bitwise promises hold per thread count."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


# For the whole module: a module's own fixtures train before a fixture of one test would be set up, and a run they made
# with all the threads of the machine would not have the bits of the runs it is compared with.
@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""The renderer as plain Python draws what its compiled form draws (`make coverage`, with NUMBA_DISABLE_JIT=1)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from lineament.synthetic import render
from lineament.synthetic.packing import as_record
from lineament.synthetic.source import SyntheticFaces

pytestmark = pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="the compiler is on: other tests draw")
FACES = "SyntheticFaces(seed=3, count=4, size=20, sensor=0.0)"
COMPILED = f"""
import sys, numpy as np
from lineament.synthetic.source import SyntheticFaces
faces = {FACES}
np.savez(sys.argv[1], **{{str(i): faces[i].image.numpy() for i in range(2)}})
"""


def test_plain_python_draws_the_compiled_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Compiled code reads the fields of a record as attributes; numpy has that for one kind of array only.
    monkeypatch.setattr(render, "as_record", lambda values: as_record(values).view(np.recarray))
    file = tmp_path / "compiled.npz"
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_DISABLE_JIT"}
    subprocess.run([sys.executable, "-c", COMPILED, str(file)], env=environment, check=True)
    faces = SyntheticFaces(seed=3, count=4, size=20, sensor=0.0)
    with np.load(file) as compiled:
        for index in range(2):
            found, wanted = faces[index].image, torch.from_numpy(compiled[str(index)])
            # Fast mathematics may move a shadow's edge or a strand of hair by a pixel.
            assert float((found - wanted).abs().mean()) < 2e-3

"""Reading the recorded numbers of GMPI's renderer: which scene they were made in, and comparing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.parity.recorded import Recorded, matching, read_arrays
from torch import Tensor

from lineament.methods.gmpi.datasets import SCENES, Scene
from lineament.methods.gmpi.planes import make_planes

# As the recordings name the data sets; where planes and cameras are does not depend on the resolution.
SCENE_OF = {"FFHQ": SCENES["ffhq256"], "AFHQCat": SCENES["afhqcat"], "MetFaces": SCENES["metfaces"]}


def arrays(goldens: Path, name: str) -> Recorded[Any]:
    """One npz file of the recorded set; skips where there is none."""
    return read_arrays(matching(goldens, f"gmpi_rendering/{name}.npz")[0])


def as_tensor(value: Any) -> Tensor:
    """A recorded array or number as a tensor."""
    return value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value))


def column(value: Any) -> Tensor:
    """A recorded ``[N, 1]`` as ``[N]``."""
    return as_tensor(value).flatten()


def distance(found: Tensor, expected: Any) -> float:
    """Largest difference; the shapes must be equal."""
    wanted = as_tensor(expected)
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return float((found.detach().double() - wanted.double()).abs().max())


def scenes_in(file: Recorded[Any], suffix: str) -> list[str]:
    """Names of the data sets of which the file holds ``<name><suffix>``; skips where there are none."""
    names = [name for name in SCENE_OF if f"{name}{suffix}" in file]
    if not names:
        pytest.skip(f"no {suffix} in {file.path}")
    return names


def scene_with(planes: Tensor) -> Scene:
    """The scene whose planes these are."""
    found = [scene for scene in SCENE_OF.values() if distance(make_planes(scene, len(planes)), planes) < 1e-5]
    assert len(found) == 1, "the planes of a recording belong to one data set"
    return found[0]

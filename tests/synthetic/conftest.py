"""Sources that several tests of the synthetic world share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineament.synthetic.source import SyntheticFaces


@pytest.fixture(scope="session")
def faces() -> SyntheticFaces:
    """Built-in faces without camera flaws."""
    return SyntheticFaces(seed=3, count=40, size=96, sensor=0.0)


@pytest.fixture(scope="session")
def ict_faces(packs: Path) -> SyntheticFaces:
    """Faces of the ICT head."""
    return SyntheticFaces(seed=3, count=20, size=96, head="ict", packs=packs, sensor=0.0)

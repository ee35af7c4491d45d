"""Methods that live in a folder of the tests, and that only the tests that ask for them know."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lineament.training import registry

METHODS = Path(__file__).parent / "toy_methods"


@pytest.fixture(scope="module")
def toy_methods() -> Iterator[Path]:
    """Let LINEAMENT_METHODS name the folder, which alone tells of them; afterwards they are forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv(registry.FOLDERS, str(METHODS))
        yield METHODS
    toys = {path.name for path in METHODS.iterdir()}
    for name in [name for name, entry in registry._ENTRIES.items() if entry.method in toys]:
        del registry._ENTRIES[name]
    # Imported anew, a table registers its recipes anew.
    for name in [name for name in sys.modules if name.partition(".")[0] in toys]:
        del sys.modules[name]
    registry._import_tables.cache_clear()

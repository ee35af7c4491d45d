"""Lineament learns the geometry of faces from few labels or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lineament.errors import CheckpointError, DataError, LineamentError, UsageError

if TYPE_CHECKING:
    from lineament.inference import load as load

__version__ = "0.1.0"
__all__ = ["CheckpointError", "DataError", "LineamentError", "UsageError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # `lineament.load` pulls in torch; importing it on first use keeps `import lineament` and the CLI's help fast.
    if name == "load":
        from lineament.inference import load

        return load
    raise AttributeError(f"module 'lineament' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

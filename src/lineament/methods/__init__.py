"""The methods; none imports another. Each has a module ``recipes``, the table of what can be trained."""

from __future__ import annotations

import importlib.util
import pkgutil


def legacy_readers() -> dict[str, str]:
    """Modules that recognise checkpoints of other programs (``methods/<name>/legacy.py``), by the method's name."""
    found = {}
    for method in pkgutil.iter_modules(__path__):
        if method.ispkg:
            name = f"{__name__}.{method.name}.legacy"
            if importlib.util.find_spec(name) is not None:
                found[method.name] = name
    return found

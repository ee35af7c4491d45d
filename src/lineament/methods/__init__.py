"""The five methods; none imports another."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil


def register_all(only: str | None = None) -> None:
    """Import every method's recipe modules (``methods/<name>/recipe*.py``), which register what they hold.

    The training room never imports a method; the command line and the pipeline call this before they ask for a recipe.

    Args:
        only: Import those of this method alone; all when None, or where there is no such method.
    """
    methods = [method.name for method in pkgutil.iter_modules(__path__) if method.ispkg]
    for name in [only] if only in methods else methods:
        if name is not None:
            package = importlib.import_module(f"{__name__}.{name}")
            for module in pkgutil.iter_modules(package.__path__):
                if module.name.startswith("recipe"):
                    importlib.import_module(f"{package.__name__}.{module.name}")


def legacy_readers() -> dict[str, str]:
    """Modules that recognise checkpoints of other programs (``methods/<name>/legacy.py``), by the method's name."""
    found = {}
    for method in pkgutil.iter_modules(__path__):
        if method.ispkg:
            name = f"{__name__}.{method.name}.legacy"
            if importlib.util.find_spec(name) is not None:
                found[method.name] = name
    return found

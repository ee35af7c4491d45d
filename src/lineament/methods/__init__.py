"""The five methods; none imports another."""

from __future__ import annotations

import importlib
import pkgutil


def register_all() -> None:
    """Import every method's recipe modules (``methods/<name>/recipe*.py``), which register what they hold.

    The training room never imports a method; the command line and the pipeline call this before they ask for a recipe.
    """
    for method in pkgutil.iter_modules(__path__):
        if method.ispkg:
            package = importlib.import_module(f"{__name__}.{method.name}")
            for module in pkgutil.iter_modules(package.__path__):
                if module.name.startswith("recipe"):
                    importlib.import_module(f"{package.__name__}.{module.name}")

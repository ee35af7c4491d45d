"""The methods; none imports another. Each has a module ``recipes``, the table of what can be trained."""

from __future__ import annotations

import importlib.util
import pkgutil


def legacy_readers() -> dict[str, str]:
    """Modules that recognise checkpoints of other programs, by family.

    ``methods/<name>/legacy.py`` reads those of the method itself, ``methods/<name>/<family>_legacy.py`` those of
    another family that the method builds on.
    """
    found = {}
    for method in pkgutil.iter_modules(__path__):
        if not method.ispkg:
            continue
        package = importlib.util.find_spec(f"{__name__}.{method.name}")
        assert package is not None
        for module in pkgutil.iter_modules(package.submodule_search_locations):
            if module.name == "legacy":
                found[method.name] = f"{__name__}.{method.name}.legacy"
            elif module.name.endswith("_legacy"):
                found[module.name.removesuffix("_legacy")] = f"{__name__}.{method.name}.{module.name}"
    return found

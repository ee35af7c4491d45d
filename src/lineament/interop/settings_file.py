"""Settings of other programs, in YAML or in a file of torch; nothing in either is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lineament.errors import CheckpointError
from lineament.interop.torch_file import read_torch_file


def read_settings_file(file: Path) -> Any:
    """What a file of YAML (``.yml``, ``.yaml``) or of torch (any other ending) holds.

    Raises:
        CheckpointError: If it cannot be read; the message names it.
    """
    if file.suffix.lower() not in (".yml", ".yaml"):
        return read_torch_file(file).data
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file} cannot be read as YAML: {reason}.") from error

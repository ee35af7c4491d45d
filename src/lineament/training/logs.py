"""What a run writes down while it trains: ``metrics.jsonl`` (the truth), ``timing.jsonl``, TensorBoard events."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lineament.files import write_text


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSONL file; a last line that a kill cut short is left out, a missing file is empty."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


class MetricLog:
    """Appends metric lines and mirrors them to TensorBoard.

    ``metrics.jsonl`` holds nothing that depends on the clock, so that two equal runs write equal files; times are in
    ``timing.jsonl``. Opened after step ``step``, it drops lines of later steps: a resumed run writes them anew.

    Args:
        folder: The run directory.
        step: Steps already done.
    """

    def __init__(self, folder: Path, step: int) -> None:
        for name in ("metrics.jsonl", "timing.jsonl"):
            path = folder / name
            kept = [line for line in read_lines(path) if line["step"] <= step]
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._timing = (folder / "timing.jsonl").open("a", encoding="utf-8")
        # Imported here: it takes a second, and only the process that writes needs it.
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Write one line: ``kind`` is ``"train"`` or ``"evaluation"``; values that are not finite become null."""
        finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._metrics.write(json.dumps({"step": step, "kind": kind, **finite}) + "\n")
        self._metrics.flush()
        for key, value in values.items():
            self._board.add_scalar(f"{kind}/{key}", value, step)

    def write_timing(self, step: int, values: dict[str, float]) -> None:
        """Write how fast the run goes."""
        self._timing.write(json.dumps({"step": step, **values}) + "\n")
        self._timing.flush()

    def close(self) -> None:
        """Flush and close all files."""
        self._metrics.close()
        self._timing.close()
        self._board.close()

"""Lists of `lineament` commands that take hours: what a repeated command line need not do again."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: Of this stage of its model.
        words: Behind `lineament`.
        run: The run directory that it trains; None where it does not train.
        machine: Options that change no number (processes, device), behind the words.
        again: Whether repeating it is cheap and goes on by itself.
    """

    name: str
    words: tuple[str, ...]
    run: Path | None = None
    machine: tuple[str, ...] = field(default=(), compare=False)
    again: bool = False


class Record:
    """Which stages were begun with which words, and which ended; a file of JSON that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}

    def note(self, key: str, **facts: Any) -> None:
        """Add facts of a stage."""
        self.stages.setdefault(key, {}).update(facts)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.stages, indent=1) + "\n")
        temporary.replace(self.path)


def refuse_other_words(stages: dict[str, Stage], record: Record) -> None:
    """Refuse a list before any of it is run, which may take hours.

    Raises:
        SystemExit: If an older list of other words has made, or begun, what a stage would make.
    """
    for key, stage in stages.items():
        words, begun = list(stage.words), record.stages.get(key, {}).get("words")
        if begun is not None and begun != words:
            raise SystemExit(
                f"{key} was begun as `{shlex.join(begun)}` and is now `{shlex.join(words)}`: "
                "choose another --out, or remove what is there."
            )


def make(stage: Stage, key: str, record: Record) -> bool:
    """Run a stage unless it is done; whether it did anything.

    Raises:
        SystemExit: If it fails, with its exit code.
    """
    words, known = list(stage.words), record.stages.get(key)
    if known is not None and known.get("done") and not stage.again:
        return False
    resumed = known is not None and stage.run is not None and (stage.run / "config.yaml").is_file()
    if resumed:
        words = ["resume", str(stage.run)]
    record.note(key, words=list(stage.words))
    print(f"== {key}: lineament {shlex.join([*words, *stage.machine])}", flush=True)
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "lineament", *words, *stage.machine], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    seconds = (known or {}).get("seconds", 0.0) + time.monotonic() - begun
    record.note(key, done=True, seconds=round(seconds, 1))
    return True


def make_all(stages: dict[str, Stage], record: Record, *, dry_run: bool = False) -> None:
    """Run what is not done of a list, in its order; or print the commands.

    Raises:
        SystemExit: If a command fails, or an older list of other words was begun; the latter before anything is run.
    """
    if not dry_run:
        refuse_other_words(stages, record)
    for key, stage in stages.items():
        if dry_run:
            print(shlex.join(["lineament", *stage.words, *stage.machine]))
        elif not make(stage, key, record):
            print(f"== {key}: done before", flush=True)


def pack_words(packs: Path | None) -> tuple[str, ...]:
    """The option that names the folder of the data packs, where there is one."""
    return () if packs is None else ("--packs", str(packs))

"""Run directories: where everything about one training lies, the same for every method.

``config.yaml`` (recipe, config, data), ``environment.json`` (one entry per session: commit, versions, device),
``metrics.jsonl``, ``timing.jsonl``, ``tensorboard/``, ``figures/<step>/``, ``checkpoints/<step>/``, ``report.html``.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import nn

from lineament.errors import CheckpointError, LineamentError
from lineament.files import write_text
from lineament.training.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint, step_folder
from lineament.training.config import config_from_dict, config_to_dict
from lineament.training.context import EVALUATED_AVERAGE
from lineament.training.logs import read_lines
from lineament.training.registry import get_recipe
from lineament.training.weights import load_weights, present_networks

if TYPE_CHECKING:
    from lineament.training.recipe import Recipe

CONFIG = "config.yaml"
FORMAT = 2
_ENTRIES = (CONFIG, "environment.json", "metrics.jsonl", "timing.jsonl", "report.html")
_FOLDERS = ("tensorboard", "figures", "checkpoints")


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        folder: Where it lies.
        recipe: Name of its recipe.
        method: The family that owns its checkpoints.
        config: Resolved fields of the recipe's config.
        precision: Precision it is trained in.
        data: What it was trained on, as given to ``--data``; empty when a Python caller passed sources of its own.
        validation: The same for validation.
        preset: The preset its config started from, or "".
        inherited: Fields of the config that nobody gave: its base decided them, or there was none to do so.
    """

    folder: Path
    recipe: str
    method: str
    config: dict[str, Any]
    precision: str
    data: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    preset: str = ""
    inherited: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What results and messages call it."""
        return str(self.folder)

    @property
    def checkpoints(self) -> Path:
        """Folder of all checkpoints."""
        return self.folder / "checkpoints"

    @property
    def report(self) -> Path:
        """The report, one file."""
        return self.folder / "report.html"

    def figures(self, step: int) -> Path:
        """Folder of the figures drawn after ``step`` steps."""
        return self.folder / "figures" / f"{step:08d}"

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Read the metric lines of one kind (``"train"``, ``"evaluation"``) or of all."""
        lines = read_lines(self.folder / "metrics.jsonl")
        return [line for line in lines if kind in (None, line["kind"])]

    def environment(self) -> list[dict[str, Any]]:
        """Read what each session of the run ran on."""
        path = self.folder / "environment.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def add_session(self, facts: dict[str, Any]) -> None:
        """Append what a session runs on."""
        write_text(
            self.folder / "environment.json", json.dumps([*self.environment(), facts], indent=1) + "\n"
        )

    def build_recipe(self, *, restored: bool = True) -> Recipe[Any, Any]:
        """Build the recipe with the run's config.

        Args:
            restored: False builds it as for a new run, whose networks start from those of its base.
        """
        entry = get_recipe(self.recipe)
        config = config_from_dict(entry.config_class, self.config)
        return entry.build(config, preset=self.preset, restored=restored)

    def read_checkpoint(self, which: str | int = "newest") -> Checkpoint:
        """Read the ``"newest"`` whole checkpoint, the ``"best"`` one (else the newest), or that of a step.

        Raises:
            CheckpointError: If there is none, or it is damaged.
        """
        if isinstance(which, int):
            return read_checkpoint(step_folder(self.checkpoints, which))
        newest = newest_checkpoint(self.checkpoints)
        if newest is None:
            raise CheckpointError(
                f"the run {self.folder} has no checkpoint yet: {resume_command(self.folder)}."
            )
        best = newest.state["best"]
        if which == "best" and best is not None and best["step"] != newest.step:
            return read_checkpoint(step_folder(self.checkpoints, best["step"]))
        return newest

    def load_networks(self, which: str | int = "best", *, average: bool = True) -> dict[str, nn.Module]:
        """Build the recipe's networks with trained weights, on the CPU and in eval mode.

        Networks that only a training needs are left out where the checkpoint has none of their weights.

        Args:
            which: See :meth:`read_checkpoint`.
            average: True takes the moving average of the weights where the run has one.
        """
        checkpoint = self.read_checkpoint(which)
        recipe = self.build_recipe()
        networks = present_networks(recipe.networks(), checkpoint, recipe.training_only)
        load_weights(networks, checkpoint, "networks")
        spec = recipe.averages(networks).get(EVALUATED_AVERAGE)
        if average and spec and EVALUATED_AVERAGE in checkpoint.groups:
            load_weights({name: networks[name] for name in spec.networks}, checkpoint, EVALUATED_AVERAGE)
        for network in networks.values():
            network.eval()
        return networks


def resume_command(folder: Path) -> str:
    """The command that goes on with a run, in backquotes, ready to be pasted."""
    return f"`lineament resume {shlex.quote(str(folder))}`"


def check_free(folder: Path, overwrite: bool) -> None:
    """Check that a run can be made in a folder: it is empty, or not there, or may be overwritten.

    Raises:
        LineamentError: If it cannot.
    """
    if overwrite or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    go_on = f"go on with {resume_command(folder)}, " if (folder / CONFIG).exists() else ""
    raise LineamentError(
        f"the folder {folder} is not empty: {go_on}choose another with --run, or give --overwrite."
    )


def clear_run(folder: Path) -> None:
    """Remove what a run writes and nothing else: --overwrite on a wrong folder must not cost anybody their files."""
    for name in _ENTRIES:
        (folder / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def create_run(
    folder: Path,
    recipe: Recipe[Any, Any],
    precision: str,
    *,
    data: Sequence[str] = (),
    validation: Sequence[str] = (),
    overwrite: bool = False,
) -> Run:
    """Make a run directory and write its config.

    Raises:
        LineamentError: If the folder is not empty and ``overwrite`` is False, or it cannot be written.
    """
    try:
        check_free(folder, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        clear_run(folder)
        run = Run(
            folder,
            recipe.name,
            recipe.method,
            config_to_dict(recipe.config),
            precision,
            tuple(data),
            tuple(validation),
            recipe.preset,
            recipe.inherited,
        )
        values = {
            "format": FORMAT,
            "recipe": run.recipe,
            "method": run.method,
            "precision": run.precision,
            "data": list(run.data),
            "validation": list(run.validation),
            "preset": run.preset,
            "inherited": list(run.inherited),
            "config": run.config,
        }
        write_text(folder / CONFIG, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise LineamentError(
            f"cannot make the run directory {folder}: {error.strerror or error}; choose another with --run."
        ) from error
    return run


def open_run(path: str | Path) -> Run:
    """Open a run directory.

    Raises:
        LineamentError: If there is none at ``path``, or its config cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise LineamentError(
            f"there is no run directory {folder}: give the folder that `lineament train` wrote."
        )
    if not (folder / CONFIG).is_file():
        raise LineamentError(f"{folder} is not a run directory: it has no {CONFIG}.")
    try:
        values = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        found = int(values.get("format", 1))
        if found != FORMAT:
            raise CheckpointError(
                f"the run {folder} has format {found}, this version of lineament reads {FORMAT}: train it anew, or "
                "import the checkpoint it was made from again."
            )
        return Run(
            folder,
            str(values["recipe"]),
            str(values["method"]),
            dict(values["config"]),
            str(values["precision"]),
            tuple(values["data"]),
            tuple(values["validation"]),
            str(values["preset"]),
            tuple(values["inherited"]),
        )
    except (
        OSError,
        UnicodeDecodeError,
        yaml.YAMLError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        raise LineamentError(f"{folder / CONFIG} cannot be read as a run's config ({reason}).") from error

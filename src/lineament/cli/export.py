"""`lineament export`: a model for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import DataError, UsageError


@dataclass
class Command:
    """Write a model for other programs: one ONNX file, a program of torch.export, or a model folder.

    Of a run, a model folder, or a name (`lineament models`); `yunet` is the detector. Pre-processing, outputs and
    scheme are in the file's metadata (docs/export.md). What is written was run and compared with torch. Examples:
    `lineament export face-68 --onnx face-68.onnx`, `lineament export runs/marks --folder models/my-marks`.
    """

    # Run directory, model folder, or name of a model; yunet for the detector.
    model: Positional[str]
    # ONNX file to write; needs the extra `export`.
    onnx: Path | None = None
    # File (.pt2) to write a program of torch.export into.
    torch_export: Path | None = None
    # Model folder to write: weights.safetensors, model.json, card; its name is the model's.
    folder: Path | None = None
    # What people should know, a YAML file: summary, licence, data, training, limits, tags; for --folder.
    card: Path | None = None
    # Replace what is there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "export", arguments)
    files = [path for path in (command.onnx, command.torch_export) if path is not None]
    if not files and command.folder is None:
        raise UsageError("nothing to write is named: give --onnx FILE, --torch-export FILE, or --folder DIR.")
    if command.card is not None and command.folder is None:
        raise UsageError("--card belongs to --folder: files tell what the model's own card says.")
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file in it.")
        if path.exists() and not command.overwrite:
            raise DataError(f"{path} is there already: give --overwrite or another name.")
    if files:
        _write_files(command)
    if command.folder is not None:
        _write_folder(command, command.folder)
    return 0


def _write_files(command: Command) -> None:
    from lineament.pipeline.export.plain import open_plain
    from lineament.pipeline.export.write import write_onnx, write_pt2

    plain, facts = open_plain(command.model)
    for path, write in ((command.onnx, write_onnx), (command.torch_export, write_pt2)):
        if path is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        differences = write(plain, path, facts)
        said = ", ".join(
            f"{name} within {difference:.1e}"
            for name, difference in zip(plain.outputs, differences, strict=True)
            if name not in plain.jumping
        )
        print(f"wrote {path}: {path.stat().st_size / 1e6:.1f} MB, {said} of torch's")


def _write_folder(command: Command, folder: Path) -> None:
    from lineament.training.model_card import ModelCard, read_card
    from lineament.training.model_folder import write_model
    from lineament.training.models import open_trained

    run = open_trained(command.model)
    card = ModelCard() if command.card is None else read_card(command.card)
    model = write_model(run, folder, card, overwrite=command.overwrite)
    print(f"wrote {model.folder}: {model.summary}")

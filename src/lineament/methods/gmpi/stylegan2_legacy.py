"""Published networks of StyleGAN2-ADA as runs of the recipe `stylegan2`.

A file is a pickled dictionary with ``G``, ``D`` and ``G_ema``. Each is an object that carries the source of its class,
which is never run: only the tensors and plain settings of its state are collected. A dictionary of the same names whose
values are tensors by name is read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.errors import CheckpointError, UsageError
from lineament.interop.restricted_pickle import Inert
from lineament.interop.torch_file import TorchFile, read_torch_file
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import StyleGAN2Generator
from lineament.methods.gmpi.reference_names import from_reference, generator_sizes
from lineament.training.imported import ImportedModel, checked, unwritten_run
from lineament.training.run import Run

# These files are ordinary pickles.
PLAIN_PICKLES = True
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
# Published settings that a dictionary of tensors does not tell.
CLAMP, GROUP = 256.0, 4
# Entries of a published file that are left out, and why.
LEFT_OUT = {
    "G": "its moving average G_ema is taken",
    "training_set_kwargs": "names the data of another machine",
    "augment_pipe": "the augmentation of a training that has ended",
}


@dataclass
class _Network:
    """Tensors by their dotted names, and numbers and words that modules keep beside them, likewise."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def read_legacy(file: TorchFile) -> ImportedModel:
    """Recognise the networks of StyleGAN2-ADA.

    Args:
        file: Contents of the file, with foreign classes inert.

    Raises:
        CheckpointError: If it holds something else, or its weights do not fit together; the message is the rest of a
            sentence about the file.
    """
    record = file.data
    if isinstance(record, tuple | list) and len(record) == 3:
        raise CheckpointError(
            "it holds three networks (G, D, Gs) of the TensorFlow version: convert it to a .pkl of StyleGAN2-ADA for "
            "PyTorch first, with that program's own legacy.py"
        )
    if not isinstance(record, Mapping) or "G_ema" not in record:
        raise CheckpointError("it holds no dictionary with G_ema and D, as StyleGAN2-ADA saves its networks")
    if "D" not in record:
        raise CheckpointError("it has no discriminator D, without which nothing can be trained on it")
    found = {name: network(record[name], name) for name in ("G_ema", "D")}
    generator, discriminator = found["G_ema"], found["D"]
    fields = _fields(generator, discriminator)
    shared = {name: fields[name] for name in ("channel_base", "channel_max")}
    clamp = fields["conv_clamp"] or None
    try:
        with torch.device("meta"):
            expected = {
                "generator": StyleGAN2Generator(
                    fields["resolution"],
                    z_dim=fields["latent"],
                    w_dim=fields["latent"],
                    mapping_layers=fields["mapping_layers"],
                    conv_clamp=clamp,
                    **shared,
                ).state_dict(),
                "discriminator": Discriminator(
                    fields["resolution"], std_group=fields["std_group"], conv_clamp=clamp, **shared
                ).state_dict(),
            }
    except UsageError as error:
        raise CheckpointError(str(error).rstrip(".")) from error
    weights = {f"generator/{key}": value for key, value in from_reference(generator.tensors).items()}
    weights |= {f"discriminator/{key}": value for key, value in from_reference(discriminator.tensors).items()}
    facts = {
        "generator": f"{fields['resolution']} px, latents of {fields['latent']}, the moving average G_ema",
        "discriminator": f"{sum(value.numel() for value in discriminator.tensors.values()):,} numbers",
    }
    ignored = {
        str(name)[:40]: LEFT_OUT.get(str(name), "not part of a published file")
        for name in record
        if name not in found
    }
    return checked(ImportedModel("stylegan2", fields, weights, 0, facts, ignored), expected)


def read_base(path: Path) -> Run:
    """A published file as a run to build on, read where it lies.

    Raises:
        CheckpointError: If it cannot be read or holds something else.
    """
    file = read_torch_file(path, plain=PLAIN_PICKLES)
    try:
        return unwritten_run(path, read_legacy(file))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {str(error).rstrip('.')}.") from error


def network(stored: Any, name: str) -> _Network:
    """Collect the tensors of a stored network.

    Args:
        stored: A dictionary of tensors by name, or the record of a persistent object.
        name: Of it, for messages.

    Raises:
        CheckpointError: If it is neither.
    """
    made = _Network()
    if isinstance(stored, Mapping):
        for key, value in stored.items():
            if not isinstance(key, str) or not isinstance(value, Tensor):
                raise CheckpointError(f"its part {name} holds something else than tensors by name")
            made.tensors[key] = value
        return made
    _collect(stored, "", made, name)
    return made


def _collect(stored: Any, prefix: str, made: _Network, name: str) -> None:
    state = stored.state if isinstance(stored, Inert) else None
    if isinstance(stored, Inert) and stored.foreign_name == PERSISTENT:
        meta = stored.arguments[0] if stored.arguments else None
        state = meta.get("state") if isinstance(meta, Mapping) else None
    if not isinstance(state, Mapping):
        where = f"{name}.{prefix}".rstrip(".")
        raise CheckpointError(f"its part {where[:60]} is no network of StyleGAN2-ADA")
    for group in ("_parameters", "_buffers"):
        for key, value in _items(state.get(group)):
            if isinstance(value, Tensor):
                made.tensors[f"{prefix}{key}"] = value
    for key, value in state.items():
        if isinstance(value, int | float | str | None):
            made.settings[f"{prefix}{key}"] = value
    for key, value in _items(state.get("_modules")):
        if value is not None:
            _collect(value, f"{prefix}{key}.", made, name)


def _items(group: Any) -> list[tuple[Any, Any]]:
    return list(group.items()) if isinstance(group, Mapping) else []


def _fields(generator: _Network, discriminator: _Network) -> dict[str, Any]:
    """Fields of the config, from the shapes of the weights."""
    tensors = generator.tensors
    if "mapping.embed.weight" in tensors or any(key.startswith("mapping.") for key in discriminator.tensors):
        raise CheckpointError("its networks are conditional on a class, which this method has not")
    sizes = generator_sizes(tensors)
    clamp = generator.settings.get(f"synthesis.b{sizes['resolution']}.conv1.conv_clamp", CLAMP)
    group = discriminator.settings.get("b4.mbstd.group_size", GROUP)
    return {
        **sizes,
        "conv_clamp": float(clamp) if isinstance(clamp, int | float) else 0.0,
        "std_group": group if isinstance(group, int) and 0 < group <= 64 else GROUP,
    }

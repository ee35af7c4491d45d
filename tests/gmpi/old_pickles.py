"""Files in the layout of StyleGAN2-ADA: modules that pickle themselves with the source of their class."""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import StyleGAN2Generator
from lineament.nn.upfirdn import TAPS, fir_filter


def _reconstruct_persistent_obj(meta: Any) -> None:
    raise AssertionError("a file was executed")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Persistent:
    """What pickles as a persistent module: its tensors and settings, and a source that must never run."""

    def __init__(self, settings: Mapping[str, Any] = {}) -> None:
        self.state: dict[str, Any] = {
            **settings,
            "training": False,
            "_parameters": OrderedDict(),
            "_buffers": OrderedDict(),
            "_modules": OrderedDict(),
        }

    def child(self, name: str) -> Persistent:
        modules = self.state["_modules"]
        return modules.setdefault(name, Persistent())

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Any]]:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit('a file was executed')",
            "class_name": "Layer",
            "state": self.state,
        }
        return _reconstruct_persistent_obj, (meta,)


def persistent(network: nn.Module, settings: Mapping[str, Any]) -> Persistent:
    """A network of ours as a persistent one; ``settings`` by dotted name."""
    made = Persistent()
    parameters = dict(network.named_parameters())

    def holder(name: str) -> tuple[Persistent, str]:
        place, last = made, name.split(".")
        for part in last[:-1]:
            place = place.child(part)
        return place, last[-1]

    for name, value in network.state_dict().items():
        place, last = holder(name)
        if name in parameters:
            place.state["_parameters"][last] = nn.Parameter(value.clone())
        else:
            place.state["_buffers"][last] = value.clone()
        # As published, layers that resample, and the others too, keep their filter.
        if last == "weight" and ".conv" in f".{name}":
            place.state["_buffers"]["resample_filter"] = fir_filter(TAPS)
    for name, value in settings.items():
        place, last = holder(name)
        place.state[last] = value
    return made


def networks(
    resolution: int = 32, latent: int = 12, **sizes: Any
) -> tuple[StyleGAN2Generator, Discriminator]:
    """Random networks with a mean style."""
    torch.manual_seed(0)
    sizes = {"channel_base": 256, "channel_max": 16} | sizes
    generator = StyleGAN2Generator(resolution, z_dim=latent, w_dim=latent, mapping_layers=3, **sizes)
    generator.mapping.w_avg.normal_()
    return generator, Discriminator(resolution, **sizes)


def published(generator: nn.Module, discriminator: nn.Module, resolution: int, **more: Any) -> dict[str, Any]:
    """What a published file holds."""
    clamps = {f"synthesis.b{resolution}.conv1.conv_clamp": 256}
    return {
        "G": persistent(generator, clamps),
        "D": persistent(discriminator, {"b4.mbstd.group_size": 2}),
        "G_ema": persistent(generator, clamps),
        "training_set_kwargs": {"path": "/data/faces.zip"},
        "augment_pipe": None,
        **more,
    }


def write(path: Path, value: Any) -> Path:
    """Pickle with the module of the persistent function there, which is gone when it is read."""
    names = ("torch_utils", "torch_utils.persistence")
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    sys.modules[names[1]]._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    try:
        path.write_bytes(pickle.dumps(value))
    finally:
        for name in names:
            del sys.modules[name]
    return path


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """A plain dictionary of a network's tensors."""
    return {name: value.clone() for name, value in network.state_dict().items()}

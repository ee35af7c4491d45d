"""Checkpoints in the layout of the published GMPI: folders of torch files, averages as lists without names."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lineament.methods.gmpi.alpha import VARIANTS
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.planes import make_planes, normalised_depths
from lineament.methods.gmpi.reference_names import reference_name, reference_parameters
from lineament.nn.upfirdn import TAPS, fir_filter

THIN: dict[str, Any] = {"channel_base": 1024, "channel_max": 8}


def thin_generator(variant: str = "plane-depth", planes: int = 4, resolution: int = 256) -> GMPIGenerator:
    """A random generator with a mean style."""
    network = GMPIGenerator(
        resolution,
        normalised_depths(make_planes(SCENES["ffhq256"], planes)),
        variant=variant,
        z_dim=8,
        w_dim=8,
        mapping_layers=2,
        **THIN,
    )
    network.mapping.w_avg.normal_()
    return network.eval()


def thin_discriminator(resolution: int = 256, pose_dim: int = 16) -> Discriminator:
    return Discriminator(resolution, pose_dim=pose_dim, **THIN)


def published_state(network: nn.Module) -> dict[str, Tensor]:
    """Weights by published names, with the constants that the published networks keep beside them."""
    state = {reference_name(name): value.clone() for name, value in network.state_dict().items()}
    for name, value in list(state.items()):
        place, _, last = name.rpartition(".")
        if last == "noise_const" or (not name.startswith(("synthesis", "mapping")) and last == "weight"):
            state[f"{place}.resample_filter"] = fir_filter(TAPS)
        if last == "pos_enc_embed_learnable_param":
            state[f"{name}_left_append"] = torch.zeros(1, 1, *value.shape[2:])
    return state


def average_of(network: nn.Module, decay: float = 0.999, updates: int = 12) -> dict[str, Any]:
    """A moving average as torch_ema saves it."""
    shadow = [parameter.detach().clone() for parameter in reference_parameters(network).values()]
    return {"decay": decay, "num_updates": updates, "shadow_params": shadow, "collected_params": None}


def settings(variant: str = "plane-depth", data_set: str = "FFHQ256", **more: Any) -> dict[str, Any]:
    """Nested settings as config.pth holds them."""
    condition, function = VARIANTS[variant].pair
    return {
        "config": {
            "run_dataset": data_set,
            "MODEL": {
                "torgba_cond_on_pos_enc": condition,
                "torgba_cond_on_pos_enc_embed_func": function,
                **more,
            },
        }
    }


def write_folder(folder: Path, **parts: Any) -> Path:
    """Save each part as ``PART.pth``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in parts.items():
        torch.save(value, folder / f"{name}.pth")
    return folder


def whole(variant: str = "plane-depth", planes: int = 4, seed: int = 0) -> dict[str, Any]:
    """All parts of a checkpoint; its two averages and its generator differ."""
    torch.manual_seed(seed)
    raw, quick, slow = (thin_generator(variant, planes) for _ in range(3))
    return {
        "generator": published_state(raw),
        "ema": average_of(quick, 0.999),
        "ema2": average_of(slow, 0.9999),
        "discriminator": published_state(thin_discriminator()),
        "config": settings(variant),
    }


def as_object(record: dict[str, Any], path: Path) -> None:
    """Save a moving average as a whole object, of a class that is gone when it is read."""
    module = types.ModuleType("torch_ema_gone")
    kind = type("ExponentialMovingAverage", (), {"__module__": module.__name__})
    module.ExponentialMovingAverage = kind  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    try:
        made = kind()
        made.__dict__.update(record)
        torch.save(made, path)
    finally:
        del sys.modules[module.__name__]

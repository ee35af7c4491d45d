"""Writes files as the published trainer did: records with a config, from this or the older generation."""

from __future__ import annotations

import argparse
import pathlib
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lineament.methods.dve.regressor import LandmarkRegressor

SMALLNET_CONFIG: dict[str, Any] = {
    "arch": {"type": "SmallNet", "args": {"num_output_channels": 16}},
    "dataset": {
        "type": "CelebAPrunedAligned_MAFLVal",
        "args": {"imwidth": 100, "crop": 15, "root": "data/celeba"},
    },
    "warper": {"type": "Warper", "args": {}},
    "batch_size": 32,
    "loss": "dense_correlation_loss_dve",
    "loss_args": {"normalize_vectors": False},
    "optimizer": {"type": "Adam", "args": {"lr": 0.001, "weight_decay": 0, "amsgrad": True}},
    "bias_lr": 1e-5,
    "lr_scheduler": {"type": "MultiStepLR", "args": {"milestones": [70, 90], "gamma": 0.1}},
    "trainer": {"epochs": 100, "save_dir": "saved/", "monitor": "off"},
}


def landmark_config(channels: int, landmarks: int, intermediate: int, sharpness: float) -> dict[str, Any]:
    """A config of the landmark runs, with the stray word some of them hold."""
    args = {
        "descriptor_dimension": channels,
        "num_annotated_points": landmarks,
        "num_intermediate_points": intermediate,
        "softargmax_mul": sharpness,
    }
    return {
        **SMALLNET_CONFIG,
        "dataset": {"type": "MAFLAligned", "args": {"imwidth": 100, "crop": 15}},
        "keypoint_regressor": {"type": "IntermediateKeypointPredictor", "args": args},
        "softmaxarg_mul": 7,
        "loss": "regression_loss",
        "loss_args": {"alpha": 10.0},
    }


def pickled_config(values: dict[str, Any]) -> Any:
    """A config object of a class that is gone when the file is read; call :func:`forget_class` after saving."""
    module = types.ModuleType("parse_config")

    class ConfigParser:
        def __init__(self) -> None:
            self._config = OrderedDict(values)
            self._save_dir = pathlib.PurePosixPath("saved/models/exp/2019-08-02_06-20-13")
            self.resume = None
            self._args = argparse.Namespace(config="configs/celeba/smallnet-16d.json", device=None)

    ConfigParser.__module__, ConfigParser.__qualname__ = "parse_config", "ConfigParser"
    module.ConfigParser = ConfigParser  # type: ignore[attr-defined]
    sys.modules["parse_config"] = module
    return ConfigParser()


def write_checkpoint(
    path: Path,
    state: dict[str, Tensor],
    config: Any = None,
    *,
    pickled: bool = False,
    zipped: bool = True,
    **record: Any,
) -> Path:
    """Save a record as the published trainer did; ``pickled`` stores the config as an object."""
    values = {
        "arch": "SmallNet",
        "epoch": 100,
        "state_dict": OrderedDict(state),
        "monitor_best": 0.5,
        **({"config": pickled_config(config) if pickled else config} if config is not None else {}),
        **record,
    }
    try:
        torch.save(values, path, _use_new_zipfile_serialization=zipped)
    finally:
        sys.modules.pop("parse_config", None)
    return path


def sequence_state(
    base: dict[str, Tensor], regressor: dict[str, Tensor], *, upsample: bool = False, dead: bool = True
) -> dict[str, Tensor]:
    """State of a whole landmark model; with the unused weights unless the regressor has its own."""
    state = {f"0.wrapped_module.{key}": value for key, value in base.items()}
    place = 2 if upsample else 1
    state |= {f"{place}.{key}": value for key, value in regressor.items()}
    if dead and f"{place}.descriptors" not in state:
        outer = regressor["reg_conv.weight"]
        state[f"{place}.descriptors"] = regressor["inner_conv.weight"]
        for index in range(len(outer) // 2):
            state[f"{place}.linear.{index}.weight"] = torch.zeros(2, outer.shape[1])
    return state


def regressor_state(channels: int, landmarks: int = 5, intermediate: int = 6) -> dict[str, Tensor]:
    """Random live weights of a regressor."""
    return dict(LandmarkRegressor(channels, landmarks, intermediate).state_dict())


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch normalisation other statistics than its start, so that they must be read."""
    generator = torch.Generator().manual_seed(seed)
    for key, value in network.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return network.eval()

"""Published checkpoints of Descriptor Vector Exchange, of both generations, as models of this package.

A file holds ``arch``, ``epoch``, ``state_dict``, ``optimizer`` and ``config``. The weights are those of a descriptor
network, or of a sequence of network, optional upsampling and landmark regressor (``0.wrapped_module.*``, then ``1.*``
or ``2.*``); any of it may have been saved from a parallel wrapper (``module.*``). What kind of network it is follows
from names and shapes; what the weights cannot tell comes from the config.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lineament.errors import CheckpointError
from lineament.faces.schemes import builtin_schemes
from lineament.interop.torch_file import TorchFile
from lineament.methods.dve.legacy_config import (
    LegacyConfig,
    descriptor_fields,
    facts,
    frame_fields,
    read_config,
    shown,
    training_fields,
)
from lineament.methods.dve.model import build_backbone
from lineament.methods.dve.regressor import LandmarkRegressor
from lineament.training.imported import ImportedModel, checked
from lineament.training.registry import recipes

WRAPPER = "module."
BASE = "0.wrapped_module."
# Weights of the regressor that its forward pass never used: an older implementation kept beside the live one.
DEAD = re.compile(r"descriptors|linear\.\d+\.weight")
DEAD_REASON = "never used by the published forward pass"
LARGEST_STEP = 10**9

State = dict[str, Tensor]


def read_legacy(file: TorchFile) -> ImportedModel:
    """Recognise an old checkpoint.

    Args:
        file: Contents of the file, with foreign classes inert.

    Raises:
        CheckpointError: If it is not a checkpoint of this method, or its weights do not fit together; the message is
            the rest of a sentence about the file.
    """
    record, state = _state_dict(file.data)
    config = read_config(record.get("config"))
    base, regressor, upsample, ignored = _split(state, record)
    backbone, channels = _network(base, record)
    kind = backbone.partition("-")[0]
    if kind == "smallnet" and not config.flag("arch.args.do_maxpool", True):
        raise CheckpointError(
            "it is a SmallNet without max-pooling (do_maxpool false), which no recipe here trains"
        )
    fields: dict[str, Any] = {"backbone": backbone, "channels": channels, **frame_fields(config, kind)}
    found = {
        "architecture": shown(record.get("arch", "not named")),
        "network": f"{_words(backbone)}, {channels} dimensions",
    }
    with torch.device("meta"):
        expected = {"descriptor": build_backbone(backbone, channels).state_dict()}
    weights = {f"descriptor/{key}": value for key, value in base.items()}
    if regressor:
        landmarks, intermediate = _regressor_sizes(regressor, channels)
        fields |= _landmark_fields(config, landmarks, intermediate, upsample)
        with torch.device("meta"):
            live = LandmarkRegressor(channels, landmarks, intermediate).state_dict()
        expected["regressor"] = live
        weights |= {f"regressor/{key}": value for key, value in regressor.items()}
        found["regressor"] = f"{landmarks} landmarks, {intermediate} intermediate points each" + (
            ", descriptors upsampled twice" if upsample else ""
        )
        recipe = "dve-landmarks"
    else:
        fields |= descriptor_fields(config)
        recipe = _descriptor_recipe(backbone, channels, fields["exchange"])
    epoch, step = _progress(record)
    found |= {"epoch": "not told" if epoch is None else shown(epoch), **facts(config)}
    if "optimizer" in record:
        ignored["optimizer"] = "its state does not fit this package's training loop"
    if record.get("monitor_best") is not None:
        ignored["monitor_best"] = f"the old trainer's best value, {shown(record['monitor_best'])}"
    return checked(ImportedModel(recipe, fields, weights, step, found, ignored), expected)


def _state_dict(data: Any) -> tuple[Mapping[str, Any], State]:
    """The record around the weights, and the weights without the prefix of parallel wrappers."""
    if not isinstance(data, Mapping):
        raise CheckpointError(f"it holds {shown(data)!r} instead of a dictionary with a state_dict")
    record = data if "state_dict" in data else {"state_dict": data}
    stored = record["state_dict"]
    if not isinstance(stored, Mapping) or not stored:
        raise CheckpointError(f"its state_dict is {shown(type(stored).__name__)} without weights")
    for key, value in stored.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            names = ", ".join(shown(name, 20) for name in list(data)[:6])
            raise CheckpointError(f"it has no state_dict of named weights (its entries are {names})")
    return record, _unwrapped(dict(stored))


def _unwrapped(state: State) -> State:
    while state and all(key.startswith(WRAPPER) for key in state):
        state = {key.removeprefix(WRAPPER): value for key, value in state.items()}
    return state


def _split(state: State, record: Mapping[str, Any]) -> tuple[State, State, bool, dict[str, str]]:
    """Descriptor network, live weights of the regressor, whether the descriptors are upsampled, what is ignored."""
    if not any(key.startswith(BASE) for key in state):
        return state, {}, False, {}
    base = _unwrapped({key.removeprefix(BASE): value for key, value in state.items() if key.startswith(BASE)})
    rest = {key: value for key, value in state.items() if not key.startswith(BASE)}
    if any(".classifier." in key for key in rest):
        raise CheckpointError("it holds the experimental segmentation head, which is not imported")
    places = sorted({key.partition(".")[0] for key in rest})
    if places not in (["1"], ["2"]):
        raise CheckpointError(
            f"its sequence has weights at the places {shown(', '.join(places) or 'none')} where a regressor at 1 or 2 "
            "is expected"
        )
    regressor: State = {}
    dead: list[str] = []
    for key, value in rest.items():
        name = key.partition(".")[2]
        if DEAD.fullmatch(name):
            dead.append(name)
        else:
            regressor[name] = value
    kinds = Counter(re.sub(r"\d+", "*", name) for name in dead)
    ignored = {
        f"{places[0]}.{kind} ({count} weight{'s' if count > 1 else ''})": DEAD_REASON
        for kind, count in kinds.items()
    }
    return base, regressor, places == ["2"], ignored


def _network(state: State, record: Mapping[str, Any]) -> tuple[str, int]:
    """Name of the network and its dimensions, from the names and shapes of its weights."""
    if {"conv6.weight", "conv5.0.weight"} <= state.keys():
        return "smallnet", _outputs(state["conv6.weight"])
    if {"output_layers.0.4.weight", "hg.0.layer1_4.0.conv1.weight"} <= state.keys():
        if any(key.startswith("hg.1.") for key in state):
            raise CheckpointError("its hourglass has several stacks; every published one has a single stack")
        words = ["hourglass"]
        if "bn1.running_mean" not in state:
            words.append("gn")
        if "normscale" in state:
            words.append("scaled")
        return "-".join(words), _outputs(state["output_layers.0.4.weight"])
    names = ", ".join(shown(key, 30) for key in list(state)[:3])
    raise CheckpointError(
        f"it is not a checkpoint of Descriptor Vector Exchange: its weights are named {names} ... "
        f"(architecture {shown(record.get('arch', 'not named'))})"
    )


def _outputs(weight: Tensor) -> int:
    if weight.ndim != 4 or not len(weight):
        raise CheckpointError(f"its last convolution has the shape {tuple(weight.shape)}")
    return len(weight)


def _words(backbone: str) -> str:
    kind, *variants = backbone.split("-")
    if kind == "smallnet":
        return "SmallNet"
    norm = "group norm" if "gn" in variants else "batch norm"
    return f"Hourglass with {norm}" + (" and scaled output" if "scaled" in variants else "")


def _regressor_sizes(state: State, channels: int) -> tuple[int, int]:
    """Landmarks and intermediate points per landmark."""
    for name in ("inner_conv.weight", "reg_conv.weight"):
        if name not in state or state[name].ndim != 4:
            raise CheckpointError(f"its landmark regressor lacks a convolution {name!r}")
    inner, outer = state["inner_conv.weight"], state["reg_conv.weight"]
    landmarks, intermediate = outer.shape[0] // 2, outer.shape[1] // 2
    wanted = ((landmarks * intermediate, channels, 1, 1), (2 * landmarks, 2 * intermediate, 1, 1))
    if not landmarks * intermediate or (tuple(inner.shape), tuple(outer.shape)) != wanted:
        raise CheckpointError(
            f"its landmark regressor has weights {tuple(inner.shape)} and {tuple(outer.shape)} that do not fit "
            f"{channels} dimensions"
        )
    return landmarks, intermediate


def _landmark_fields(
    config: LegacyConfig, landmarks: int, intermediate: int, upsample: bool
) -> dict[str, Any]:
    told = training_fields(config)
    return {
        **told,
        "fit": "paper",
        "scheme": str(landmarks) if str(landmarks) in builtin_schemes() else f"points-{landmarks}",
        "intermediate": intermediate,
        "softargmax": float(
            config.number("keypoint_regressor.args.softargmax_mul", _sharpness(config), 0, 1e6)
        ),
        "alpha": float(config.number("loss_args.alpha", 10.0, 0, 1e6)),
        "upsample": upsample,
        # The published regressors saw one unmoved, unchanged view of each image.
        "views": 1,
        "mirror": 0.0,
        "flip_tta": False,
        "look": False,
        "box_jitter": 0.0,
        "warp_translation": 0.0,
        "warp_scale": 0.0,
        "warp_rotation": 0.0,
        "warp_kernel": 0.0,
    }


def _sharpness(config: LegacyConfig) -> float:
    """The factor where the config names none: the class's own default, or that of all published configs."""
    return 50.0 if config.get("keypoint_regressor.args") is not None else 100.0


def _descriptor_recipe(backbone: str, channels: int, exchange: bool) -> str:
    """The registered recipe whose defaults come nearest."""
    kind = backbone.partition("-")[0]
    suffix = "" if exchange else "-dense"
    nearest = f"dve-{kind}-{16 if kind == 'smallnet' else 64}d"
    wanted = [f"dve-{kind}-{channels}d{suffix}", nearest + suffix, nearest]
    known = recipes("dve-*")
    return next((name for name in wanted if name in known), nearest)


def _progress(record: Mapping[str, Any]) -> tuple[int | None, int]:
    """Epoch, and optimiser steps where the optimiser's state tells them (else the epoch)."""
    stored = record.get("epoch")
    epoch = stored if isinstance(stored, int) and not isinstance(stored, bool) and stored >= 0 else None
    optimizer = record.get("optimizer")
    state = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    steps = []
    for entry in state.values() if isinstance(state, Mapping) else ():
        value = entry.get("step") if isinstance(entry, Mapping) else None
        if isinstance(value, Tensor):
            value = value.item() if value.numel() == 1 and bool(value.isfinite().all()) else None
        if isinstance(value, int | float) and 0 <= value <= LARGEST_STEP:
            steps.append(int(value))
    return epoch, max(steps, default=min(epoch or 0, LARGEST_STEP))

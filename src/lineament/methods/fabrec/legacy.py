"""Published snapshots of 3FabRec as models of this package.

A snapshot is a folder with ``saae.mdl`` (``arch``, ``z_dim``, ``input_size``, ``state_dict`` with the prefixes ``Q.``,
``P.``, ``D_z.``, ``D.`` and, where it knows landmarks, ``LMH.``) and ``meta.json`` (``epoch``, ``total_iter`` ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lineament.errors import CheckpointError
from lineament.faces.schemes import builtin_schemes
from lineament.interop.torch_file import TorchFile
from lineament.methods.fabrec.model import PREFIXES, SIZES, Fabrec, Layout
from lineament.methods.fabrec.recipe import NETWORKS
from lineament.training.imported import ImportedModel, checked

# Names of the weights of a snapshot and of the facts beside them.
FOLDER = ("saae.mdl", "meta.json")
LARGEST_STEP = 10**9

State = dict[str, Tensor]


def read_legacy(file: TorchFile, meta: Mapping[str, Any] | None = None) -> ImportedModel:
    """Recognise a snapshot.

    Args:
        file: Contents of ``saae.mdl``, with foreign classes inert.
        meta: Contents of ``meta.json``; None where only the weights are there.

    Raises:
        CheckpointError: If it is not a snapshot of this method, or its weights do not fit together; the message is the
            rest of a sentence about the file.
    """
    record = file.data
    if not isinstance(record, Mapping) or not isinstance(record.get("state_dict"), Mapping):
        raise CheckpointError("it holds no dictionary with a state_dict")
    meta = meta or {}
    parts = _parts(record["state_dict"])
    landmarks = _landmarks(parts.get("transfer", {}))
    code = _whole(record.get("z_dim", meta.get("z_dim")), len(parts["encoder"]["fc.bias"]), "z_dim")
    size = _whole(record.get("input_size", meta.get("input_size")), 256, "input_size")
    if size not in SIZES[1:]:
        raise CheckpointError(f"its input_size is {size} where 128, 256 or 512 is expected")
    width = _width(parts["encoder"])
    layout = Layout(size, width, code)
    with torch.device("meta"):
        whole = Fabrec(layout, landmarks).networks()
    names = ("encoder", "decoder", "transfer") if landmarks else NETWORKS
    expected: dict[str, dict[str, Tensor]] = {name: whole[name].state_dict() for name in names}
    weights = {f"{name}/{key}": value for name in names for key, value in parts.get(name, {}).items()}
    step = _step(meta)
    found = {
        "architecture": str(record.get("arch", "not named"))[:40],
        "picture": f"{size} px, code of {code}",
        "landmarks": str(landmarks) if landmarks else "none (autoencoder)",
        "epochs": str(meta.get("epoch", "not told"))[:20],
    }
    fields: dict[str, Any] = {
        "base": "random",
        "size": size,
        "width": width,
        "code": code,
        "resampling": "paper",
    }
    ignored = {}
    if landmarks:
        for name in ("code_discriminator", "image_discriminator"):
            if name in parts:
                ignored[f"{PREFIXES[name]}.*"] = "not needed for landmarks"
        scheme = str(landmarks) if str(landmarks) in builtin_schemes() else f"points-{landmarks}"
        fields |= {"scheme": scheme, "heatmaps": "paper", "flip_tta": False, "augmentation": 0}
    else:
        fields |= {"value_range": "paper"}
    for key in sorted(record.keys() - {"arch", "z_dim", "input_size", "state_dict"}, key=str):
        ignored[str(key)[:40]] = "not part of a published snapshot"
    recipe = "fabrec-landmarks" if landmarks else "fabrec-ae"
    return checked(ImportedModel(recipe, fields, weights, step, found, ignored), expected)


def _parts(state: Mapping[Any, Any]) -> dict[str, State]:
    """Weights of each network without their prefix."""
    names = {prefix: name for name, prefix in PREFIXES.items()}
    parts: dict[str, State] = {}
    for key, value in state.items():
        prefix, _, rest = str(key).removeprefix("module.").partition(".")
        if not isinstance(value, Tensor) or prefix not in names or not rest:
            raise CheckpointError(
                f"it is not a snapshot of 3FabRec: its entry {str(key)[:40]!r} is no weight of "
                f"{', '.join(names)}"
            )
        parts.setdefault(names[prefix], {})[rest] = value
    for name in ("encoder", "decoder"):
        if name not in parts:
            raise CheckpointError(f"it lacks the weights of {PREFIXES[name]} (the {name})")
    if parts["encoder"].get("fc.bias", torch.empty(0)).ndim != 1 or not len(
        parts["encoder"].get("fc.bias", ())
    ):
        raise CheckpointError("it lacks the weight 'fc.bias' of Q (the encoder)")
    return parts


def _landmarks(state: State) -> int:
    if not state:
        return 0
    weight = state.get("lin.weight")
    if weight is None or weight.ndim != 4 or not weight.shape[1]:
        raise CheckpointError("its landmark head has no weight 'lin.weight' with four dimensions")
    return int(weight.shape[1])


def _width(state: State) -> int:
    weight = state.get("conv1.weight")
    if weight is None or weight.ndim != 4 or weight.shape[0] < 2 or weight.shape[0] % 2:
        raise CheckpointError("the first convolution of Q (the encoder) is missing or of an odd width")
    return int(weight.shape[0])


def _whole(value: Any, default: int, name: str) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10_000:
        raise CheckpointError(f"its {name} is {str(value)[:40]!r} instead of a whole number")
    return value


def _step(meta: Mapping[str, Any]) -> int:
    value = meta.get("total_iter", 0)
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_STEP else 0
    )

"""Published checkpoints of DepthNets and AIGN, as models of this package.

A file is a dictionary with ``g``, ``d``, ``optim_g``, ``optim_d`` and ``epoch``, or, the older ones and all of AIGN, a
pair (g, d) of weights. Which network it is follows from names and shapes. How the affine map was solved is not told:
the sigma runs of the same network have the same weights, so the closed form without damping is taken and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lineament.errors import CheckpointError
from lineament.interop.torch_file import TorchFile
from lineament.methods.depthnet.aign import MAP_SIZE, Aign, SpectralCritic
from lineament.methods.depthnet.model import KEYPOINTS, Critic, DepthNet, LearntAffineDepthNet
from lineament.methods.depthnet.recipe import PUBLISHED_STEPS
from lineament.training.imported import ImportedModel, checked

State = dict[str, Tensor]
# Steps of one published epoch (13,671 faces in batches of 32).
STEPS_PER_EPOCH = PUBLISHED_STEPS // 100
LARGEST_EPOCH = 10**6


def read_legacy(file: TorchFile) -> ImportedModel:
    """Recognise an old checkpoint.

    Args:
        file: Contents of the file, with foreign classes inert.

    Raises:
        CheckpointError: If it is not a checkpoint of this method, or its weights do not fit together; the message is
            the rest of a sentence about the file.
    """
    generator, critic, record = _parts(file.data)
    epoch = record.get("epoch")
    known = isinstance(epoch, int) and not isinstance(epoch, bool) and 0 <= epoch <= LARGEST_EPOCH
    step = int(epoch) * STEPS_PER_EPOCH if known else 0  # type: ignore[arg-type]
    found = {
        "form": "dictionary" if record else "pair of weights",
        "epoch": str(epoch) if known else "not told",
    }
    ignored = {
        name: "its state is keyed by objects of the old program"
        for name in ("optim_g", "optim_d")
        if name in record
    }
    read = _aign if "rot_model.0.weight" in generator else _depthnet
    return read(generator, critic, step, found, ignored)


def _parts(data: Any) -> tuple[State, State, Mapping[str, Any]]:
    """Weights of the network and of the critic, and the record around them (empty for a pair)."""
    if isinstance(data, Mapping) and "g" in data:
        return _state(data["g"], "g"), _state(data.get("d") or {}, "d"), data
    if isinstance(data, tuple | list) and len(data) == 2:
        return _state(data[0], "first"), _state(data[1], "second"), {}
    if isinstance(data, tuple | list) and len(data) == 4:
        raise CheckpointError("it holds four networks: a CycleGAN of DepthNets, which is not imported")
    raise CheckpointError("it is neither a dictionary with g and d nor a pair of weights, as DepthNets saved")


def _state(stored: Any, place: str) -> State:
    if not isinstance(stored, Mapping):
        raise CheckpointError(f"its part {place!r} is {type(stored).__name__!r} instead of weights by name")
    for key, value in stored.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"its part {place!r} holds something else than weights by name")
    return {key.removeprefix("module."): value for key, value in stored.items()}


def _depthnet(
    generator: State, critic: State, step: int, found: dict[str, str], ignored: dict[str, str]
) -> ImportedModel:
    learnt = "fc_z.weight" in generator
    prefix = "extractor" if learnt else "fc"
    widths = _widths(generator, prefix, 0 if learnt else 1)
    network = LearntAffineDepthNet if learnt else DepthNet
    keypoints = _rows(generator, "fc_z.weight" if learnt else f"fc.{3 * len(widths)}.weight")
    if keypoints != KEYPOINTS:
        raise CheckpointError(f"its network gives {keypoints} depths; the published ones give {KEYPOINTS}")
    found["network"] = ("depth and affine map (sd5_learnm)" if learnt else "depth (shallowd5)") + (
        f", hidden layers {', '.join(map(str, widths))}"
    )
    fields: dict[str, Any] = {"widths": widths, "solve": "learnt" if learnt else "fixed"}
    if not learnt:
        found["solve"] = (
            "not told by the file: closed form without damping is taken (runs named sigma0.05 need legacy)"
        )
    weights = _named("generator", _counted(generator))
    with torch.device("meta"):
        expected = {"generator": network(widths=widths).state_dict()}
    critic_widths = _widths(critic, "disc", 1) if critic else ()
    if len(critic_widths) == 4 and critic_widths[0] > 32:
        found["critic"] = f"hidden layers {', '.join(map(str, critic_widths))}"
        fields |= {"critic": True, "penalty": 0.1, "critic_widths": critic_widths}
        weights |= _named("critic", _counted(critic))
        with torch.device("meta"):
            expected["critic"] = Critic(widths=critic_widths).state_dict()
    elif critic:
        ignored["d"] = (
            f"a small critic ({', '.join(map(str, critic_widths))}) of the runs without one: never trained"
        )
    kind = "wgan.dnorm0.1" if fields.get("critic") else "nogan"
    recipe = f"depthnet-exp1.lamb1.sd5.{kind}.{'learnm' if learnt else 'sigma0.fixm'}"
    return checked(ImportedModel(recipe, fields, weights, step, found, ignored), expected)


def _aign(
    generator: State, critic: State, step: int, found: dict[str, str], ignored: dict[str, str]
) -> ImportedModel:
    spectral = any(key.endswith("weight_bar") for key in critic)
    cells = generator["fc.0.weight"].shape[-1] // 256 if "fc.0.weight" in generator else 0
    size = 16 * round(cells**0.5)
    found["network"] = "AIGN" + (" with spectral norms" if spectral else "")
    widths = (
        tuple(len(critic[key]) for key in sorted(critic, key=_number) if key.endswith(("module.bias",)))[:-1]
        if spectral
        else _widths(critic, "disc", 1)
    )
    adversary: type[nn.Module] = SpectralCritic if spectral else Critic
    with torch.device("meta"):
        expected = {
            "generator": Aign(size=size or MAP_SIZE).state_dict(),
            "critic": adversary(widths=widths).state_dict(),
        }
    weights = _named("generator", _counted(generator)) | _named("critic", _counted(critic))
    recipe = f"depthnet-aign{'-sn' if spectral else ''}.exp1.lamb100"
    fields = {"map_size": size or MAP_SIZE, "critic_widths": widths}
    return checked(ImportedModel(recipe, fields, weights, step, found, ignored), expected)


def _named(network: str, state: State) -> State:
    return {f"{network}/{key}": value for key, value in state.items()}


def _counted(state: State) -> State:
    """Add the step counters of batch norms, which torch 0.4.0 and older did not save."""
    added = dict(state)
    for key in state:
        if key.endswith("running_mean"):
            added.setdefault(
                key.replace("running_mean", "num_batches_tracked"), torch.zeros((), dtype=torch.int64)
            )
    return added


def _number(key: str) -> int:
    digits = [part for part in key.split(".") if part.isdigit()]
    return int(digits[0]) if digits else -1


def _widths(state: State, prefix: str, outputs: int) -> tuple[int, ...]:
    """Units of the hidden layers of a sequence of linear layers; the last ``outputs`` of them are not hidden."""
    keys = [
        key
        for key, value in state.items()
        if key.startswith(f"{prefix}.") and key.endswith(".weight") and value.ndim == 2
    ]
    sizes = tuple(len(state[key]) for key in sorted(keys, key=_number))
    if len(sizes) <= outputs:
        names = ", ".join(list(state)[:3]) or "none"
        raise CheckpointError(f"it is not a checkpoint of DepthNets: its weights are named {names[:120]} ...")
    return sizes[: len(sizes) - outputs]


def _rows(state: State, key: str) -> int:
    if key not in state or state[key].ndim != 2:
        raise CheckpointError(f"it is not a checkpoint of DepthNets: it lacks the weight {key!r}")
    return len(state[key])

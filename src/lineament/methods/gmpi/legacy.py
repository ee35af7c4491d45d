"""Published checkpoints of GMPI as runs.

A checkpoint is a folder with ``generator.pth`` (weights by name), ``ema.pth`` (a moving average of its parameters, a
list without names in their order), ``config.pth`` (settings), and of own trainings also ``ema2.pth`` and
``discriminator.pth``. Copies of a step are named ``generator_STEP.pth`` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.errors import CheckpointError, UsageError, unknown_name
from lineament.interop.restricted_pickle import Inert
from lineament.methods.gmpi.alpha import VARIANTS, Variant
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.published_settings import (
    PAIR,
    check_published,
    flat_settings,
    stated_data_set,
    stated_variant,
)
from lineament.methods.gmpi.reference_names import from_reference, generator_sizes, parameter_names
from lineament.training.imported import ImportedModel, checked

# What `lineament import gmpi` can be told besides the folder.
OPTIONS = ("config", "data_set", "w_avg")
W_AVG = ("repaired", "compat")
PARTS = ("generator", "ema", "ema2", "discriminator")
NEEDED = ("generator", "ema")
# Planes of the published trainings, where the weights fit any number.
PLANES = 32
CLAMP = 256.0
LARGEST_STEP = 10**9
# In place of the file of poses, which is on another machine.
POSES = "imported"
# Other files of the published program: pattern, what to call them, why they are left out.
LEFT_OUT = (
    (r"optimizer_[GD](_\d+)?\.pth", "optimizer_*.pth", "state of optimisers, from which no training goes on"),
    (r"(generator|discriminator)(_\d+)?\.losses", "*.losses", "losses of steps that have passed"),
    (
        r"(generator|discriminator|ema2?)_\d+\.pth",
        "*_STEP.pth",
        "weights of other steps; name generator_STEP.pth instead of the folder to import those",
    ),
)

State = dict[str, Tensor]


@dataclass(frozen=True)
class _Layout:
    """What the names and shapes of a generator's weights tell."""

    variant: Variant
    planes: int
    sizes: Mapping[str, int]

    @property
    def channels(self) -> dict[str, Any]:
        return {name: self.sizes[name] for name in ("channel_base", "channel_max")}


def checkpoint_files(path: Path, options: Mapping[str, Any]) -> dict[str, Path]:
    """Which files belong to a checkpoint.

    Args:
        path: Its folder, the folder of its training (with ``checkpoints`` in it), or a ``generator*.pth``.
        options: ``config`` names a file of settings to take instead of ``config.pth``.

    Returns:
        Part (``generator``, ``ema``, ``ema2``, ``discriminator``, ``config``) -> file; the last three where they are.

    Raises:
        CheckpointError: If a needed one is missing.
    """
    folder, suffix = path, ""
    if not path.is_dir():
        match = re.fullmatch(r"generator(.*)\.pth", path.name)
        if not path.is_file() or not match:
            what = "is none of its generator*.pth" if path.is_file() else "is not there"
            raise CheckpointError(
                f"{path} {what}: a checkpoint of GMPI is a folder with generator.pth and ema.pth."
            )
        folder, suffix = path.parent, match[1]
    elif not (path / "generator.pth").is_file() and (path / "checkpoints" / "generator.pth").is_file():
        folder = path / "checkpoints"
    found = {name: folder / f"{name}{suffix}.pth" for name in PARTS}
    for name in NEEDED:
        if not found[name].is_file():
            raise CheckpointError(
                f"{folder} has no {found[name].name}: a checkpoint of GMPI is a folder with generator.pth and ema.pth."
            )
    found["config"] = folder / "config.pth"
    found = {name: file for name, file in found.items() if file.is_file()}
    if options.get("config"):
        found["config"] = Path(options["config"])
    return found


def read_checkpoint(
    contents: Mapping[str, Any], files: Mapping[str, Path], options: Mapping[str, Any]
) -> ImportedModel:
    """Recognise a checkpoint of GMPI.

    Args:
        contents: What each part holds, with foreign classes inert.
        files: Where each part was read, for messages and names of data sets in them.
        options: ``data_set`` names the data set where nothing else tells; ``w_avg`` says which mean style the averages
            get: ``"repaired"`` (or nothing) the generator's, ``"compat"`` 0, which is about what the published
            evaluation used, since the lists hold no buffers.

    Raises:
        UsageError: If an option is unknown.
        CheckpointError: If a part is of something else, or they do not fit together; the message is the rest of a
            sentence about the folder.
    """
    w_avg = options.get("w_avg") or W_AVG[0]
    if w_avg not in W_AVG:
        raise unknown_name("mean style (--w-avg)", w_avg, W_AVG)
    names = {part: file.name for part, file in files.items()}
    with _about(names["generator"]):
        published = _named(contents["generator"])
        layout = _layout(published)
        generator = from_reference(published)
    settings = flat_settings(contents.get("config"))
    if "config" in contents:
        _check_settings(settings, layout.variant, names)
    data_set, told_by = _data_set(layout.sizes["resolution"], settings, files, options.get("data_set"))
    network, judge = _expected(layout)
    with _about(names["generator"]):
        weights = _fitting("generator", generator, network.state_dict())
    buffers = {name: value for name, value in generator.items() if name not in parameter_names(network)}
    if w_avg == "compat":
        buffers["mapping.w_avg"] = torch.zeros_like(buffers["mapping.w_avg"])
    averages: dict[str, State] = {}
    said: dict[str, str] = {}
    for part in ("ema", "ema2"):
        if part in contents:
            with _about(names[part]):
                state, said[part] = _average(contents[part], network)
                averages[part] = _fitting("generator", {**state, **buffers}, network.state_dict())
    if "discriminator" in contents:
        with _about(names["discriminator"]):
            state = from_reference(_named(contents["discriminator"]))
            weights |= _fitting("discriminator", state, judge.state_dict())
    found = {
        "data set": f"{data_set}, told by {told_by}",
        "generator": f"{layout.sizes['resolution']} px, variant {_pair(layout.variant)}, {layout.planes} planes",
        "averages": ", ".join(f"{names[part]} ({facts})" for part, facts in said.items()),
        "mean style": f"w_avg of {names['generator']}"
        if w_avg == W_AVG[0]
        else "0, as in published evaluations",
        "discriminator": names.get("discriminator", "none: enough to draw, not to train on"),
    }
    return ImportedModel(
        "gmpi-folder",
        _fields(layout, data_set),
        weights,
        _updates(_record(contents["ema"])),
        found,
        _left_out(files),
        averages,
    )


@contextmanager
def _about(what: str, between: str = ": ") -> Iterator[None]:
    """Say in errors which file they are about."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{what}{between}{error}") from error


def _pair(variant: Variant) -> str:
    return f"{variant.name} ({'/'.join(variant.pair)})"


def _named(stored: Any) -> State:
    """A part that must be tensors by name."""
    if not isinstance(stored, Mapping) or not stored:
        raise CheckpointError("it holds no tensors by name")
    for key, value in stored.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"its entry {str(key)[:40]!r} is no tensor with a name")
    return dict(stored)


def _check_settings(settings: Mapping[str, list[Any]], variant: Variant, names: Mapping[str, str]) -> None:
    """Refuse settings that are none of GMPI's, or contradict the weights."""
    with _about(f"the settings of {names['config']}", " "):
        stated = stated_variant(settings)
        if stated is None:
            raise CheckpointError(f"do not name {' and '.join(PAIR)}: give --config with GMPI's gmpi.yml")
        if stated != variant:
            raise CheckpointError(
                f"say variant {_pair(stated)}, but the weights of {names['generator']} are those of {_pair(variant)}: "
                "give --config with the settings that it was trained with"
            )
        check_published(settings, variant)


def _layout(tensors: State) -> _Layout:
    """Sizes, variant and number of planes."""
    sizes = generator_sizes(tensors)
    first = "synthesis.b4."
    token, alpha = (
        tensors.get(f"{first}{name}") for name in ("pos_enc_embed_learnable_param", "toalpha.weight")
    )
    if any(key.startswith(f"{first}pos_enc_embed.") for key in tensors):
        return _Layout(VARIANTS["plane-depth"], PLANES, sizes)
    if any(key.startswith(f"{first}todepth.") for key in tensors):
        return _Layout(VARIANTS["predicted-depth"], PLANES, sizes)
    variant, counted, place = (
        (VARIANTS["none"], alpha, 0) if token is None else (VARIANTS["plane-token"], token, 1)
    )
    if counted is None:
        raise CheckpointError(
            "its generator makes no alpha: a StyleGAN2 is imported by `lineament import stylegan2`, from its .pkl"
        )
    planes = counted.shape[place] if counted.ndim > place else 0
    if planes < 2:
        raise CheckpointError(f"its generator makes {planes} planes where 2 or more are expected")
    return _Layout(variant, planes, sizes)


def _data_set(
    resolution: int, settings: Mapping[str, list[Any]], files: Mapping[str, Path], given: str | None
) -> tuple[str, str]:
    """The data set, and what told it: the user, the settings, names of folders, or the resolution alone."""
    if given is not None and given not in SCENES:
        raise unknown_name("data set", given, SCENES)
    fitting = [name for name, scene in SCENES.items() if scene.resolution == resolution]
    if not fitting:
        raise CheckpointError(f"its weights draw {resolution} px where 256, 512 or 1024 are expected")
    place = files["generator"].resolve().parent
    folders = "/".join(place.parts[-2:]).lower()
    named = [name for name in SCENES if re.search(rf"(?<![a-z0-9]){name}(?![a-z0-9])", folders)]
    choices = [
        (given, "--data-set"),
        (stated_data_set(settings, resolution), str(files.get("config", Path()).name)),
        (named[0] if len(named) == 1 else None, "the folder's name"),
        (fitting[0] if len(fitting) == 1 else None, "the resolution"),
    ]
    for name, told_by in choices:
        if name is None:
            continue
        if name not in fitting:
            raise CheckpointError(
                f"{told_by} says data set {name} of {SCENES[name].resolution} px, but the weights draw {resolution} "
                f"px: give --data-set {' or '.join(fitting)}"
            )
        return name, told_by
    raise CheckpointError(
        f"nothing tells which data set it was trained on, and so where planes and cameras are: give --data-set "
        f"{' or '.join(fitting)}"
    )


def _expected(layout: _Layout) -> tuple[GMPIGenerator, Discriminator]:
    """Networks of that layout, without memory."""
    sizes = layout.sizes
    latent: dict[str, Any] = {"z_dim": sizes["latent"], "w_dim": sizes["latent"]}
    depths = torch.linspace(0, 1, layout.planes).tolist()
    try:
        with torch.device("meta"):
            generator = GMPIGenerator(
                sizes["resolution"],
                depths,
                variant=layout.variant.name,
                mapping_layers=sizes["mapping_layers"],
                **latent,
                **layout.channels,
            )
            return generator, Discriminator(sizes["resolution"], pose_dim=16, **layout.channels)
    except UsageError as error:
        raise CheckpointError(str(error).rstrip(".")) from error


def _fitting(name: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> State:
    """The state of one network by ``network/parameter``, of the expected names, shapes and number types."""
    weights = {f"{name}/{key}": value for key, value in state.items()}
    return dict(checked(ImportedModel("", {}, weights, 0), {name: expected}).weights)


def _record(stored: Any) -> Mapping[str, Any]:
    """The facts of a moving average, saved as its state or as a whole object."""
    record = stored.state if isinstance(stored, Inert) else stored
    if not isinstance(record, Mapping) or not isinstance(record.get("shadow_params"), list | tuple):
        raise CheckpointError("it holds no list shadow_params, as moving averages of torch_ema do")
    return record


def _average(stored: Any, network: GMPIGenerator) -> tuple[State, str]:
    """A list of averaged parameters by name, and what is known of it."""
    record = _record(stored)
    shadow, names = record["shadow_params"], parameter_names(network)
    if len(shadow) != len(names):
        raise CheckpointError(
            f"its list has {len(shadow)} tensors where the generator has {len(names)} parameters: it is the average "
            "of another network"
        )
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    for place, (name, value) in enumerate(zip(names, shadow, strict=True)):
        if not isinstance(value, Tensor) or value.shape != shapes[name]:
            seen = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise CheckpointError(
                f"the tensor at place {place} of its list is {seen} where {name!r} {list(shapes[name])} is expected: "
                "it is the average of another network, or in another order"
            )
    decay = record.get("decay")
    said = f"decay {decay:g}" if isinstance(decay, float) else "decay not told"
    return dict(zip(names, shadow, strict=True)), f"{said}, {_updates(record)} updates"


def _updates(record: Mapping[str, Any]) -> int:
    """How often an average was updated, which is once a step; 0 where it does not tell."""
    updates = record.get("num_updates")
    return updates if type(updates) is int and 0 <= updates <= LARGEST_STEP else 0


def _fields(layout: _Layout, data_set: str) -> dict[str, Any]:
    """Fields of the config."""
    scene = SCENES[data_set]
    return {
        **layout.sizes,
        "pose": POSES,
        "conv_clamp": CLAMP,
        "variant": layout.variant.name,
        "planes": layout.planes,
        "near": scene.near,
        "far": scene.far,
        "fov_degrees": scene.fov_degrees,
        "radius": scene.radius,
        "yaw_std": scene.poses.yaw_std,
        "pitch_std": scene.poses.pitch_std,
        "truncation": float(scene.poses.truncation),
    }


def _left_out(files: Mapping[str, Path]) -> dict[str, str]:
    """Other files of the published program in the folder, and what of the lists is not taken."""
    read = {file.name for file in files.values()}
    others = [each.name for each in files["generator"].parent.iterdir() if each.name not in read]
    found = {
        name: reason
        for pattern, name, reason in LEFT_OUT
        if any(re.fullmatch(pattern, other) for other in others)
    }
    return found | {"resample_filter": "a constant; another one than the published is refused"}

"""Names and order of the published networks' weights, beside ours.

Most names are the same. The published networks keep their FIR filter in every layer and a vector of zeros beside the
planes' tokens; both are constants here. Lists of moving averages have no names but the order of the parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lineament.errors import CheckpointError
from lineament.nn.upfirdn import TAPS, fir_filter

_RENAMED = (
    (".plane_embedding.tokens", ".pos_enc_embed_learnable_param"),
    (".plane_embedding.", ".pos_enc_embed."),
)
_CONSTANTS = ("resample_filter", "pos_enc_embed_learnable_param_left_append")
# Within a block of the generator: its own parameters come first, then these layers.
_ORDER = (
    "pos_enc_embed_learnable_param",
    "const",
    "pos_enc_embed",
    "conv0",
    "conv1",
    "torgb",
    "toalpha",
    "todepth",
)


def reference_name(name: str) -> str:
    """The published name of one of our parameters or buffers."""
    for ours, theirs in _RENAMED:
        name = name.replace(ours, theirs)
    return name


def reference_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of a network of ours by their published names, in the published order.

    Args:
        network: Generator or discriminator of :mod:`lineament.methods.gmpi`.
    """
    named = {reference_name(name): parameter for name, parameter in network.named_parameters()}
    if not any(name.startswith("synthesis.") for name in named):
        return named
    blocks: dict[str, int] = {}

    def place(name: str) -> tuple[int, int]:
        block, _, rest = name.removeprefix("synthesis.").partition(".")
        layer = rest.partition(".")[0]
        return blocks.setdefault(block, len(blocks)), _ORDER.index(layer) if layer in _ORDER else len(_ORDER)

    # Sorting keeps the order of what is equal: of the parameters of a layer.
    return {name: named[name] for name in sorted(named, key=place)}


def parameter_names(network: nn.Module) -> list[str]:
    """Our names of a network's parameters in the published order, which is that of the lists without names."""
    ours = {reference_name(name): name for name, _ in network.named_parameters()}
    return [ours[name] for name in reference_parameters(network)]


def generator_sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Sizes of a published generator, as fields of a recipe, from the shapes of its weights.

    Args:
        tensors: Published names and tensors.

    Returns:
        ``resolution``, ``channel_base``, ``channel_max``, ``latent`` and ``mapping_layers``.

    Raises:
        CheckpointError: If they are those of no StyleGAN2; the message is the rest of a sentence about the file.
    """
    channels: dict[int, int] = {}
    for key, value in tensors.items():
        match = re.fullmatch(r"synthesis\.b(\d{1,5})\.conv1\.weight", key)
        if match and value.ndim == 4:
            channels[int(match[1])] = int(value.shape[0])
    layers = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", key)) for key in tensors)
    first = tensors.get("mapping.fc0.weight")
    if 4 not in channels or 0 in channels.values() or first is None or first.ndim != 2:
        names = ", ".join(list(tensors)[:3]) or "none"
        raise CheckpointError(f"its generator is no StyleGAN2: its weights are named {names[:120]} ...")
    if first.shape[0] != first.shape[1]:
        raise CheckpointError(
            f"its latents z and w have the lengths {first.shape[1]} and {first.shape[0]}, not one"
        )
    resolution, most = max(channels), channels[4]
    fewer = [count * side for side, count in channels.items() if count < most]
    return {
        "resolution": resolution,
        "channel_base": max(fewer, default=most * resolution),
        "channel_max": most,
        "latent": int(first.shape[0]),
        "mapping_layers": layers,
    }


def from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under our names, without the constants.

    Args:
        state: Published names and tensors, of one network.

    Raises:
        CheckpointError: If a constant is another than ours: the network would compute something else.
    """
    kept: dict[str, Tensor] = {}
    filter_of_ours = fir_filter(TAPS)
    for name, value in state.items():
        last = name.rpartition(".")[2]
        if last in _CONSTANTS:
            expected = filter_of_ours if last == "resample_filter" else torch.zeros_like(value)
            if value.shape != expected.shape or not torch.allclose(value.float().cpu(), expected, atol=1e-6):
                raise CheckpointError(
                    f"{name} of the file is not the published constant: it belongs to another network."
                )
            continue
        for ours, theirs in _RENAMED:
            name = name.replace(theirs, ours)
        kept[name] = value
    return kept

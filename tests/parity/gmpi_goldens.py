"""What was recorded of GMPI's networks, and networks of ours with the recorded weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tests.parity.recorded import Recorded, flattened, matching
from torch import nn

from lineament.methods.gmpi.alpha import VARIANTS
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.reference_names import from_reference

SET = "gmpi_networks"
# Of the recordings.
VARIANT_WORDS = {
    "cond": "plane-depth",
    "learnable": "plane-token",
    "vanilla": "none",
    "depth2alpha": "predicted-depth",
}
assert set(VARIANT_WORDS.values()) == set(VARIANTS)


class Branch(Mapping[str, Any]):
    """A dictionary of a recorded file, of which what is taken counts as read."""

    def __init__(self, file: Recorded[Any], values: Mapping[Any, Any], above: str) -> None:
        self.file, self.of, self.above = file, values, above

    def __getitem__(self, name: Any) -> Any:
        return branch_of(self.file, self.of[name], f"{self.above}/{name}" if self.above else str(name))

    def __contains__(self, name: object) -> bool:
        return name in self.of

    def __iter__(self) -> Iterator[Any]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)


def branch_of(file: Recorded[Any], node: Any, name: str) -> Any:
    """What is recorded under a name: a number, a list, or a dictionary that is read when something is taken."""
    if isinstance(node, dict):
        return Branch(file, node, name)
    if isinstance(node, list | tuple):
        return [branch_of(file, each, f"{name}/{place}") for place, each in enumerate(node)]
    return file[name]


def recorded(goldens: Path, name: str) -> Branch:
    """A recorded file; skips where the set has none."""
    path = matching(goldens, f"{SET}/{name}")[0]
    tree = torch.load(path, weights_only=True)
    return Branch(Recorded(path, flattened(tree)), tree, "")


def exactly(network: nn.Module, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """The network with the recorded weights, every one of them."""
    network.load_state_dict(from_reference(state), strict=True)
    return network.eval()


def generator(
    config: Mapping[str, Any], state: Mapping[str, torch.Tensor], depths: torch.Tensor
) -> GMPIGenerator:
    """The recorded generator."""
    w_dim = state["mapping.w_avg"].shape[0]
    assert config.get("w_dim", w_dim) == w_dim
    network = GMPIGenerator(
        config["res"],
        depths,
        variant=VARIANT_WORDS[config.get("variant", "cond")],
        z_dim=config["z_dim"],
        w_dim=w_dim,
        channel_base=config["channel_base"],
        channel_max=config["channel_max"],
        mapping_layers=config["mapping_layers"],
        conv_clamp=config["conv_clamp"],
        alpha_resolution=config["gen_alpha_largest_res"],
        background_ratio=config.get("background_ratio", 0.05),
        final_activation=config["final_act"],
        background_alpha_full=config["background_alpha_full"],
        depth_bins=config.get("depth2alpha_n_z_bins", 256) / config.get("depth2alpha_z_range", 1.0),
    )
    exactly(network, state)
    return network


def discriminator(config: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> Discriminator:
    """The recorded discriminator."""
    network = Discriminator(
        config["res"],
        pose_dim=config["c_dim"],
        channel_base=config["channel_base"],
        channel_max=config["channel_max"],
        conv_clamp=config["conv_clamp"],
        std_group=config["mbstd_group"],
        use_std=config["use_mbstd"],
        embedding_dim=config["cmap_dim"] or 16,
    )
    exactly(network, state)
    return network

"""Weights of networks by ``network/parameter``: collected for a checkpoint, and put back."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from lineament.errors import CheckpointError
from lineament.training.checkpoint import Checkpoint


def collect_weights(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return all parameters and buffers by ``network/parameter``.

    Raises:
        CheckpointError: If a network keeps something else than tensors.
    """
    weights = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            if not isinstance(value, Tensor):
                raise CheckpointError(
                    f"network {name!r} keeps {key!r}, which is not a tensor: register it as a buffer."
                )
            weights[f"{name}/{key}"] = value
    return weights


def present_networks(
    networks: Mapping[str, nn.Module], checkpoint: Checkpoint, optional: Collection[str]
) -> dict[str, nn.Module]:
    """Return the networks without those of ``optional`` that a checkpoint has no weight of."""
    held = {key.partition("/")[0] for key in checkpoint.groups.get("networks", {})}
    return {name: net for name, net in networks.items() if name in held or name not in optional}


def load_weights(networks: Mapping[str, nn.Module], checkpoint: Checkpoint, group: str) -> None:
    """Copy the weights of a checkpoint's group into networks; all names and shapes must agree.

    Raises:
        CheckpointError: If they do not; the message names the first that differs.
    """
    if group not in checkpoint.groups:
        raise CheckpointError(
            f"the checkpoint has no weights {group!r} but {', '.join(checkpoint.groups)}: it belongs to another "
            "recipe or version."
        )
    tensors = checkpoint.groups[group]
    wanted = {
        f"{name}/{key}": value for name, net in networks.items() for key, value in net.state_dict().items()
    }
    for key in sorted(wanted.keys() ^ tensors.keys()):
        where = (
            "in the checkpoint but not in the network"
            if key in tensors
            else "in the network but not in the checkpoint"
        )
        raise CheckpointError(
            f"weight {key!r} is {where}: the checkpoint belongs to another recipe or version."
        )
    for key, value in wanted.items():
        if tuple(value.shape) != tuple(tensors[key].shape):
            raise CheckpointError(
                f"weight {key!r} has the shape {tuple(tensors[key].shape)} in the checkpoint and {tuple(value.shape)} "
                "in the network: the checkpoint belongs to another configuration."
            )
    for name, net in networks.items():
        net.load_state_dict({key: tensors[f"{name}/{key}"] for key in net.state_dict()})

"""The optimiser of the published runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def published_optimiser(
    network: nn.Module, learning_rate: float, bias_learning_rate: float = 0.0, weight_decay: float = 0.0
) -> torch.optim.Adam:
    """Adam with AMSGrad and, as in the published SmallNet runs, a rate of its own for the convolutions' biases.

    Args:
        network: Its parameters are optimised; the affine parameters of normalisation stay in the first group.
        learning_rate: Rate of everything else.
        bias_learning_rate: Rate of the convolutions' biases; 0 keeps them with the rest.
        weight_decay: L2 factor.
    """
    biases = [m.bias for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    if not bias_learning_rate:
        return torch.optim.Adam(
            network.parameters(), lr=learning_rate, weight_decay=weight_decay, amsgrad=True
        )
    separate = {id(bias) for bias in biases}
    others = [parameter for parameter in network.parameters() if id(parameter) not in separate]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": biases, "lr": bias_learning_rate}]
    return torch.optim.Adam(groups, lr=learning_rate, weight_decay=weight_decay, amsgrad=True)
